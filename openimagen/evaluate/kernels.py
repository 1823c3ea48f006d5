"""Kernel distances: KID and CMMD, squared maximum mean discrepancies (Gretton et al., 2012).

MMD^2 = E k(x, x') + E k(y, y') - 2 E k(x, y)
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from openimagen.evaluate.bootstrap import Estimate

SIGMA, SCALE = 10.0, 1000.0  # of CMMD
BLOCK = 2**23  # pairs at once: 64 MB; with fewer, matrix products are slower

Kernel = Callable[[Float[Tensor, "b d"], Float[Tensor, "m d"]], Float[Tensor, "b m"]]


def kid(real: Float[Tensor, "n d"], fake: Float[Tensor, "m d"]) -> Estimate:
    """KID over all pairs (Binkowski et al., 2018): k = (x y / d + 1)^3, unbiased, may be below 0.

    n, m >= 2. What is published is its mean over subsets: `kid_of_subsets`.
    """
    return _discrepancy(real.double(), fake.double(), _cubic, unbiased=True)


def kid_of_subsets(
    real: Float[Tensor, "n d"],
    fake: Float[Tensor, "m d"],
    subsets: int = 100,
    size: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """KID as published: mean and standard deviation over random subsets of `size` pictures.

    The deviation is that of a subset, not an error of the mean. ValueError if a side has fewer.
    """
    if not 2 <= size <= (fewest := min(len(real), len(fake))):
        raise ValueError(f"subsets of {size} from {fewest} pictures: choose from 2 to {fewest}")
    generator = torch.Generator().manual_seed(seed)
    values = torch.empty(subsets, dtype=torch.float64)
    for n in range(subsets):
        chosen = [torch.randperm(len(x), generator=generator)[:size] for x in (real, fake)]
        values[n] = kid(real[chosen[0]], fake[chosen[1]]).value
    return float(values.mean()), float(values.std(correction=0))


def cmmd(real: Float[Tensor, "n d"], fake: Float[Tensor, "m d"]) -> Estimate:
    """CMMD (Jayasumana et al., 2024): k = exp(-|x - y|^2 / 2 sigma^2) of unit vectors, times 1000.

    The published code's estimator: a picture is paired with itself too, so it is never below 0, and
    biased upward by about 1000 (1 - E k) (1/n + 1/m).
    """
    unit = [normalize(x.double(), dim=1) for x in (real, fake)]
    found = _discrepancy(unit[0], unit[1], _gaussian, unbiased=False)
    return Estimate(SCALE * found.value, SCALE * found.real, SCALE * found.fake)


def _cubic(x: Tensor, y: Tensor) -> Float[Tensor, "b m"]:
    return (x @ y.T / x.shape[1] + 1) ** 3


def _gaussian(x: Tensor, y: Tensor) -> Float[Tensor, "b m"]:
    return torch.exp(-squared_distances(x, y) / (2 * SIGMA**2))


def squared_distances(x: Float[Tensor, "b d"], y: Float[Tensor, "m d"]) -> Float[Tensor, "b m"]:
    """|x - y|^2 of all pairs."""
    squares = _squares(x)[:, None] + _squares(y)
    return squares.addmm_(x, y.T, alpha=-2).clamp_(min=0)


def _squares(x: Float[Tensor, "b d"]) -> Float[Tensor, "b"]:
    """|x|^2 of each row, without a copy of them all."""
    return torch.linalg.vector_norm(x, dim=1).square_()


def _discrepancy(
    real: Float[Tensor, "n d"], fake: Float[Tensor, "m d"], kernel: Kernel, *, unbiased: bool
) -> Estimate:
    """MMD^2, and its influences: those of a U-statistic are twice its first projections."""
    real_to_real = _means(real, real, kernel, skip_self=unbiased)[0]
    fake_to_fake = _means(fake, fake, kernel, skip_self=unbiased)[0]
    real_to_fake, fake_to_real = _means(real, fake, kernel)
    value = real_to_real.mean() + fake_to_fake.mean() - 2 * real_to_fake.mean()
    by_real, by_fake = 2 * (real_to_real - real_to_fake), 2 * (fake_to_fake - fake_to_real)
    return Estimate(float(value), by_real - by_real.mean(), by_fake - by_fake.mean())


def _means(
    x: Float[Tensor, "n d"], y: Float[Tensor, "m d"], kernel: Kernel, *, skip_self: bool = False
) -> tuple[Float[Tensor, "n"], Float[Tensor, "m"]]:
    """Mean kernel of each row of x with those of y, and of each of y with those of x."""
    rows, columns = x.new_empty(len(x)), x.new_zeros(len(y))
    step = max(1, BLOCK // len(y))
    for start in range(0, len(x), step):
        block = kernel(x[start : start + step], y)  # [b m]
        if skip_self:
            block.diagonal(start).zero_()
        rows[start : start + step] = block.sum(1)
        columns += block.sum(0)
    return rows / (len(y) - skip_self), columns / (len(x) - skip_self)
