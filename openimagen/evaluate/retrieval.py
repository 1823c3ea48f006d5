"""Prototype retrieval: does a picture of X land nearest to a real picture of X?

An alignment score that works offline, without CLIP. Real pictures of one style are the gallery;
those of another, looked up in the same gallery, are the ceiling to read a model's score against.
"""

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize

from openimagen.data.folder import read_folder
from openimagen.data.images import load, square
from openimagen.data.sheet import thumbnail
from openimagen.evaluate.alignment import Score
from openimagen.evaluate.bootstrap import share_interval
from openimagen.evaluate.features import Features
from openimagen.evaluate.prompts import Prompt
from openimagen.evaluate.sheet import Cell
from openimagen.progress import Advance, Watch, unwatched

KS = (1, 5)
TIE = 1e-6  # cosines this near are equal: rounding differs from batch to batch

Captioned = Mapping[str, Sequence[Path]]  # name -> real pictures of it


# --- the measure ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Share:
    """A share of the pictures, its 95% bootstrap interval over names, and what chance would give.

    All hits or none have the binomial interval, as in `bootstrap.margin`.
    """

    value: float
    low: float
    high: float
    chance: float


def retrieval(
    queries: Float[Tensor, "n d"],
    names: Sequence[str],
    gallery: Float[Tensor, "m d"],
    gallery_names: Sequence[str],
    ks: Sequence[int] = KS,
) -> dict[str, Share]:
    """{"R@k": share of the queries whose own name is among the k nearest names of the gallery}.

    Near is the cosine of the features; a name is as near as the nearest of its pictures. Names that
    tie share the places that they fill, so features that tell nothing score exactly chance.
    Raises ValueError for a name that the gallery lacks, or features that are not finite.
    """
    own, similarity, known = _compare(queries, names, gallery, gallery_names)
    return {
        f"R@{k}": Share(
            *share_interval(_hits(similarity, own, k).tolist(), names), min(k / len(known), 1.0)
        )
        for k in ks
    }


def _compare(
    queries: Tensor, names: Sequence[str], gallery: Tensor, gallery_names: Sequence[str]
) -> tuple[Int[Tensor, "n"], Float[Tensor, "n names"], list[str]]:
    """Number of each query's own name, how near each query is to each name, and the names."""
    if not names or len(names) != len(queries):
        raise ValueError(f"{len(queries)} pictures and {len(names)} names: give one name for each")
    similarity, known = _similarity(queries, gallery, gallery_names)
    numbers = {name: number for number, name in enumerate(known)}
    if strangers := sorted(set(names) - set(known)):
        raise ValueError(f"the gallery has no picture of {strangers[0]!r} ({len(strangers)} lack)")
    return torch.tensor([numbers[name] for name in names]), similarity, known


def _similarity(
    queries: Tensor, gallery: Tensor, gallery_names: Sequence[str]
) -> tuple[Float[Tensor, "n names"], list[str]]:
    if len(gallery_names) != len(gallery):
        raise ValueError(f"{len(gallery)} pictures and {len(gallery_names)} names in the gallery")
    if not (queries.isfinite().all() and gallery.isfinite().all()):
        raise ValueError("features are not finite: are the pictures?")
    cosine = normalize(queries.double(), dim=1) @ normalize(gallery.double(), dim=1).T  # [n m]
    known = list(dict.fromkeys(gallery_names))
    numbers = {name: number for number, name in enumerate(known)}
    column = torch.tensor([numbers[name] for name in gallery_names]).expand_as(cosine)
    worst = torch.full((len(queries), len(known)), -2.0, dtype=torch.float64)
    return worst.scatter_reduce(1, column, cosine, "amax"), known


def _hits(
    similarity: Float[Tensor, "n names"], own: Int[Tensor, "n"], k: int
) -> Float[Tensor, "n"]:
    """Probability, 0 or 1 but for ties, that a query's own name is one of its k nearest."""
    mine = similarity.gather(1, own[:, None])  # [n 1]
    nearer = (similarity > mine + TIE).sum(1).double()
    tied = ((similarity - mine).abs() <= TIE).sum(1)  # with its own
    return ((k - nearer) / tied).clamp(0, 1)


# --- as an alignment ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Found:
    """One picture looked up: whether its name is among the k nearest, for each k.

    `ceiling`: the same of a real picture of that name, empty if there is none; `chance`: of any.
    """

    hits: dict[int, float]
    ceiling: dict[int, float]
    chance: dict[int, float]
    cell: Cell


class Prototypes:
    """R@1 and R@5 of pictures among the real pictures of a gallery, by the features of a network.

    `real`, pictures of another style, are the ceiling. With `side` every picture, real or drawn, is
    brought to that side first: small pictures look alike, so only figures of one side compare.
    """

    def __init__(
        self,
        gallery: Captioned,
        features: Features,
        real: Captioned | None = None,
        side: int | None = None,
        watch: Watch = unwatched,
        title: str = "",
    ) -> None:
        self.gallery, self.real, self.title = gallery, real or {}, title
        self.features, self.side, self.watch = features, side, watch
        self._rows: tuple[Tensor, list[str]] | None = None
        self._ceilings: dict[tuple[str, ...], dict[str, dict[int, float]]] = {}

    def check(self, prompts: Sequence[Prompt]) -> None:
        """ValueError for prompts that are no names of the gallery."""
        names = dict.fromkeys(prompt.text for prompt in prompts)
        lacking = [name for name in names if name not in self.gallery]
        if lacking or not names:
            raise ValueError(
                f"the gallery has no picture of {lacking[0]!r} ({len(lacking)} of {len(names)} "
                "prompts lack): give names that it has"
                if lacking
                else "no prompt to look up: give names that the gallery has"
            )

    def __call__(self, pictures: Iterable[Image.Image], prompts: Sequence[Prompt]) -> list[Score]:
        """R@1 and R@5."""
        return self.judge(pictures, prompts)[0]

    def judge(
        self, pictures: Iterable[Image.Image], prompts: Sequence[Prompt]
    ) -> tuple[list[Score], list[Cell]]:
        """The scores, and each picture beside the real one, with the name that it is nearest to."""
        self.check(prompts)
        names = [prompt.text for prompt in prompts]
        found = self.find(pictures, names)
        scores = []
        for k in KS:
            share = share_interval([each.hits[k] for each in found], names)
            asked = {name: each for name, each in zip(names, found, strict=True) if each.ceiling}
            real = [each.ceiling[k] for each in asked.values()]
            ceiling = sum(real) / len(real) if real else None
            title = f"R@{k}{self.title and f' of {self.title}'} ({self.features.name})"
            scores.append(Score(title, *share, len(set(names)), ceiling, found[0].chance[k]))
        return scores, [each.cell for each in found]

    def find(self, pictures: Iterable[Image.Image], names: Sequence[str]) -> list[Found]:
        """Look pictures up among the gallery's, one for each name, which are its own."""
        small = list[Image.Image]()

        def kept() -> Iterator[Image.Image]:
            for picture in pictures:
                small.append(thumbnail(picture))
                yield square(picture, self.side) if self.side else picture

        drawn, (rows, known) = self.features(kept()), self._looked_at()
        own, similarity, distinct = _compare(drawn, names, rows, known)
        hits = {k: _hits(similarity, own, k).tolist() for k in KS}
        nearest, ceiling = similarity.argmax(1).tolist(), self._ceiling(names)
        return [
            Found(
                {k: hits[k][number] for k in KS},
                ceiling.get(name, {}),
                {k: min(k / len(distinct), 1.0) for k in KS},
                Cell(
                    name,
                    "" if (near := distinct[nearest[number]]) == name else f"near {near}",
                    small[number],
                    self.gallery[name][0],
                ),
            )
            for number, name in enumerate(names)
        ]

    def _ceiling(self, names: Sequence[str]) -> dict[str, dict[int, float]]:
        """What real pictures of another style get, for those of the names that it has."""
        asked = tuple(name for name in dict.fromkeys(names) if name in self.real)
        if asked and asked not in self._ceilings:
            rows = self._look("ceiling", [self.real[name][0] for name in asked])
            own, similarity, _ = _compare(rows, asked, *self._looked_at())
            hits = {k: _hits(similarity, own, k).tolist() for k in KS}
            self._ceilings[asked] = {
                name: {k: hits[k][number] for k in KS} for number, name in enumerate(asked)
            }
        return self._ceilings.get(asked, {})

    def _looked_at(self) -> tuple[Float[Tensor, "m d"], list[str]]:
        if self._rows is None:
            pairs = [(name, path) for name, paths in self.gallery.items() for path in paths]
            rows = self._look("gallery", [path for _, path in pairs])
            self._rows = rows, [name for name, _ in pairs]
        return self._rows

    def _look(self, title: str, paths: Sequence[Path]) -> Float[Tensor, "n d"]:
        with self.watch(title, "pictures") as advance:
            return self.features(self._loaded(paths, advance))

    def _loaded(self, paths: Sequence[Path], advance: Advance) -> Iterator[Image.Image]:
        for number, path in enumerate(paths, 1):
            picture = load(path)
            yield square(picture, self.side) if self.side else picture
            advance(number, len(paths))


def named_pictures(folder: Path) -> dict[str, list[Path]]:
    """Plain name, which is the first caption -> pictures of it. ValueError if there are none."""
    found: dict[str, list[Path]] = {}
    for picture in read_folder(folder).pairs:
        found.setdefault(picture.captions[0], []).append(picture.path)
    return found


def choose_names(
    one: Mapping[str, object], other: Mapping[str, object], count: int, seed: int
) -> list[str]:
    """`count` of the names that both have, a function of the seed. ValueError if too few."""
    common = sorted(set(one) & set(other))
    if not 0 < count <= len(common):
        raise ValueError(
            f"{count} names wanted, the galleries have {len(common)} in common: ask for fewer"
        )
    return random.Random(seed).sample(common, count)
