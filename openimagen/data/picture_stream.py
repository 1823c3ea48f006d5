"""Shards as an endless, shuffled stream of examples, read from front to back.

Shards are dealt to the readers anew each epoch. A reader reads a block of samples, gives them out
in random order, and reads the next. So where it stands is four numbers; to resume, it reads its
last block once more.
"""

import copy
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, takewhile
from typing import NamedTuple

import numpy as np

from openimagen.data.batch import Example, View
from openimagen.data.faults import Faults
from openimagen.data.images import load
from openimagen.data.picture_set import PictureSet
from openimagen.data.sample import Fault, Item
from openimagen.data.source import Shards

BUFFER, BUFFER_BYTES = 1024, 256 * 2**20  # of a block: samples, encoded
BARREN = 10  # epochs without a picture, after which a reader gives up
HELD = 64  # samples held out at the most
DEAL, BLOCK, DRAW = 2, 3, 4  # what random numbers are for: keeps the streams of one seed apart
Entry = tuple[int, int, Item]  # unit of the reader's share, number in the shard, what is there


class PictureStream:
    """Captioned pictures from shards: an endless stream, split without overlap over its readers.

    An epoch gives every sample once, to one reader. With fewer shards than readers each shard is
    dealt out in parts: of p parts, every p-th sample; all of its readers then read the whole shard.
    Every `hold_out`-th sample of the first shard, 64 at most, is for `held_out` alone. Examples
    show what `View` says. Broken samples are left out; each reader tells of them in its first
    epoch, where they come once.
    """

    def __init__(
        self,
        shards: Shards,
        side: int,
        *,
        crop: int | None = None,
        align: int = 4,
        seed: int = 0,
        hold_out: int = 0,
        buffer: int = BUFFER,
    ) -> None:
        self.shards, self.view, self.seed = shards, View(side, crop, align), seed
        self.hold_out, self.buffer = hold_out, buffer
        self.faults = Faults(shards.faults)
        self.others: PictureSet | None = None

    def alternating(self, others: PictureSet) -> "PictureStream":
        """This stream, but every example with an odd ticket is of the others."""
        both = copy.copy(self)
        both.others = others
        return both

    def first(self, count: int) -> list[Example]:
        """The first examples of a shard."""
        small = copy.copy(self)
        small.buffer = count
        made = (one for one in Reader(small) if isinstance(one, Example))
        return list(islice(made, count))

    def held_out(self, count: int) -> list[Example]:
        """At most `count` examples that are held out; what is broken among them is passed over."""
        last = self.hold_out * HELD
        entries = takewhile(lambda entry: entry[0] < last, self.shards.read(0))
        held = (entry for entry in entries if self.is_held_out(0, entry[0]))
        made = (self.make(item, self.draw(DRAW, 0, 0, number)) for number, item in held)
        return list(islice((one for one in made if isinstance(one, Example)), count))

    def is_held_out(self, shard: int, number: int) -> bool:
        """Whether a sample is kept from all readers."""
        every = self.hold_out
        return shard == 0 and number < every * HELD and number % every == every - 1

    def make(self, item: Item, draw: np.random.Generator) -> Example | Fault:
        """The example that a sample gives."""
        if isinstance(item, Fault):
            return item
        try:
            image = self.view.show(load(item.image), self.view.window(draw))
        except ValueError as error:
            return Fault(item.name, str(error))
        return Example(image, item.captions[draw.integers(len(item.captions))])

    def draw(self, *purpose: int) -> np.random.Generator:
        """Random numbers for a purpose."""
        return np.random.default_rng((self.seed, *purpose))

    def identity(self) -> dict[str, object]:
        """What the order of the samples depends on, but for the readers."""
        digest = hashlib.sha256()
        for name, path in zip(self.shards.names, self.shards.paths, strict=True):
            digest.update(f"{name}\n{path.stat().st_size}\n".encode(errors="surrogateescape"))
        order = {"seed": self.seed, "hold_out": self.hold_out, "buffer": self.buffer}
        return {"shards": digest.hexdigest()[:16], **order}


@dataclass(frozen=True)
class Place:
    """Where a reader stands: at which block, and how many of its samples are given out."""

    epoch: int = 0
    unit: int = 0  # of its share, in which the block begins
    member: int = 0  # number in the shard of the block's first sample
    given: int = 0


class Start(NamedTuple):
    """Where readers begin: at an epoch, and that so many of its units are given out already."""

    epoch: int = 0
    units: int = 0


class Unit(NamedTuple):
    """A part of a shard: of `parts`, the one that begins with sample number `part`."""

    shard: int
    part: int
    parts: int


class Reader(Iterator[Example | Fault]):
    """One of the readers that share a stream: its examples, and what it could not use, for ever.

    `place` is where it stands; a reader that begins there, with the same `start`, goes on exactly
    like this one. Raises ValueError after ten epochs without a picture.
    """

    def __init__(
        self,
        stream: PictureStream,
        number: int = 0,
        readers: int = 1,
        place: Place | None = None,
        start: Start | None = None,
    ) -> None:
        self.stream, self.number, self.readers = stream, number, readers
        self.start = start or Start()
        self.place = place or Place(self.start.epoch)
        self._given = self._give()

    def __next__(self) -> Example | Fault:
        """The next of them."""
        return next(self._given)

    def _give(self) -> Iterator[Example | Fault]:
        start, barren = self.place, 0
        while barren < BARREN:
            barren += 1
            for made in self._epoch(start):
                if isinstance(made, Example):
                    barren = 0
                elif start.epoch > self.start.epoch and not made.passing:
                    continue  # told before
                yield made
            start = Place(start.epoch + 1)
        raise ValueError(
            f"{BARREN} epochs without a picture for reader {self.number} of {self.readers}: "
            "there are too few for so many ranks x workers; see `openimagen data check`"
        )

    def _epoch(self, start: Place) -> Iterator[Example | Fault]:
        epoch, begin, stream = start.epoch, start.given, self.stream
        share = self._share(epoch)
        for block in _blocks(self._entries(share, start), stream.buffer):
            unit, member, _ = block[0]
            order = stream.draw(BLOCK, epoch, share[unit].shard, member).permutation(len(block))
            for given in range(begin, len(block)):
                unit_of, number, item = block[order[given]]
                self.place = Place(epoch, unit, member, given + 1)
                yield stream.make(item, stream.draw(DRAW, epoch, share[unit_of].shard, number))
            begin = 0
            del block  # or there would be two when the next is read

    def _share(self, epoch: int) -> list[Unit]:
        """What falls to this reader."""
        shards = len(self.stream.shards.paths)
        parts = parts_of(shards, self.readers)
        order = self.stream.draw(DEAL, epoch).permutation(shards * parts).tolist()
        if epoch == self.start.epoch:
            order = order[self.start.units :]
        mine = order[self.number :: self.readers]
        return [Unit(unit // parts, unit % parts, parts) for unit in mine]

    def _entries(self, share: list[Unit], start: Place) -> Iterator[Entry]:
        """Samples in the order in which they are read, from a place on to the end of the epoch."""
        for unit in range(start.unit, len(share)):
            shard, part, parts = share[unit]
            begin = start.member if unit == start.unit else 0
            for number, item in self.stream.shards.read(shard, begin, part, parts):
                if isinstance(item, Fault) or not self.stream.is_held_out(shard, number):
                    yield unit, number, item


def parts_of(shards: int, readers: int) -> int:
    """In how many parts a shard is dealt out, so that there is one for every reader."""
    return -(-readers // shards)


def _blocks(entries: Iterator[Entry], most: int) -> Iterator[list[Entry]]:
    """Entries by `most` together, less if they are large."""
    block: list[Entry] = []
    size = 0
    for entry in entries:
        block.append(entry)
        size += 0 if isinstance(entry[2], Fault) else len(entry[2].image)
        if len(block) == most or size >= BUFFER_BYTES:
            yield block
            block, size = [], 0
    if block:
        yield block
