"""The transforms of the watermark: Haar wavelets, the cosine transform of small blocks, how a
change becomes soft, large and whole, and what a picture's piece leaves when all that its
surroundings explain is taken off.
"""

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

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


def softened(plane: Floats) -> Floats:
    """Without steps from one sample to the next: 1 4 6 4 1 along both axes; borders go on."""
    for axis in (0, 1, 0, 1):
        size = plane.shape[axis]
        before = plane.take([0, *range(size - 1)], axis)
        after = plane.take([*range(1, size), size - 1], axis)
        plane = (before + 2 * plane + after) / 4
    return plane


def lowest_around(plane: Floats) -> Floats:
    """Of each sample, the lowest of the 3 by 3 around it."""
    h, w = plane.shape
    padded = np.pad(plane, 1, mode="edge")
    return np.min([padded[y : y + h, x : x + w] for y in range(3) for x in range(3)], 0)


def enlarged(plane: Floats, times: int) -> Floats:
    """So many times as large, smoothly, such that the means of its pieces are the plane again."""
    if times == 1:
        return plane
    size = (plane.shape[1] * times, plane.shape[0] * times)
    first = Image.fromarray(plane).resize(size, Image.Resampling.BICUBIC)
    missed = plane - np.asarray(first.reduce(times))
    return np.asarray(Image.fromarray(plane + missed).resize(size, Image.Resampling.BICUBIC))


def dithered(plane: Floats) -> npt.NDArray[np.int16]:
    """As whole numbers, by thresholds spread evenly (Roberts' R2 sequence): no contours."""
    down, across = (np.arange(size) for size in plane.shape)
    thresholds = (down[:, None] * 0.5698402910 + across * 0.7548776662).astype(np.float32) % 1
    return np.floor(plane + thresholds).astype(np.int16)


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
