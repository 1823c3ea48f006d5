"""Finding the tile: with which size of cell, at which offset.

All offsets are tried at once, by folding the picture into one tile and correlating it with the
signs that every mark has. Sizes are tried one after the other: first those of a picture that kept
its size or was halved, then those at which such a correlation stands out.
"""

import math
from collections.abc import Iterator

import numpy as np
from PIL import Image

from openimagen.safety.pattern import (
    CELL,
    TILE,
    amounts,
    fold,
    pick_up,
    sync_signs,
    sync_wave,
)
from openimagen.safety.transforms import Floats, residual

WORK_SIDE = 512  # pictures of twice that shorter side and more are reduced before the search
KNOWN_CELLS = (16, 32, 8, 64)  # pixels, of a picture that kept its size or was halved
FEWEST, MOST = 13.0, 66.0  # cells along the shorter side
STEP = 0.4  # cells: between the sizes tried
SIZES = 6  # of those tried, the ones to read
OFFSETS = 2  # to read at each size
SMALLEST_CELL = 7.0  # pixels


def readings(luma: Floats) -> Iterator[Floats]:
    """The 120 soft chips of each hypothesis about a picture of this luma, [h w], likely ones first.

    At most 72 of them.
    """
    times = max(1, min(luma.shape) // WORK_SIDE)
    work = np.asarray(Image.fromarray(luma).reduce(times))
    for known in KNOWN_CELLS:
        cell = known / times
        if cell >= SMALLEST_CELL and FEWEST <= min(work.shape) / cell <= MOST:
            yield from readings_at(work, cell)
    for cell in likely_cells(work):
        yield from readings_at(work, cell)


def readings_at(work: Floats, cell: float) -> Iterator[Floats]:
    """Those with cells of this size, in pixels, for each way to sample them."""
    half = cell / CELL / 2
    shifts = (0.0, half) if half > 0.5 else (0.0,)
    for down in shifts:
        for across in shifts:
            tile = fold(residual(sampled(work, cell, down, across)))
            heights = correlation(tile)
            for y, x in highest(heights, OFFSETS):
                yield pick_up(amounts(np.roll(tile, (-y, -x), (0, 1))))


def likely_cells(work: Floats) -> list[float]:
    """The sizes at which some offset stands out most, highest first."""
    shorter, heights = min(work.shape), {}
    octaves: dict[int, Floats] = {}
    for count in np.arange(FEWEST, MOST, STEP):
        cell = shorter / float(count)
        if cell < SMALLEST_CELL:
            break
        octave = max(0, int(math.log2(cell / CELL)))
        if octave not in octaves:
            octaves[octave] = residual(np.asarray(Image.fromarray(work).reduce(2**octave)))
        tile = fold(sampled(octaves[octave], cell / 2**octave))
        heights[cell] = float(correlation(tile).max())
    return sorted(heights, key=lambda cell: -heights[cell])[:SIZES]


def sampled(plane: Floats, cell: float, down: float = 0, across: float = 0) -> Floats:
    """The plane from (down, across) on, 8 samples for each cell."""
    scale = cell / CELL
    h, w = (int((plane.shape[n] - start) / scale + 1e-6) for n, start in enumerate((down, across)))
    box = (
        across,
        down,
        min(across + w * scale, plane.shape[1]),
        min(down + h * scale, plane.shape[0]),
    )
    whole = scale == int(scale)
    kind = Image.Resampling.BOX if whole else Image.Resampling.HAMMING
    return np.asarray(Image.fromarray(plane).resize((w, h), kind, box))


def correlation(tile: Floats) -> Floats:
    """Of a folded picture with the signs, for each offset [64 64], in standard deviations."""
    signs = np.fft.rfft2(np.kron(sync_signs(), sync_wave()))
    found = np.fft.irfft2(np.fft.rfft2(tile) * signs.conj(), s=(TILE, TILE))
    return (found / (found.std() + 1e-9)).astype(np.float32)


def highest(heights: Floats, count: int) -> list[tuple[int, int]]:
    """The offsets, down and across, of the highest peaks: no neighbour is higher."""
    around = [np.roll(heights, (y, x), (0, 1)) for y in (-1, 0, 1) for x in (-1, 0, 1)]
    peaks = np.where(heights >= np.max(around, 0), heights, -np.inf)
    order = np.argsort(-peaks, axis=None, kind="stable")[:count]
    return [(int(k) // TILE, int(k) % TILE) for k in order]
