"""An endless stream of examples that is a pure function of (seed, ticket).

A ticket is the number of a picture in the run: 0, 1, 2, ... To resume after k pictures, start at
ticket k. There is no state to save and none to restore.
"""

import copy
import sys
import warnings
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.utils.data import Dataset

from openimagen.data.batch import Batch, Example, View
from openimagen.data.faults import Faults
from openimagen.data.folder import Pictures
from openimagen.data.images import load
from openimagen.data.picture_cache import decoded, opened, reason_of
from openimagen.progress import Advance

HELD = 64  # pictures held out at the most
ORDER, DRAW = 0, 1  # what random numbers are for: keeps the streams of one seed apart


class PictureSet(Dataset[Example]):
    """Captioned pictures as an endless, shuffled stream of examples, indexed by ticket.

    Each epoch is a permutation of the pictures. An example is the picture at `side` x `side` or,
    with `crop`, a random part of it whose corner is a multiple of `align` pixels.

    Every `hold_out`-th picture, 64 at most, is not of the stream; `held` is a set of those.

    With a folder as `cache`, pictures are decoded once, into a memory-mapped file there; broken
    ones are left out and named in `faults`. Without, each is decoded when its ticket comes; in
    place of a broken one comes the next of its epoch.
    """

    too_small = 0  # pictures left out for their size: none, they are resized

    def __init__(
        self,
        pictures: Pictures,
        side: int,
        *,
        crop: int | None = None,
        align: int = 4,
        seed: int = 0,
        hold_out: int = 0,
        cache: Path | None = None,
        on_progress: Advance | None = None,
    ) -> None:
        self.view, self.seed = View(side, crop, align), seed
        self.pairs, self.faults = pictures.pairs, Faults(pictures.faults, names=sys.maxsize)
        self._cache: Path | None = None
        self._rows: Sequence[int] = range(len(self.pairs))  # of the pairs, in the cache
        if cache is not None:
            self._cache, broken = decoded(
                [pair.path for pair in self.pairs], side, cache, "RGB", on_progress
            )
            self._rows = [
                row for row, pair in enumerate(self.pairs) if str(pair.path) not in broken
            ]
            self.pairs = tuple(self.pairs[row] for row in self._rows)
            self.faults.add(broken)
        self.held: PictureSet | None = None
        self.held = self._take(held_out(len(self.pairs), hold_out))
        if not self.pairs:
            raise ValueError("no picture could be read; see `openimagen data check`")

    def __len__(self) -> int:
        """Pictures in an epoch; tickets go on beyond."""
        return len(self.pairs)

    @property
    def held_pictures(self) -> int:
        """How many pictures are held out."""
        return len(self.held) if self.held else 0

    @property
    def is_decoded(self) -> bool:
        """Whether pictures are read from the cache."""
        return self._cache is not None

    def __getitem__(self, ticket: int) -> Example:
        """The example that the run sees as its number `ticket`, counted from 0."""
        faults: dict[str, str] = {}
        example = self.example(ticket, faults)
        for name in faults.keys() - self.faults.named:
            warnings.warn(f"skipped {name}: {faults[name]}", RuntimeWarning, stacklevel=2)
        self.faults.add(faults)
        return example

    def first(self, count: int) -> list[Example]:
        """The first examples of the run."""
        return [self[ticket] for ticket in range(count)]

    def held_out(self, count: int) -> list[Example]:
        """`count` examples of the pictures that are held out, in turn; none if there are none."""
        return self.held.first(count) if self.held else []

    def batch(self, tickets: Sequence[int]) -> Batch:
        """The examples of these tickets, and whatever was broken on the way to them."""
        faults: dict[str, str] = {}
        examples = [self.example(ticket, faults) for ticket in tickets]
        return self.view.batch(examples, tickets, faults)

    def alternating(self, others: "PictureSet") -> "PictureSet":
        """This set, but every example with an odd ticket is of the others."""
        return Alternating(self, others)

    def _take(self, numbers: Sequence[int]) -> "PictureSet | None":
        """A set of some of the pictures, which this one loses; None if they are none."""
        if not numbers:
            return None
        taken = copy.copy(self)
        taken.pairs = tuple(self.pairs[number] for number in numbers)
        taken._rows = [self._rows[number] for number in numbers]
        left = sorted({*range(len(self.pairs))}.difference(numbers))
        self.pairs = tuple(self.pairs[number] for number in left)
        self._rows = [self._rows[number] for number in left]
        return taken

    def example(self, ticket: int, faults: dict[str, str]) -> Example:
        """The example of a ticket, and into `faults` what was skipped for it."""
        epoch, place = divmod(ticket, len(self))
        order = _permutation(self.seed, epoch, len(self))
        draw = np.random.default_rng((self.seed, DRAW, ticket))
        window = self.view.window(draw)
        for step in range(len(self)):
            index = int(order[(place + step) % len(self)])
            try:
                example = self._example(index, window)
            except ValueError as error:
                path = self.pairs[index].path
                faults[str(path)] = reason_of(path, error)
                continue
            captions = self.pairs[index].captions
            return example._replace(caption=captions[draw.integers(len(captions))])
        raise ValueError("no picture could be read; see `openimagen data check`")

    def _example(self, index: int, window: tuple[slice, slice]) -> Example:
        return Example(self._pixels(index, window), "")

    def _pixels(self, index: int, window: tuple[slice, slice]) -> UInt8[Tensor, "3 h w"]:
        if self._cache is None:
            return self.view.show(load(self.pairs[index].path), window)
        return torch.from_numpy(np.array(opened(self._cache)[self._rows[index], :, *window]))


def held_out(length: int, every: int) -> range:
    """Numbers of the pictures to hold out: each `every`-th, but at most HELD; 0: none."""
    step = max(every, -(-length // HELD))
    return range(step - 1, length, step) if every else range(0)


class Alternating(PictureSet):
    """One's own pictures and others in turn: even tickets are of the first, odd of the second."""

    def __init__(self, own: PictureSet, others: PictureSet) -> None:
        vars(self).update(vars(own))  # in all but its examples it is one's own
        self.sets = own, others

    def example(self, ticket: int, faults: dict[str, str]) -> Example:
        """That of one of the two, which has half the tickets."""
        place, which = divmod(ticket, 2)
        return self.sets[which].example(place, faults)

    @property
    def held_pictures(self) -> int:
        """How many of one's own are held out."""
        return self.sets[0].held_pictures

    def first(self, count: int) -> list[Example]:
        """The first examples of one's own."""
        return self.sets[0].first(count)

    def held_out(self, count: int) -> list[Example]:
        """Those of one's own."""
        return self.sets[0].held_out(count)


@lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, length: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.random.default_rng((seed, ORDER, epoch)).permutation(length)
