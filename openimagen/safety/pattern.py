"""What the writer and the reader of the watermark both know: a tile of 8 by 8 cells, repeated.

In a cell of 8 by 8 samples three cosines are used: two carry a chip each, the third a sign that is
always the same, by which the reader finds the tile. Which chip lies where, and with which sign, is
drawn from hashes, for ever the same.
"""

import hashlib
from functools import cache

import numpy as np

from openimagen.safety.error_correction import LENGTH
from openimagen.safety.transforms import Floats, blocks, cosines

CELL, CELLS = 8, 8  # samples of a cell's side, cells of a tile's
TILE = CELL * CELLS
CHIP_WAVES, SYNC_WAVE = ((0, 2), (2, 0)), (1, 1)  # (down, across)
WAVES = (*CHIP_WAVES, SYNC_WAVE)
PLACES = len(CHIP_WAVES) * CELLS * CELLS  # for 120 chips; the others stay empty


@cache
def draws(name: str, count: int) -> tuple[int, ...]:
    """Numbers below 2^32 that look random and never change."""
    digests = (hashlib.blake2s(f"{name} {k}".encode()).digest() for k in range(count))
    return tuple(int.from_bytes(digest[:4], "big") for digest in digests)


@cache
def sync_signs() -> Floats:
    """Of the third cosine in each cell of the tile, [8 8]."""
    return signs_of("sync", CELLS * CELLS).reshape(CELLS, CELLS)


def signs_of(name: str, count: int) -> Floats:
    """`count` fixed signs, +-1."""
    return np.array([1 - 2 * (draw & 1) for draw in draws(name, count)], np.float32)


@cache
def places() -> tuple[int, ...]:
    """Where among the 128 places of the tile each chip lies."""
    return tuple(int(k) for k in np.argsort(draws("places", PLACES), kind="stable")[:LENGTH])


def lay_out(chips: Floats) -> Floats:
    """The tile's signs, [3 8 8]: 120 scrambled chips (0 where none lies), then the sync signs."""
    tile = np.zeros(PLACES, np.float32)
    tile[list(places())] = chips * signs_of("scramble", LENGTH)
    return np.concatenate([tile.reshape(-1, CELLS, CELLS), sync_signs()[None]])


def pick_up(amounts: Floats) -> Floats:
    """The 120 chips, soft, of a tile's amounts [3 8 8]: `lay_out` turned round."""
    return amounts[: len(CHIP_WAVES)].ravel()[list(places())] * signs_of("scramble", LENGTH)


@cache
def waves() -> Floats:
    """The three cosines, [3 8 8], each of norm 1."""
    c = cosines(CELL)
    return np.stack([np.outer(c[down], c[across]) for down, across in WAVES])


@cache
def sync_wave() -> Floats:
    """The third of them, [8 8]."""
    return waves()[-1]


def fold(samples: Floats) -> Floats:
    """All tiles of [h w] on top of each other, [64 64]."""
    h, w = samples.shape
    padded = np.pad(samples, ((0, -h % TILE), (0, -w % TILE)))
    return padded.reshape(-1, TILE, padded.shape[1] // TILE, TILE).sum((0, 2))


def amounts(tile: Floats) -> Floats:
    """How much of each cosine there is in each cell of a folded tile, [3 8 8]."""
    return np.einsum("yxij,kij->kyx", blocks(tile, CELL), waves())
