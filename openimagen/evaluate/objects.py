"""What a picture of icons holds, found without a network.

Whatever differs from the plain or evenly graded background is cut into connected parts; parts that
lie close are one thing. A thing is called what the icon is called that it looks most like, in any
of GenEval's colours. Things that touch or overlap are one.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from openimagen.data.colours import COLOURS, NAMES, colour_numbers, paint
from openimagen.data.scenes import Icons

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Box = tuple[int, int, int, int]  # left, top, right, bottom

LARGEST = 128  # pixels: a larger picture is made smaller first
APART = 30  # levels that tell a thing from the background
SPECK = 0.08  # of the side: what is no larger is no thing
CLOSE = 1 / 32  # of the side: parts that are nearer are one
SMALL, BESIDE = 0.45, 0.35  # of a thing's size: how large its loose parts are, how near they lie
TILE = 12  # pixels at which things are compared
TURNS = (0, -15, 15)  # degrees
COLOUR_WEIGHT = 1.5  # of a difference in colour, beside one in outline
OWN = 0.08  # by which a thing in its icon's own colours is likelier
UNLIKE = 0.4  # a thing that is less like any icon has no name


@dataclass(frozen=True)
class Found:
    """A thing in a picture; `name` is empty if it looks like no icon."""

    name: str
    likeness: float  # 0..1, to that icon
    colour: str  # that most of it has: one of GenEval's, or grey
    box: Box


class Objects:
    """Knows things by their icons."""

    def __init__(self, icons: Icons) -> None:
        variants = [(name, *each) for name, icon in icons.items() for each in _variants(icon)]
        self.names = [name for name, _, _ in variants]
        self.tiles = np.stack([tile for _, tile, _ in variants])  # [p 12 12 4]
        self.likelier = np.array([OWN if own else 0.0 for *_, own in variants])

    def __call__(self, picture: Image.Image) -> list[Found]:
        """The things in an RGB picture, those that look most like an icon first."""
        picture = _at_most(picture, LARGEST)
        words = colour_numbers(picture)
        found = [self._called(picture, words, mask) for mask in things(picture)]
        return sorted(found, key=lambda each: -each.likeness)

    def _called(self, picture: Image.Image, words: npt.NDArray[np.uint8], mask: Mask) -> Found:
        box = _box(mask)
        tiles = [_tile(_cut(picture, each).crop(box)) for each in _filled(mask)]
        likeness = np.stack([_likeness(tile, self.tiles) for tile in tiles]).max(0)
        best = int((likeness + self.likelier).argmax())
        name = self.names[best] if likeness[best] >= UNLIKE else ""
        inner = ndimage.binary_erosion(mask)  # edges are mixed with the background
        counts = np.bincount(words[inner if inner.any() else mask], minlength=len(NAMES))
        return Found(name, float(likeness[best]), NAMES[int(counts.argmax())], box)


# --- what it looks like ---------------------------------------------------------------------------


def _variants(icon: Image.Image) -> Iterator[tuple[Floats, bool]]:
    """An icon a little turned, and in every colour; and whether in its own."""
    for degrees in TURNS:
        turned = icon.rotate(degrees, Image.Resampling.BICUBIC, expand=True)
        small = _at_most(turned.crop(turned.getchannel("A").getbbox()), 48)
        yield _tile(small), True
        yield from ((_tile(paint(small, colour)), False) for colour in COLOURS)


def _tile(thing: Image.Image) -> Floats:
    """What an RGBA picture shows, stretched to [12 12 4] in 0..1."""
    small = thing.resize((TILE, TILE), Image.Resampling.BOX)
    return np.asarray(small, np.float32) / np.float32(255)


def _cut(picture: Image.Image, mask: Mask) -> Image.Image:
    cut = picture.copy()
    cut.putalpha(Image.fromarray(mask).convert("L"))
    return cut


def _filled(mask: Mask) -> Iterator[Mask]:
    """As it is, and with what it surrounds: part of it, or the background seen through it."""
    yield mask
    filled = ndimage.binary_fill_holes(mask)
    if filled.sum() > mask.sum():
        yield filled


def _likeness(tile: Floats, tiles: Floats) -> Floats:
    """0..1: the share of what either covers that both do, less where they differ in colour."""
    own, others = tile[..., 3], tiles[..., 3]
    both, either = np.minimum(own, others), np.maximum(own, others)
    unlike = np.abs(tile[..., :3] - tiles[..., :3]).mean(-1)
    alike: Floats = (both * (1 - COLOUR_WEIGHT * unlike)).sum((1, 2)) / either.sum((1, 2))
    return alike


# --- where things are -----------------------------------------------------------------------------


def things(picture: Image.Image) -> list[Mask]:
    """A mask [h w] for each thing in an RGB picture."""
    mask = foreground(picture)
    near = max(1, round(CLOSE * max(picture.size) / 2))
    labels, count = ndimage.label(ndimage.binary_dilation(mask, _SQUARE, near), _SQUARE)
    parts = [mask & (labels == number) for number in range(1, count + 1)]
    return [part for part in _joined(parts) if _size(_box(part)) > SPECK * max(picture.size)]


_SQUARE = np.ones((3, 3), bool)


def foreground(picture: Image.Image) -> Mask:
    """Which pixels are no background, whose colour is that of the border, or runs evenly."""
    levels = np.asarray(picture, np.float64)
    height, width = levels.shape[:2]
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    plane = np.stack([np.ones_like(x), x, y], 2)  # [h w 3]
    ring = np.ones((height, width), bool)
    ring[2:-2, 2:-2] = False
    border, where = levels[ring], plane[ring]
    kept = np.abs(border - np.median(border, 0)).max(1) <= 2 * APART
    for _ in range(4):  # things may lie on the border: leave out what does not fit
        weights = np.linalg.lstsq(where[kept], border[kept], rcond=None)[0]
        kept = np.abs(border - where @ weights).max(1) <= APART
        if kept.sum() < 8:
            weights = np.stack([np.median(border, 0), *np.zeros((2, 3))])
            break
    return np.abs(levels - plane @ weights).max(2) > APART


def _joined(parts: list[Mask]) -> list[Mask]:
    """Loose parts go to the nearest thing that is much larger and not far."""
    parts = sorted(parts, key=lambda part: -_size(_box(part)))
    whole: list[Mask] = []
    for part in parts:
        size = _size(_box(part))
        away = ndimage.distance_transform_edt(~part)
        best, least = None, np.inf
        for number, other in enumerate(whole):
            reach, gap = _size(_box(other)), float(away[other].min())
            if size < SMALL * reach and gap < BESIDE * reach and gap < least:
                best, least = number, gap
        if best is None:
            whole.append(part)
        else:
            whole[best] = whole[best] | part
    return whole


def _box(mask: Mask) -> Box:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return 0, 0, 0, 0
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _size(box: Box) -> int:
    return max(box[2] - box[0], box[3] - box[1])


def _at_most(picture: Image.Image, side: int) -> Image.Image:
    small = picture.copy()
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    return small
