"""Look at a data set before training on it: what is there, what is broken, what is double."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from openimagen.data.faults import NAMES, Faults
from openimagen.data.images import load
from openimagen.data.sample import Fault, Item, Sample
from openimagen.data.sheet import captioned_sheet, thumbnail
from openimagen.data.source import Shards, Source, open_source
from openimagen.progress import Advance

SHOWN, NAMED = 30, 20  # pictures on the sheet; names in the report
AHEAD = 64  # samples in memory
SIDES = (64, 256, 1024)  # of the stages


class Spread(NamedTuple):
    """Of a set of numbers."""

    min: int
    median: int
    max: int


@dataclass(frozen=True)
class Check:
    """What `check` found; sizes in pixels, lengths of captions in characters."""

    path: str
    format: str
    shards: int  # 0 for a folder
    pictures: int  # that can be used
    width: Spread
    height: Spread
    smallest_side: int
    under: dict[int, int]  # of how many pictures a side is shorter than that
    captions: int
    length: Spread
    same_pixels: int  # pictures that repeat another, whatever their files
    repeats: dict[str, str]  # the first of them -> the picture that they repeat
    shared_captions: int  # captions of more than one picture, not counting repeated pictures
    skipped: int
    reasons: dict[str, int]
    broken: dict[str, str]  # name -> reason, of the first of them

    def __str__(self) -> str:
        shards = f", {self.shards} shards" if self.shards else ""
        lines = [
            f"{self.path}: {self.format}{shards}",
            f"pictures  {self.pictures} usable, {self.skipped} skipped",
            f"width     {_words(self.width)} pixels",
            f"height    {_words(self.height)} pixels; the smallest side is {self.smallest_side}",
            *self._warnings(),
            f"captions  {self.captions}, {_words(self.length)} characters",
            f"doubles   {self.same_pixels} pictures repeat another; "
            f"{self.shared_captions} captions belong to several pictures",
        ]
        lines += [f"repeated  {name} is {other}" for name, other in self.repeats.items()]
        lines += [f"skipped   {count} x {reason}" for reason, count in self.reasons.items()]
        lines += [f"  {name}: {why}" for name, why in islice(self.broken.items(), NAMED)]
        if self.skipped > NAMED:
            lines += [f"  and {self.skipped - NAMED} more; --json names up to {NAMES}"]
        return "\n".join(lines)

    def _warnings(self) -> list[str]:
        counts = ", ".join(f"{count} under {side}" for side, count in self.under.items() if count)
        return [f"small     {counts}: a stage of that side sees them enlarged"] if counts else []

    def as_json(self) -> dict[str, Any]:
        """All of it, for `json.dumps`."""
        return {
            key: value._asdict() if isinstance(value, Spread) else value
            for key, value in vars(self).items()
        }


def check(
    path: Path,
    sheet: Path | None = None,
    on_progress: Advance | None = None,
) -> Check:
    """Decode every picture at `path`, in any of the three formats, and report.

    `sheet`: a file for a contact sheet of some thirty pictures, chosen at random. `on_progress` is
    told pictures done and in all, which is a guess for shards. Memory grows by some 200 bytes a
    picture. Raises ValueError if there is no usable pair.
    """
    source = open_source(path)
    if sheet is not None:
        sheet.parent.mkdir(parents=True, exist_ok=True)
    tally, progress = Tally(), Progress(source, on_progress)
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow works without the GIL
        for looked in _ahead(pool, source.samples()):
            progress.advance(looked.item)
            tally.add(looked)
    progress.finish()
    if sheet is not None:
        captioned_sheet(tally.shown).save(sheet, format="PNG")
    return tally.report(path, source)


class Looked(NamedTuple):
    """A sample that was decoded; `picture` is None if it is broken, and `item` a Fault."""

    item: Item
    picture: Image.Image | None
    digest: bytes  # of the pixels


def _ahead(pool: ThreadPoolExecutor, items: Iterable[Item]) -> Iterator[Looked]:
    items = iter(items)
    while some := list(islice(items, AHEAD)):
        yield from pool.map(_look, some)


def _look(item: Item) -> Looked:
    if isinstance(item, Fault):
        return Looked(item, None, b"")
    try:
        picture = load(item.image)
    except ValueError as error:
        return Looked(Fault(item.name, str(error)), None, b"")
    digest = hashlib.blake2b(f"{picture.size}".encode(), digest_size=16)
    digest.update(np.asarray(picture).data)
    return Looked(item, picture, digest.digest())


class Tally:
    """What is known after some samples."""

    def __init__(self) -> None:
        self.faults = Faults()
        self.sizes, self.lengths = Counter[tuple[int, int]](), Counter[int]()
        self.names: dict[bytes, str] = {}  # digest of pixels -> the first picture that has them
        self.owners: dict[bytes, bytes] = {}  # digest of a caption -> of its first picture
        self.shared: set[bytes] = set()  # captions of several pictures
        self.same_pixels = 0
        self.repeats: dict[str, str] = {}
        self.shown: list[tuple[Image.Image, str]] = []
        self._draw = np.random.default_rng(0)

    def add(self, looked: Looked) -> None:
        """Count a sample."""
        item, picture, digest = looked
        if picture is None or isinstance(item, Fault):
            assert isinstance(item, Fault)
            self.faults.add({item.name: item.reason})
            return
        self.sizes[picture.size] += 1
        self.lengths.update(map(len, item.captions))
        first = self.names.setdefault(digest, item.name)
        if first != item.name:
            self.same_pixels += 1
            if len(self.repeats) < NAMED:
                self.repeats[item.name] = first
        for caption in item.captions:
            key = hashlib.blake2b(caption.encode(), digest_size=16).digest()
            if self.owners.setdefault(key, digest) != digest:
                self.shared.add(key)
        self._show(picture, item)

    def _show(self, picture: Image.Image, item: Sample) -> None:
        """Keep it with the chance that every picture so far has (reservoir sampling)."""
        place = int(self._draw.integers(self.sizes.total()))
        if len(self.shown) < SHOWN:
            self.shown.append((thumbnail(picture), item.captions[0]))
        elif place < SHOWN:
            self.shown[place] = (thumbnail(picture), item.captions[0])

    def report(self, path: Path, source: Source) -> Check:
        """The result."""
        wide, high, side = (Counter[int]() for _ in range(3))
        for size, count in self.sizes.items():
            for counter, value in zip((wide, high, side), (*size, min(size)), strict=True):
                counter[value] += count
        root = os.path.abspath(path) + os.sep

        def shown(name: str) -> str:
            return name.removeprefix(root).encode(errors="backslashreplace").decode()

        return Check(
            path=str(path),
            format=source.format,
            shards=len(source.paths) if isinstance(source, Shards) else 0,
            pictures=self.sizes.total(),
            width=_spread(wide),
            height=_spread(high),
            smallest_side=min(side),
            under={n: sum(side[size] for size in side if size < n) for n in SIDES},
            captions=self.lengths.total(),
            length=_spread(self.lengths),
            same_pixels=self.same_pixels,
            repeats={shown(name): shown(other) for name, other in self.repeats.items()},
            shared_captions=len(self.shared),
            skipped=len(self.faults),
            reasons=self.faults.counts(),
            broken={shown(name): shown(why) for name, why in self.faults.named.items()},
        )


class Progress:
    """Tells how far it is; how much there is in shards is guessed from the bytes read."""

    def __init__(self, source: Source, tell: Advance | None) -> None:
        self.tell, self.done, self.read = tell, 0, 0
        self.total, self.bytes = 0, 0
        if isinstance(source, Shards):
            self.bytes = sum(path.stat().st_size for path in source.paths)
        else:
            self.total = len(source.pairs) + len(source.faults)

    def advance(self, item: Item) -> None:
        """One more."""
        self.done += 1
        self.read += 0 if isinstance(item, Fault) else len(item.image)
        if self.tell is not None:
            guess = self.done * self.bytes // self.read if self.read else 0
            self.tell(self.done, self.total or max(self.done, guess))

    def finish(self) -> None:
        """That was all."""
        if self.tell is not None:
            self.tell(self.done, self.done)


def _spread(counts: Counter[int]) -> Spread:
    values = sorted(counts)
    sums = np.cumsum([counts[value] for value in values])
    median = values[int(np.searchsorted(sums, sums[-1] / 2))]
    return Spread(values[0], median, values[-1])


def _words(spread: Spread) -> str:
    return f"{spread.min} to {spread.max} (median {spread.median})"
