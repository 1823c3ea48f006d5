"""The transforms of the watermark: Haar wavelets, the cosine transform of small blocks, and what a
picture's piece leaves when all that its surroundings explain is taken off.
"""

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]

RANGE = 30.0  # levels: what differs more from a pixel says nothing about it
OFFSETS = tuple(
    (dy, dx) for dy in range(-4, 5, 2) for dx in range(-4, 5, 2) if (dy, dx) > (0, 0)
)  # of the pixels looked at; the opposite ones come with them
WINDOW = 9  # pixels, over which the noise is measured
QUIET = 1.0  # levels of noise that count as none
LOUD = 2.0  # a normal residual is cut off here


def haar(picture: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """One level of the orthonormal Haar transform of [2h 2w]: LL, LH, HL, HH, each [h w]."""
    a, b = picture[0::2, 0::2], picture[0::2, 1::2]
    c, d = picture[1::2, 0::2], picture[1::2, 1::2]
    return (a + b + c + d) / 2, (a - b + c - d) / 2, (a + b - c - d) / 2, (a - b - c + d) / 2


def unhaar(ll: Floats, lh: Floats, hl: Floats, hh: Floats) -> Floats:
    """The picture, [2h 2w], of which these are the Haar transform."""
    h, w = ll.shape
    picture = np.empty((2 * h, 2 * w), np.float32)
    picture[0::2, 0::2], picture[0::2, 1::2] = (ll + lh + hl + hh) / 2, (ll - lh + hl - hh) / 2
    picture[1::2, 0::2], picture[1::2, 1::2] = (ll + lh - hl - hh) / 2, (ll - lh - hl + hh) / 2
    return picture


@cache
def cosines(size: int) -> Floats:
    """The orthonormal cosine transform (DCT-II) of `size` points: row k is the k-th cosine."""
    k, i = np.arange(size)[:, None], np.arange(size)
    waves = np.cos(np.pi * k * (2 * i + 1) / (2 * size)) * np.sqrt(2 / size)
    waves[0] /= np.sqrt(2)
    return waves.astype(np.float32)


def blocks(picture: Floats, size: int) -> Floats:
    """[h*size, w*size] as [h, w, size, size]."""
    h, w = picture.shape[0] // size, picture.shape[1] // size
    return picture.reshape(h, size, w, size).transpose(0, 2, 1, 3)


def unblocks(cells: Floats) -> Floats:
    """[h, w, size, size] as [h*size, w*size]."""
    h, w, size, _ = cells.shape
    return cells.transpose(0, 2, 1, 3).reshape(h * size, w * size)


def residual(luma: Floats) -> Floats:
    """What the neighbours of like level do not explain, in units of its own noise, [h w].

    A sigma filter: across an edge nothing is compared, so flat colours leave nothing but what was
    added to them. Neither brightness nor contrast changes much in it.
    """
    away, weight = np.zeros_like(luma), np.ones_like(luma)
    h, w = luma.shape
    for dy, dx in OFFSETS:
        here = np.s_[max(0, -dy) : h - max(0, dy), max(0, -dx) : w - max(0, dx)]
        there = np.s_[max(0, dy) : h + min(0, dy), max(0, dx) : w + min(0, dx)]
        difference = luma[here] - luma[there]
        like = np.maximum(1 - np.abs(difference) / np.float32(RANGE), 0)
        difference *= like
        weight[here] += like
        weight[there] += like
        away[here] += difference
        away[there] -= difference
    away /= weight
    noise = np.sqrt(mean_around(away * away, WINDOW))
    return np.clip(away / (noise + np.float32(QUIET)), -LOUD, LOUD)


def mean_around(plane: Floats, window: int) -> Floats:
    """Of each pixel, the mean of the window by window (odd) pixels around it; borders go on."""
    half = window // 2
    sums = np.pad(plane, half, mode="edge").astype(np.float64)
    for axis in (0, 1):
        sums = np.insert(np.cumsum(sums, axis), 0, 0, axis)
        ends = np.arange(window, sums.shape[axis])
        sums = sums.take(ends, axis) - sums.take(ends - window, axis)
    return (np.maximum(sums, 0) / window**2).astype(np.float32)
