"""Skin tones without a face classifier: which pixels have a colour of skin, and how dark it is.

A colour counts as skin if it lies near the line through the ten swatches of the Monk Skin Tone
scale (Monk, 2019) in CIELAB, and is not grey; its tone is its place on that line. So every tone has
the same margin, which rules of thumb made on light skin do not give. Wood, sand and fair hair have
colours of skin too: what is said here is about colours, not about people.
"""

import numpy as np
import numpy.typing as npt
from jaxtyping import Float
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image

MONK = (
    *("f6ede4", "f3e7db", "f7ead0", "eadaba", "d7bd96"),
    *("a07e56", "825c43", "604134", "3a312a", "292420"),
)  # 1, the lightest, to 10
MARGIN = 14.0  # CIE76 colour difference from the line
LEAST_CHROMA = 3.0  # below it is grey; the darkest swatch has 3.8
FROM_WHITE = 7.0  # below it is paper; the lightest swatch has 8.1
SIDE = 64  # pixels that a picture is looked at with

Floats = npt.NDArray[np.float64]


def lab(rgb: Float[np.ndarray, "*b 3"]) -> Float[np.ndarray, "*b 3"]:
    """SRGB in 0..255 -> CIELAB (D65): L* in 0..100, a*, b*."""
    share = rgb / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array(
        [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750],
         [0.0193339, 0.1191920, 0.9503041]]
    )  # fmt: skip
    xyz = linear @ to_xyz.T / to_xyz.sum(1)  # of white: 1 1 1
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    x, y, z = f[..., 0], f[..., 1], f[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)


SWATCHES: Floats = lab(np.array([[*bytes.fromhex(each)] for each in MONK], np.float64))  # [10 3]


def tones(rgb: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n"]:
    """Tone of each colour, 1 (lightest) to 10 (darkest) on the Monk scale; NaN if it is no skin."""
    colours = lab(rgb)
    start, step = SWATCHES[:-1], np.diff(SWATCHES, axis=0)  # nine pieces of the line
    offset = colours[:, None] - start  # [n 9 3]
    along = ((offset * step).sum(-1) / (step**2).sum(-1)).clip(0, 1)
    away = np.linalg.norm(offset - along[..., None] * step, axis=-1)  # [n 9]
    piece = away.argmin(1)
    rows = np.arange(len(colours))
    is_grey = np.hypot(*colours.T[1:]) < LEAST_CHROMA
    is_white = np.linalg.norm(colours - (100, 0, 0), axis=-1) < FROM_WHITE
    is_skin = (away[rows, piece] <= MARGIN) & ~is_grey & ~is_white
    return np.where(is_skin, 1 + piece + along[rows, piece], np.nan)


def tones_of(picture: Image.Image) -> Float[np.ndarray, "n"]:
    """Tone of each pixel of an RGB picture, shrunk; NaN where it is no skin.

    A pixel counts where its eight neighbours have colours of skin too: not the pale rim that
    anything has on white.
    """
    small = picture.resize((SIDE, SIDE), Image.Resampling.BOX)
    found = tones(np.asarray(small, np.float64).reshape(-1, 3)).reshape(SIDE, SIDE)
    around = sliding_window_view(np.pad(np.isfinite(found), 1), (3, 3)).all((2, 3))
    return np.where(around, found, np.nan).ravel()


def lightness(picture: Image.Image) -> float:
    """Mean L* of an RGB picture, 0 (black) to 100 (white)."""
    small = picture.resize((SIDE, SIDE), Image.Resampling.BOX)
    return float(lab(np.asarray(small, np.float64))[..., 0].mean())
