"""GenEval's colour words: which one a pixel is, and how a drawing gets another.

GenEval (Ghosh et al., 2023) asks for ten colours. Grey is none of them, but pixels may be grey.
"""

import colorsys

import numpy as np
import numpy.typing as npt
from PIL import Image

Levels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Shares = npt.NDArray[np.float32]  # [h w] in [0, 1]

# hue in degrees, saturation, brightness; and how much of a drawing's light and shade is kept
_PAINTS = {
    "red": (358, 0.84, 0.84, 0.6),
    "orange": (28, 0.90, 0.97, 0.5),
    "yellow": (53, 0.80, 0.97, 0.4),
    "green": (125, 0.66, 0.68, 0.6),
    "blue": (215, 0.78, 0.86, 0.6),
    "purple": (274, 0.62, 0.72, 0.6),
    "pink": (335, 0.38, 0.98, 0.4),
    "brown": (22, 0.62, 0.47, 0.4),
    "black": (0, 0.04, 0.13, 0.2),
    "white": (0, 0.02, 0.95, 0.2),
}
COLOURS = tuple(_PAINTS)
NAMES = (*COLOURS, "grey")  # of what `colour_numbers` gives
_FADED, _DARK, _LIGHT = 46, 64, 190  # of 255: less saturated is no hue, less bright is black
_NEAR = 30  # of 256 hues: what is one colour to a painter
_HALF = 0.5
_SOFT, _SOFT_HUE = 16, 8  # of 255 and 256: so far to each side of a bound, a pixel is partly within


def colour_numbers(picture: Image.Image) -> Levels:
    """The colour word of each pixel of an RGB picture: [h w] of places in `NAMES`."""
    hue, saturation, value = (each.astype(np.int64) for each in _hsv(picture))
    degrees = hue * 360 / 256
    found = np.full(hue.shape, NAMES.index("red"), np.uint8)
    for name, first, last in (
        ("orange", 14, 43), ("yellow", 43, 68), ("green", 68, 165), ("blue", 165, 250),
        ("purple", 250, 301), ("pink", 301, 343),
    ):  # fmt: skip
        found[(degrees >= first) & (degrees < last)] = NAMES.index(name)
    reddish = (degrees < 14) | (degrees >= 343)
    found[reddish & (saturation < 140) & (value > 180)] = NAMES.index("pink")
    found[(degrees < 50) & (value < 165) & ~(reddish & (saturation > 150))] = NAMES.index("brown")
    faded = (saturation < _FADED) | (value < _DARK)
    found[faded] = NAMES.index("grey")
    found[faded & (value >= _LIGHT)] = NAMES.index("white")
    found[faded & (value < _DARK + 16)] = NAMES.index("black")
    return found


def paint(drawing: Image.Image, colour: str) -> Image.Image:
    """A drawing whose main colour is another; its outline, light, shade and small parts stay.

    `drawing` is RGBA. ValueError for a colour that is none of `COLOURS`.
    """
    if colour not in _PAINTS:
        raise ValueError(f"no colour {colour!r}: choose from {', '.join(COLOURS)}")
    degrees, most, light, kept = _PAINTS[colour]
    hue, saturation, value = _hsv(drawing.convert("RGB"))
    share = _main(hue, saturation, value, np.asarray(drawing.getchannel("A")) > 0)
    part, touched = share >= _HALF, share > 0
    if not part.any():
        return drawing
    tint = (0.3 if most > 0.1 else 0) * (saturation[touched] - saturation[part].mean())
    shade = kept * (value[touched] - value[part].mean())
    hues = np.full(tint.shape, round(degrees * 256 / 360) % 256)
    coat = np.stack([hues, 255 * most + tint, 255 * light + shade], 1).clip(0, 255)  # [n 3]
    coat = np.asarray(Image.fromarray(coat.astype(np.uint8)[None], "HSV").convert("RGB"))[0]
    levels = np.array(drawing.convert("RGB"))
    weight = share[touched, None]
    levels[touched] = (weight * coat + (1 - weight) * levels[touched]).round()
    painted = Image.fromarray(levels)
    painted.putalpha(drawing.getchannel("A"))
    return painted


def tint(colour: str, white: float) -> tuple[int, int, int]:
    """Levels of a colour with a share of white in it."""
    degrees, saturation, value, _ = _PAINTS[colour]
    levels = colorsys.hsv_to_rgb(degrees / 360, saturation, value)
    red, green, blue = (round(255 * (white + (1 - white) * level)) for level in levels)
    return red, green, blue


def own_colour(drawing: Image.Image) -> str:
    """What most of an RGBA drawing is of: one of `NAMES`."""
    there = np.asarray(drawing.getchannel("A")) > 127
    counts = np.bincount(colour_numbers(drawing.convert("RGB"))[there], minlength=len(NAMES))
    return NAMES[int(counts.argmax())]


def paintable(drawing: Image.Image) -> bool:
    """Whether most of an RGBA drawing is of one colour, so that its name in another makes sense."""
    there = np.asarray(drawing.getchannel("A")) > 127
    part = _main(*_hsv(drawing.convert("RGB")), there) >= _HALF
    return bool(part.sum() > _HALF * there.sum())


def _main(hue: Levels, saturation: Levels, value: Levels, there: Mask) -> Shares:
    """How much each pixel is of a drawing's main colour, or is grey where most is; a half is in."""
    bright = there & (saturation >= _FADED) & (value >= _DARK)
    grey = there & (saturation < _FADED) & (value >= _DARK)
    colourful, lit = _above(saturation, _FADED), _above(value, _DARK)
    if not bright.any() or grey.sum() > bright.sum():
        return np.minimum(1 - colourful, lit) * there
    counts = np.bincount(hue[bright], minlength=256)
    window = np.arange(-_NEAR // 2, _NEAR // 2 + 1)
    near = counts[(np.arange(256)[:, None] + window) % 256].sum(1)
    away = (hue.astype(np.int64) - int(near.argmax()) + 128) % 256 - 128
    alike = 1 - _above(np.abs(away), _NEAR + 1, _SOFT_HUE)
    return np.minimum(np.minimum(colourful, lit), alike) * there


def _above(levels: npt.NDArray[np.integer], bound: int, soft: int = _SOFT) -> Shares:
    """Whether levels are at a bound or above it, with a slope in place of a step; never a half."""
    return ((levels.astype(np.float32) - bound + _HALF) / (2 * soft) + _HALF).clip(0, 1)


def _hsv(picture: Image.Image) -> tuple[Levels, Levels, Levels]:
    levels = np.asarray(picture.convert("HSV"))
    return levels[..., 0], levels[..., 1], levels[..., 2]
