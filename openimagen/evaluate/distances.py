"""How far drawn pictures are from real ones: every distance by its name, with its interval.

A distance is named with its features, as in "FD-EffLite2": other features, other figures. The bare
names FID, KID and CMMD are for the networks they were published with.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from openimagen.evaluate.bootstrap import Estimate, margin
from openimagen.evaluate.frechet import frechet
from openimagen.evaluate.kernels import cmmd, kid
from openimagen.evaluate.neighbours import manifold

KINDS = ("frechet", "kernel", "cmmd", "precision", "recall", "density", "coverage")
NAMES = {  # with any features, and with those it was published with
    "frechet": ("FD", "FID", "Inception"),
    "kernel": ("KID", "KID", "Inception"),
    "cmmd": ("CMMD", "CMMD", "CLIP"),
}
K, K_DENSITY = 3, 5  # neighbours: of precision and recall, of density and coverage
ENOUGH_FRECHET, ENOUGH = 2048, 1000  # pictures, below which there is a warning


@dataclass(frozen=True)
class Distance:
    """A figure with its 95% bootstrap interval, as told in `Estimate.interval`.

    A share of all or none has the binomial interval, as in `margin`.
    """

    name: str
    value: float
    low: float
    high: float
    n_real: int
    n_fake: int

    def __str__(self) -> str:
        interval = f"[{self.low:.4g}, {self.high:.4g}]"
        return f"{self.name} {self.value:.4g} {interval} ({self.n_real} real, {self.n_fake} fake)"


def name_of(kind: str, features: str) -> str:
    """What a distance is called: ("frechet", "EffLite2") -> "FD-EffLite2"; Inception's is "FID".

    Likewise "KID" is Inception's and "CMMD" CLIP's.
    """
    short, bare, network = NAMES.get(kind, (kind.capitalize(), None, None))
    return bare if bare and features == network else f"{short}-{features}"


def distance(
    kind: str,
    real: Float[Tensor, "n d"],
    fake: Float[Tensor, "m e"],
    features: str,
    seed: int = 0,
) -> Distance:
    """One distance; `distances` tells the rest."""
    _check(real, fake, [kind])
    _warn(real, fake, [kind], features)
    return next(_measured(real, fake, [kind], features, seed))


def distances(
    real: Float[Tensor, "n d"],
    fake: Float[Tensor, "m e"],
    features: str,
    kinds: Sequence[str] = KINDS,
    seed: int = 0,
) -> Iterator[Distance]:
    """Distances between the features of real and of fake pictures, one at a time.

    `features` names the network, `seed` is the bootstrap's. What is computed is exact, in float64,
    in memory for a few float64 copies of the features.
    Warns where there are too few pictures for the figure to stand for itself. Raises ValueError
    where there are too few to have one, or features that are not finite or of two networks.
    """
    _check(real, fake, kinds)
    _warn(real, fake, kinds, features)
    return _measured(real, fake, kinds, features, seed)


# --- what is measured -----------------------------------------------------------------------------


def _recall(real: Tensor, fake: Tensor) -> Estimate:
    found = manifold(fake, real, K).precision
    return Estimate(found.value, found.fake, found.real)


def _density_and_coverage(real: Tensor, fake: Tensor) -> tuple[Estimate, Estimate]:
    found = manifold(real, fake, K_DENSITY)
    return found.density, found.coverage


TOGETHER: dict[tuple[str, ...], Callable[[Tensor, Tensor], tuple[Estimate, ...]]] = {
    ("frechet",): lambda real, fake: (frechet(real, fake),),
    ("kernel",): lambda real, fake: (kid(real, fake),),
    ("cmmd",): lambda real, fake: (cmmd(real, fake),),
    ("precision",): lambda real, fake: (manifold(real, fake, K).precision,),
    ("recall",): lambda real, fake: (_recall(real, fake),),
    ("density", "coverage"): _density_and_coverage,
}


def _measured(
    real: Tensor, fake: Tensor, kinds: Sequence[str], features: str, seed: int
) -> Iterator[Distance]:
    for group, measure in TOGETHER.items():
        if not set(group) & set(kinds):
            continue
        for kind, estimate in zip(group, measure(real, fake), strict=True):
            if kind in kinds:
                low, high = _interval(kind, estimate, seed)
                name = name_of(kind, features)
                yield Distance(name, estimate.value, low, high, len(real), len(fake))


def _interval(kind: str, estimate: Estimate, seed: int) -> tuple[float, float]:
    """Of the bootstrap, within what a figure can be."""
    low, high = estimate.interval(seed)
    if kind == "kernel":
        return low, high
    if kind not in ("precision", "recall", "coverage"):
        return max(low, 0.0), high
    shared = estimate.fake if kind == "precision" else estimate.real  # it is a share of these
    wider = margin(estimate.value, len(shared))
    return max(low - wider, 0.0), min(high + wider, 1.0)


# --- bad input ------------------------------------------------------------------------------------


def _check(real: Tensor, fake: Tensor, kinds: Sequence[str]) -> None:
    """ValueError for what has no distance."""
    if strangers := [kind for kind in kinds if kind not in KINDS]:
        raise ValueError(f"no distance {strangers[0]!r}: choose from {', '.join(KINDS)}")
    for side, rows in (("real", real), ("fake", fake)):
        for kind in kinds:
            if len(rows) < (least := pictures_needed(kind)):
                raise ValueError(f"{kind} of {len(rows)} {side} pictures: give at least {least}")
        if not rows.isfinite().all():
            raise ValueError(f"{side} features are not finite: are the pictures?")
    if real.shape[1] != fake.shape[1]:
        raise ValueError(
            f"{real.shape[1]} real and {fake.shape[1]} fake features a picture: use one network"
        )


def pictures_needed(kind: str) -> int:
    """Of each side: two vary; a ball takes k neighbours, and one more for the interval."""
    neighbours = {"precision": K, "recall": K, "density": K_DENSITY, "coverage": K_DENSITY}
    return neighbours.get(kind, 0) + 2


def _warn(real: Tensor, fake: Tensor, kinds: Sequence[str], features: str) -> None:
    """Say what is to doubt, on the caller's caller's account."""
    n, d = min(len(real), len(fake)), real.shape[1]
    if line := doubt(n, d, kinds, features):
        warnings.warn(line, stacklevel=3)


def doubt(n: int, d: int, kinds: Sequence[str], features: str) -> str | None:
    """One line of all distances that n pictures, of d features each, are too few for, if any."""
    if not (few := [kind for kind in kinds if n < _enough(kind, d)]):
        return None
    names: dict[str, list[str]] = {}
    for kind in few:
        names.setdefault(_weakness(kind, n, d), []).append(name_of(kind, features))
    weak = "; ".join(f"{', '.join(some)}: {weakness}" for weakness, some in names.items())
    enough = max(_enough(kind, d) for kind in few)
    return (
        f"{n} pictures are few. {weak}. Give {enough} or more, or compare only with figures "
        "of as many"
    )


def _enough(kind: str, d: int) -> int:
    """Pictures with which a figure can stand for itself."""
    return max(d, ENOUGH_FRECHET) if kind == "frechet" else ENOUGH


def _weakness(kind: str, n: int, d: int) -> str:
    """What a figure of few pictures suffers from."""
    if kind == "frechet" and n < d:
        return f"far too high (covariances of fewer than {d} pictures lack rank)"
    if kind in ("frechet", "cmmd"):
        return "biased upward, by 1/n"
    return "unbiased but noisy" if kind == "kernel" else "of wide balls"
