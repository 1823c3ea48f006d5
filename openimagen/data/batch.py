"""Examples, alone and in batches, and which of them are whose."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from openimagen.data.images import square, to_tensor


class Example(NamedTuple):
    """A picture and one of its captions; perhaps what the stages below make of it."""

    image: UInt8[Tensor, "3 h w"]
    caption: str
    below: UInt8[Tensor, "3 h_low w_low"] | None = None


class Batch(NamedTuple):
    """Examples, their numbers in the run, and what turned out unusable while they were made."""

    image: UInt8[Tensor, "b 3 h w"]
    captions: list[str]
    tickets: Sequence[int] = ()
    faults: Mapping[str, str] = {}  # name -> reason
    below: UInt8[Tensor, "b 3 h_low w_low"] | None = None


@dataclass(frozen=True)
class View:
    """What an example shows of a picture: its centre at `side` x `side` pixels.

    With `crop`, a random part of that, whose corner is a multiple of `align` pixels, so that the
    picture at 1 / `align` of the size has the same part. Raises ValueError if they do not fit.
    """

    side: int
    crop: int | None = None
    align: int = 4

    def __post_init__(self) -> None:
        crop, side, align = self.crop, self.side, self.align
        if crop is not None and (crop > side or crop % align or side % align):
            raise ValueError(f"crop {crop} must fit into {side}, both in steps of {align} pixels")

    def window(self, draw: np.random.Generator) -> tuple[slice, slice]:
        """Rows and columns that an example shows."""
        if self.crop is None:
            return slice(None), slice(None)
        top, left = self.align * draw.integers((self.side - self.crop) // self.align + 1, size=2)
        return slice(top, top + self.crop), slice(left, left + self.crop)

    def show(self, image: Image.Image, window: tuple[slice, slice]) -> UInt8[Tensor, "3 h w"]:
        """The pixels of the window."""
        rows, columns = (part.indices(self.side) for part in window)
        whole = square(image, self.side)
        return to_tensor(whole.crop((columns[0], rows[0], columns[1], rows[1])))

    def batch(
        self, examples: Sequence[Example], tickets: Sequence[int], faults: Mapping[str, str]
    ) -> Batch:
        """Examples as one batch, which may be empty."""
        shown = self.crop or self.side
        images = torch.empty(len(examples), 3, shown, shown, dtype=torch.uint8)
        for row, example in zip(images, examples, strict=True):
            row.copy_(example.image)
        captions = [example.caption for example in examples]
        return Batch(images, captions, tickets, faults, below_of(examples))


def below_of(examples: Sequence[Example]) -> UInt8[Tensor, "b 3 h_low w_low"] | None:
    """What the stages below make of the pictures, if that is known of all."""
    below = [example.below for example in examples if example.below is not None]
    return torch.stack(below) if below and len(below) == len(examples) else None


@dataclass(frozen=True)
class Slices:
    """The tickets of each batch of one rank: its part of `batch` tickets, from `start` to `stop`.

    Ranks share every batch in order, as evenly as they can; the last batch may be smaller, and a
    rank's part of it empty.
    """

    start: int
    stop: int
    batch: int
    rank: int = 0
    ranks: int = 1

    def __len__(self) -> int:
        """Batches in all."""
        return max(0, -(-(self.stop - self.start) // self.batch))

    def __iter__(self) -> Iterator[range]:
        """One batch after the other."""
        return map(self.__getitem__, range(len(self)))

    def __getitem__(self, number: int) -> range:
        """The tickets of batch `number`."""
        first = self.start + number * self.batch
        share, rest = divmod(min(self.batch, self.stop - first), self.ranks)
        first += self.rank * share + min(self.rank, rest)
        return range(first, first + share + (self.rank < rest))
