"""Prototype retrieval: does a picture of X land nearest to a real picture of X?

An alignment score that works offline, without CLIP. Real pictures of one style are the gallery;
those of another, looked up in the same gallery, are the ceiling to read a model's score against.
"""

import os
import random
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize

from openimagen.data.decode import fault_of
from openimagen.data.folder import read_folder
from openimagen.data.images import load, square
from openimagen.data.sheet import thumbnail
from openimagen.evaluate.alignment import Judge, Score
from openimagen.evaluate.bootstrap import share_interval
from openimagen.evaluate.features import Features
from openimagen.evaluate.prompts import Prompt
from openimagen.evaluate.sheet import Cell
from openimagen.progress import Advance, Watch, unwatched

KS = (1, 5)
TIE = 1e-6  # cosines this near are equal: rounding differs from batch to batch

Gallery = Mapping[str, Sequence[Path]]  # name -> real pictures of it


# --- the measure ----------------------------------------------------------------------------------


class Lookup(NamedTuple):
    """Of each query, whether its own name is among the k nearest of the gallery, for each k.

    `chance`: how often that is so by chance; `nearest`: the nearest name, the first of those tied.
    """

    hits: dict[int, list[float]]
    chance: dict[int, float]
    nearest: list[str]


def look_up(
    queries: Float[Tensor, "n d"],
    names: Sequence[str],
    gallery: Float[Tensor, "m d"],
    gallery_names: Sequence[str],
    ks: Sequence[int] = KS,
) -> Lookup:
    """Look queries, each of which has its own name, up in a gallery of named rows.

    Near is the cosine of the features; a name is as near as the nearest of its pictures. Names that
    tie share the places that they fill, so features that tell nothing score exactly chance.
    Raises ValueError for a name that the gallery lacks, or features that are not finite.
    """
    own, similarity, known = _compare(queries, names, gallery, gallery_names)
    return Lookup(
        {k: _hits(similarity, own, k).tolist() for k in ks},
        {k: min(k / len(known), 1.0) for k in ks},
        [known[number] for number in similarity.argmax(1)],
    )


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


def scores(found: Sequence[Found], names: Sequence[str], of: str) -> list[Score]:
    """R@k for each k, `of` something, over pictures and the names that they were looked up by."""
    by_name = {name: each for name, each in zip(names, found, strict=True) if each.ceiling}
    made = []
    for k in KS:
        share = share_interval([each.hits[k] for each in found], names)
        real = [each.ceiling[k] for each in by_name.values()]
        ceiling = fmean(real) if real else None
        chance = fmean(each.chance[k] for each in found)
        made.append(Score(f"R@{k}{of}", *share, len(set(names)), ceiling, chance))
    return made


class Prototypes(Judge):
    """R@1 and R@5 of pictures among the real pictures of a gallery, by the features of a network.

    `real`, pictures of another style, are the ceiling. With `side` every picture, real or drawn, is
    brought to that side first: small pictures look alike, so only figures of one side compare.
    """

    def __init__(
        self,
        gallery: Gallery,
        features: Features,
        real: Gallery | None = None,
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

    def judge(
        self, pictures: Iterable[Image.Image], prompts: Sequence[Prompt]
    ) -> tuple[list[Score], list[Cell]]:
        """The scores, and each picture beside the real one, with the name that it is nearest to."""
        self.check(prompts)
        names = [prompt.text for prompt in prompts]
        found = self.find(pictures, names)
        of = f"{self.title and f' of {self.title}'} ({self.features.name})"
        return scores(found, names, of), [each.cell for each in found]

    def find(self, pictures: Iterable[Image.Image], names: Sequence[str]) -> list[Found]:
        """Look pictures up among the gallery's, one for each name, which are its own."""
        small = list[Image.Image]()

        def kept() -> Iterator[Image.Image]:
            for picture in pictures:
                small.append(thumbnail(picture))
                yield square(picture, self.side) if self.side else picture

        found = look_up(self.features(kept()), names, *self._looked_at())
        ceiling = self._ceiling(names)
        return [
            Found(
                {k: found.hits[k][number] for k in KS},
                ceiling.get(name, {}),
                found.chance,
                Cell(name, "" if near == name else f"near {near}", picture, self.gallery[name][0]),
            )
            for number, (name, near, picture) in enumerate(
                zip(names, found.nearest, small, strict=True)
            )
        ]

    def _ceiling(self, names: Sequence[str]) -> dict[str, dict[int, float]]:
        """What real pictures of another style get, for those of the names that it has."""
        asked = tuple(name for name in dict.fromkeys(names) if name in self.real)
        if asked and asked not in self._ceilings:
            rows = self._look("ceiling", [self.real[name][0] for name in asked])
            hits = look_up(rows, asked, *self._looked_at()).hits
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
    """Plain name, which is the first caption -> pictures of it.

    What cannot be decoded is left out, with one warning. ValueError if there is none that can.
    """
    pairs, found = read_folder(folder).pairs, dict[str, list[Path]]()
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow works without the GIL
        faults = list(pool.map(fault_of, [pair.path for pair in pairs]))
    broken = [fault for fault in faults if fault is not None]
    if len(broken) == len(pairs):
        raise ValueError(f"no picture in {folder} can be read ({broken[0]}): give pictures")
    if broken:
        more = f", and {len(broken) - 1} more" if len(broken) > 1 else ""
        warnings.warn(f"left out, for it cannot be read: {broken[0]}{more}", stacklevel=2)
    for pair, fault in zip(pairs, faults, strict=True):
        if fault is None:
            found.setdefault(pair.captions[0], []).append(pair.path)
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
