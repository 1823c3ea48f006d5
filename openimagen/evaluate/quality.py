"""How close drawn pictures are to real ones: two collections in, every distance out.

Where a side is stated, each picture is cut to its central square and brought to that side by
antialiased bicubic, as for FID-30K on COCO; else pictures are taken as they are.
"""

import os
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from jaxtyping import Float
from PIL import Image
from torch import Tensor

from openimagen.data.check import Progress
from openimagen.data.faults import Faults
from openimagen.data.images import load
from openimagen.data.sample import Fault, Item
from openimagen.data.source import Source, open_pictures
from openimagen.evaluate.distances import KINDS, Distance, distances, pictures_needed
from openimagen.evaluate.features import Features
from openimagen.progress import Advance, Watch, unwatched

AHEAD, NAMED = 64, 20  # pictures in memory; names in the report


@dataclass(frozen=True)
class Collection:
    """The pictures of one side of a comparison."""

    path: str
    pictures: int  # looked at
    width: int  # pixels, as they were looked at
    height: int
    skipped: int
    reasons: dict[str, int]
    broken: dict[str, str]  # name -> reason, of the first of them

    def __str__(self) -> str:
        skipped = f", {self.skipped} skipped" if self.skipped else ""
        return f"{self.pictures} of {self.width}x{self.height}{skipped}  {self.path}"


@dataclass(frozen=True)
class Quality:
    """What `quality` found."""

    features: str
    side: int | None  # that pictures were brought to
    real: Collection
    fake: Collection
    distances: tuple[Distance, ...]

    def __str__(self) -> str:
        width = max(len(each.name) for each in self.distances)
        lines = [
            f"{'real':{width}}  {self.real}",
            f"{'fake':{width}}  {self.fake}",
            f"{'features':{width}}  {self.features}",
            f"{'distance':{width}}  {'value':>9}  95% interval",
        ]
        for each in self.distances:
            interval = f"[{each.low:.4g}, {each.high:.4g}]"
            lines.append(f"{each.name:{width}}  {each.value:>9.4g}  {interval}")
        for name, side in (("real", self.real), ("fake", self.fake)):
            lines += [f"skipped {name}  {n} x {reason}" for reason, n in side.reasons.items()]
            lines += [f"  {file}: {why}" for file, why in islice(side.broken.items(), NAMED)]
        return "\n".join(lines)

    def figures(self) -> dict[str, Any]:
        """All of it, for `json.dumps`."""
        return asdict(self)


def quality(
    real: Path,
    fake: Path,
    features: Features,
    side: int | None = None,
    watch: Watch = unwatched,
) -> Quality:
    """Every distance between the pictures at `real` and at `fake`.

    Either is a folder of pictures, captioned or not, or whatever `open_source` takes. Pictures
    stream through the network; their features stay in memory, 4 d bytes a picture, and a few times
    as much while distances are taken. Broken pictures are skipped, counted and named.
    Raises ValueError where pictures of one collection differ in size and no `side` is stated, and
    where there are too few.
    """
    if side is not None and side < 1:
        raise ValueError(f"side {side}: give the pixels to bring pictures to, 1 or more")
    readers = [Reader(path, side) for path in (real, fake)]  # a wrong path shows before any work
    real_rows, fake_rows = (_look(reader, features, watch) for reader in readers)
    for line in _doubts(*readers):
        warnings.warn(line, stacklevel=2)
    sides = [reader.collection() for reader in readers]
    found = measured(real_rows, fake_rows, features.name, watch)
    return Quality(features.name, side, sides[0], sides[1], found)


def measured(
    real: Float[Tensor, "n d"], fake: Float[Tensor, "m d"], features: str, watch: Watch
) -> tuple[Distance, ...]:
    """Every distance between features."""
    with watch("measuring", "distances") as advance:
        found = list[Distance]()
        for each in distances(real, fake, features):
            found.append(each)
            advance(len(found), len(KINDS))
    return tuple(found)


def _look(reader: "Reader", features: Features, watch: Watch) -> Float[Tensor, "n d"]:
    """The features of all pictures. ValueError if there are fewer than all distances can bear."""
    with watch(f"looking at {reader.path.name}", "pictures") as advance:
        rows = features(reader.pictures(advance))
    if len(rows) < (needed := least_pictures()):
        skipped = "".join(f" ({name}: {why})" for name, why in islice(reader.broken().items(), 1))
        raise ValueError(
            f"{reader.path} has {len(rows)} pictures that can be read{skipped}: "
            f"the distances need at least {needed}"
        )
    return rows


def least_pictures() -> int:
    """With fewer on either side there is not every distance."""
    return max(map(pictures_needed, KINDS))


def _doubts(real: "Reader", fake: "Reader") -> Iterator[str]:
    """What else than the pictures themselves may count as a difference between them."""
    smallest = min(real.smallest, fake.smallest)
    if real.size != fake.size:
        sizes = [f"{width}x{height}" for width, height in (real.size, fake.size)]
        yield (
            f"real pictures are {sizes[0]}, fake ones {sizes[1]}, which counts as a difference: "
            f"give --side {smallest} to compare them at one size"
        )
    if real.side is not None and smallest < real.side:
        yield f"--side {real.side} enlarges pictures: the smallest has {smallest} pixels"


class Reader:
    """The pictures at a path, or those of `source` there, and what is known of them so far."""

    def __init__(self, path: Path, side: int | None, source: Source | None = None) -> None:
        self.path, self.side = path, side
        self.source = open_pictures(path) if source is None else source
        self.faults = Faults()
        self.count, self.smallest = 0, 0  # pictures; the shortest edge of any
        self.size, self.first = (0, 0), ""  # of the first one, and its name

    def pictures(self, advance: Advance) -> Iterator[Image.Image]:
        """Each that can be decoded, at the stated side; a size unlike the first's is refused."""
        return (picture for _, picture in self.named(advance))

    def named(self, advance: Advance) -> Iterator[tuple[str, Image.Image]]:
        """The same with their names inside the collection."""
        progress = Progress(self.source, advance)
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow works without the GIL
            for item, picture in _ahead(pool, self.source.samples()):
                progress.advance(item)
                if isinstance(picture, Image.Image):
                    name = self._shown(item.name)
                    yield name, self._taken(name, picture)
                else:
                    self.faults.add({self._shown(picture.name): picture.reason})
        progress.finish()

    def _taken(self, name: str, picture: Image.Image) -> Image.Image:
        self.smallest = min(picture.size) if not self.count else min(self.smallest, *picture.size)
        if self.side is not None:
            picture = at_side(picture, self.side)
        if not self.count:
            self.size, self.first = picture.size, name
        elif picture.size != self.size:
            sizes = [f"{width}x{height}" for width, height in (self.size, picture.size)]
            raise ValueError(
                f"{self.path} has pictures of several sizes ({self.first} is {sizes[0]}, {name} "
                f"{sizes[1]}): give --side {self.smallest}, or another to bring them to"
            )
        self.count += 1
        return picture

    def collection(self) -> Collection:
        """The pictures that were read."""
        counts, path = self.faults.counts(), str(self.path)
        return Collection(path, self.count, *self.size, len(self.faults), counts, self.broken())

    def broken(self) -> dict[str, str]:
        """Name -> reason, of the first that could not be used."""
        return {name: self._shown(why) for name, why in self.faults.named.items()}

    def _shown(self, name: str) -> str:
        """Without the path, which is told once; printable whatever the file system holds."""
        inside = name.removeprefix(os.path.abspath(self.path) + os.sep)
        return inside.encode(errors="backslashreplace").decode()


def _ahead(
    pool: ThreadPoolExecutor, items: Iterable[Item]
) -> Iterator[tuple[Item, Image.Image | Fault]]:
    items = iter(items)
    while some := list(islice(items, AHEAD)):
        yield from zip(some, pool.map(decoded, some), strict=True)


def decoded(item: Item) -> Image.Image | Fault:
    """The picture of an item, or why there is none."""
    if isinstance(item, Fault):
        return item
    try:
        return load(item.image)
    except ValueError as error:
        return Fault(item.name, str(error))


def at_side(picture: Image.Image, side: int) -> Image.Image:
    """The centre of a picture, `side` x `side`, by antialiased bicubic."""
    if picture.size == (side, side):
        return picture
    edge = min(picture.size)
    left, top = (picture.width - edge) // 2, (picture.height - edge) // 2
    centre = picture.crop((left, top, left + edge, top + edge))
    return centre.resize((side, side), Image.Resampling.BICUBIC)
