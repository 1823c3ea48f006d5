"""An endless stream of examples that is a pure function of (seed, ticket).

A ticket is the number of a picture in the run: 0, 1, 2, ... To resume after k pictures, start at
ticket k. There is no state to save and none to restore.
"""

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from openimagen.data.folder import Picture, Pictures
from openimagen.data.images import load, square, to_tensor

Pixels = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
Progress = Callable[[int, int], None]
ORDER, DRAW = 0, 1  # what random numbers are for: keeps the streams of one seed apart


class Example(NamedTuple):
    """A picture and one of its captions."""

    image: UInt8[Tensor, "3 h w"]
    caption: str


class Batch(NamedTuple):
    """Examples of consecutive tickets."""

    image: UInt8[Tensor, "b 3 h w"]
    captions: list[str]


class PictureSet(Dataset[Example]):
    """Captioned pictures as an endless, shuffled stream of examples, indexed by ticket.

    Each epoch is a permutation of the pictures. An example is the picture at `side` x `side` or,
    with `crop`, a random part of it whose corner is a multiple of `align` pixels.

    With a folder as `cache`, pictures are decoded once, into a memory-mapped file there; broken
    ones are left out and named in `faults`. Without, each is decoded when its ticket comes; in
    place of a broken one comes the next of its epoch, with a warning.
    """

    def __init__(
        self,
        pictures: Pictures,
        side: int,
        *,
        crop: int | None = None,
        align: int = 4,
        seed: int = 0,
        cache: Path | None = None,
        on_progress: Progress | None = None,
    ) -> None:
        if crop is not None and (crop > side or crop % align or side % align):
            raise ValueError(f"crop {crop} must fit into {side}, both in steps of {align} pixels")
        self.side, self.crop, self.align, self.seed = side, crop, align, seed
        self.pairs, self.faults = pictures.pairs, dict(pictures.faults)
        self._cache: Path | None = None
        self._rows: Sequence[int] = range(len(self.pairs))  # of the pairs, in the cache
        if cache is not None:
            self._cache, broken = _decoded(self.pairs, side, cache, on_progress)
            self._rows = [
                row for row, pair in enumerate(self.pairs) if str(pair.path) not in broken
            ]
            self.pairs = tuple(self.pairs[row] for row in self._rows)
            self.faults |= broken
        if not self.pairs:
            raise ValueError("no picture could be read; see `openimagen data check`")

    def __len__(self) -> int:
        """Pictures in an epoch; tickets go on beyond."""
        return len(self.pairs)

    def __getitem__(self, ticket: int) -> Example:
        """The example that the run sees as its number `ticket`, counted from 0."""
        epoch, place = divmod(ticket, len(self))
        order = _permutation(self.seed, epoch, len(self))
        draw = np.random.default_rng((self.seed, DRAW, ticket))
        window = self._window(draw)
        for step in range(len(self)):
            index = int(order[(place + step) % len(self)])
            try:
                image = self._pixels(index, window)
            except ValueError as error:
                self._skip(self.pairs[index].path, error)
                continue
            captions = self.pairs[index].captions
            return Example(image, captions[draw.integers(len(captions))])
        raise ValueError("no picture could be read; see `openimagen data check`")

    def _skip(self, path: Path, error: ValueError) -> None:
        if str(path) not in self.faults:
            self.faults[str(path)] = _reason(path, error)
            warnings.warn(f"skipped {error}", RuntimeWarning, stacklevel=3)

    def _window(self, draw: np.random.Generator) -> tuple[slice, slice]:
        """Rows and columns that an example shows."""
        if self.crop is None:
            return slice(None), slice(None)
        top, left = self.align * draw.integers((self.side - self.crop) // self.align + 1, size=2)
        return slice(top, top + self.crop), slice(left, left + self.crop)

    def _pixels(self, index: int, window: tuple[slice, slice]) -> UInt8[Tensor, "3 h w"]:
        if self._cache is None:
            image = to_tensor(square(load(self.pairs[index].path), self.side))
            return image[:, *window].contiguous()
        return torch.from_numpy(np.array(_opened(self._cache)[self._rows[index], :, *window]))


class Loader:
    """Batches in order, as `loader` describes them."""

    def __init__(self, batches: "DataLoader[Example]") -> None:
        self._batches = batches

    def __iter__(self) -> Iterator[Batch]:
        yield from self._batches

    def state_dict(self) -> dict[str, Any]:
        """Where it is, beyond the clock: nothing to add."""
        return {}


def loader(
    dataset: PictureSet,
    start: int,
    stop: int,
    batch: int,
    workers: int = 0,
    rank: int = 0,
    ranks: int = 1,
    state: dict[str, Any] | None = None,
) -> Loader:
    """Batches of the tickets from `start` up to `stop`, in order; the last may be smaller.

    Of each batch, rank `rank` of `ranks` gets its part, as `tensor_split` cuts it. The result does
    not depend on the number of worker processes; 0 works in this one.
    """
    batches = (range(first, min(first + batch, stop)) for first in range(start, stop, batch))
    return Loader(
        DataLoader(
            dataset,
            batch_sampler=(_part(tickets, rank, ranks) for tickets in batches),
            num_workers=workers,
            collate_fn=_collate,
            generator=torch.Generator(),  # leaves torch's global one alone
        )
    )


def _part(tickets: range, rank: int, ranks: int) -> list[int]:
    size, extra = divmod(len(tickets), ranks)
    first = rank * size + min(rank, extra)
    return list(tickets[first : first + size + (rank < extra)])


def _collate(examples: list[Example]) -> Batch:
    images, captions = zip(*examples, strict=True)
    return Batch(torch.stack(images), list(captions))


@lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, length: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.random.default_rng((seed, ORDER, epoch)).permutation(length)


# --- the cache: one memory-mapped array [n 3 side side] -------------------------------------------


@lru_cache(maxsize=8)
def _opened(cache: Path) -> Pixels:
    """Once in each process: a data set sent to a worker carries the path, not the pixels."""
    pixels: Pixels = np.load(cache, mmap_mode="r")
    return pixels


def _decoded(
    pairs: Sequence[Picture], side: int, folder: Path, on_progress: Progress | None
) -> tuple[Path, dict[str, str]]:
    """The file with the decoded pictures, made unless it is there, and which ones are broken."""
    cache = folder / f"{_fingerprint(pairs)}-{side}.npy"
    faults = cache.with_suffix(".json")
    if not cache.exists():
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / f".{cache.name}.{os.getpid()}"
        try:
            faults.write_text(json.dumps(_decode(pairs, side, part, on_progress)))
            part.replace(cache)  # last: where the cache is, it is whole
        finally:
            part.unlink(missing_ok=True)
    return cache, json.loads(faults.read_text())


def _decode(
    pairs: Sequence[Picture], side: int, part: Path, on_progress: Progress | None
) -> dict[str, str]:
    shape = (len(pairs), 3, side, side)
    pixels = np.lib.format.open_memmap(part, mode="w+", dtype=np.uint8, shape=shape)

    def fill(row: int) -> str | None:
        try:
            pixels[row] = to_tensor(square(load(pairs[row].path), side)).numpy()
        except ValueError as error:
            return _reason(pairs[row].path, error)
        return None

    faults: dict[str, str] = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow works without the GIL
        for row, fault in enumerate(pool.map(fill, range(len(pairs)))):
            if fault is not None:
                faults[str(pairs[row].path)] = fault
            if on_progress is not None:
                on_progress(row + 1, len(pairs))
    pixels.flush()
    return faults


def _reason(path: Path, error: ValueError) -> str:
    return str(error).removeprefix(f"{path}: ")


def _fingerprint(pairs: Sequence[Picture]) -> str:
    """Of the files as they are now; captions are not in the cache."""
    digest = hashlib.sha256()
    for pair in pairs:
        digest.update(f"{pair.path}\n".encode(errors="surrogateescape"))
        if pair.path.exists():
            file = pair.path.stat()
            digest.update(f"{file.st_mtime_ns} {file.st_size}\n".encode())
    return digest.hexdigest()[:16]
