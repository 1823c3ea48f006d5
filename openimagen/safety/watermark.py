"""The invisible watermark: which model and which seed drew a picture, in the picture itself.

Where it lies: the luma's Haar wavelets (down to cells of 8 samples), the cosine transform of each
cell, there two middle waves for the bits and one for finding them again (pattern.py). How strong:
as much as the cell and those around it hide, by their singular values (a single straight edge,
which hides nothing, has but one); elsewhere as little as the picture needs, and soft: no steps
between cells or samples. The writer reads what it wrote, also as a brighter picture would show it,
and gives more where the picture speaks against it, less where it helps. Flat white stays white
where the rest of the picture can carry the mark.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from openimagen.safety import error_correction
from openimagen.safety.pattern import CELL, CELLS, amounts, fold, lay_out, waves
from openimagen.safety.synchronisation import readings
from openimagen.safety.transforms import (
    Floats,
    blocks,
    cosines,
    dithered,
    enlarged,
    haar,
    lowest_around,
    residual,
    softened,
    unblocks,
)

SMALLEST = 256  # pixels of the shorter side
SMALLEST_READ = 100  # pixels: of such a picture halved, and cropped
LARGEST = 1024  # pixels of the shorter side: pictures of twice that are reduced before reading
LONGEST = 2  # times the shorter side: of a longer picture the middle is read
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
STRENGTH = 1.25  # levels, root mean square in a cell, of each wave before it is softened
LARGE = 32  # pixels of a cell from which on less than that will do, if many cells are alive:
ALIVE, LIVELY, FAINTEST = 0.3, 0.35, 0.3  # levels of deviation; share of the cells; of STRENGTH
EDGE, TEXTURE = 0.002, 0.02  # of the second singular value: strength that a cell, its area hides
MOST_STRENGTH = 5.0
WHITE = 250  # level from which on a cell is white ground
ENOUGH = 4 * CELLS * CELLS  # cells that are not white ground: with as many, white stays white
CHANGE, TEXTURE_CHANGE, MOST_CHANGE = 2.5, 0.08, 6  # levels: smooth, by texture, at most
BRIGHTER = 1.2
ROUNDS, MOST_GAIN = 4, 4.0
NOISE = 3.0  # levels, root mean square: the most that is written (38.5 dB)

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Mark:
    """What a watermark says: `model_number` of the model's name, `seed_number` of the seed."""

    model: int
    seed: int


def model_number(name: str) -> int:
    """16 bits that stand for a model's name."""
    return _hashed(f"model {name}")


def seed_number(seed: int) -> int:
    """16 bits that stand for a seed, without telling it."""
    return _hashed(f"seed {seed}")


def _hashed(text: str) -> int:
    return int.from_bytes(hashlib.blake2s(text.encode()).digest()[:2], "big")


def can_carry(size: tuple[int, int]) -> bool:
    """Whether a picture of this width and height is large enough for a watermark."""
    return min(size) >= SMALLEST


def embed(image: Image.Image, mark: Mark) -> Image.Image:
    """The picture, RGB or RGBA, with the mark in it; a copy if it is too small to carry one.

    Alpha, and colours where it is 0, stay as they are. ValueError if the mode is another.
    """
    if image.mode not in ("RGB", "RGBA"):
        raise ValueError(
            f"a picture to be marked is RGB or RGBA, not {image.mode}: convert it first"
        )
    if not can_carry(image.size):
        return image.copy()
    picture = np.asarray(image)
    cell = cell_of(image.size)
    h, w = (side // cell * cell for side in picture.shape[:2])
    change = change_for(low_colours(picture[:h, :w], cell // CELL), mark, cell)
    whole = dithered(enlarged(change, cell // CELL)).clip(-MOST_CHANGE, MOST_CHANGE)
    return Image.fromarray(changed(picture, whole))


def changed(picture: Bytes, change: npt.NDArray[np.int16]) -> Bytes:
    """All colours changed by so many levels, where there is any alpha."""
    h, w = change.shape
    if picture.shape[2] == 4:
        change = change * (picture[:h, :w, 3] > 0)
    marked = picture.copy()
    marked[:h, :w, :3] = np.clip(picture[:h, :w, :3] + change[..., None], 0, 255)
    return marked


def cell_of(size: tuple[int, int]) -> int:
    """Pixels of a cell's side: 16, from a shorter side of 1024 on a 32nd of its power of two."""
    return max(16, 1 << (min(size).bit_length() - 6))


def low_colours(picture: Bytes, times: int) -> Floats:
    """The low band, [h/times w/times 3], in levels, on white: what the wavelets' LL holds."""
    colours = on_white(picture)
    planes = [colours[..., c] for c in range(3)]
    while times > 1:
        planes = [haar(plane)[0] / 2 for plane in planes]
        times //= 2
    return np.stack(planes, -1)


def on_white(picture: Bytes) -> Floats:
    """Levels of RGB or RGBA [h w c] as they look on white, [h w 3]."""
    colours: Floats = picture[..., :3].astype(np.float32)
    if picture.shape[2] == 4:
        alpha = picture[..., 3:].astype(np.float32) / 255
        colours = 255 + (colours - 255) * alpha
    return colours


def change_for(low: Floats, mark: Mark, cell: int) -> Floats:
    """What is added to the low band's luma, [h w]; `cell` in pixels."""
    signs = lay_out(error_correction.encode(mark.model << 16 | mark.seed))
    strength, most = strengths(low @ LUMA, cell)
    before = read_amounts(low, np.zeros_like(low[..., 0]))
    gain = np.ones_like(signs)
    change = spread(signs * gain, strength, most)
    after = read_amounts(low, change)
    answer = (after - before) * signs
    usual = np.median(answer, (1, 2), keepdims=True)
    answer = np.maximum(answer, 0.3 * usual)
    for _ in range(ROUNDS):
        gain = np.clip(gain + (usual - after * signs) / answer, 0, MOST_GAIN)
        change = spread(signs * gain, strength, most)
        noise = float(np.sqrt(np.mean(change**2)))
        if noise > NOISE:
            usual *= NOISE / noise
        after = read_amounts(low, change)
    return change * min(1.0, NOISE / noise)


def strengths(luma: Floats, cell: int) -> tuple[Floats, Floats]:
    """How strong each cell's waves may be, [h/8 w/8], and its most change in levels."""
    cells = blocks(luma, CELL)
    c = cosines(CELL)
    coefficients = (c @ cells @ c.T)[..., :4, :4].copy()
    coefficients[..., 0, 0] = 0
    second = np.linalg.svd(coefficients, compute_uv=False)[..., 1]
    texture = lowest_around(second)
    strength = least_strength(cells, cell) + EDGE * second + TEXTURE * texture
    strength = np.minimum(strength, MOST_STRENGTH)
    white = cells.min((2, 3)) >= WHITE
    if (~white).sum() >= ENOUGH:
        strength[white] = 0
    return strength, np.minimum(CHANGE + TEXTURE_CHANGE * texture, MOST_CHANGE)


def least_strength(cells: Floats, cell: int) -> float:
    """Of a cell that hides nothing; compression wipes dead flat cells, so those count for less."""
    tiles = cells.shape[0] * cells.shape[1] / CELLS**2
    alive = float((cells.std((2, 3)) >= ALIVE).mean())
    part = max(FAINTEST, LIVELY / max(alive, LIVELY)) if cell >= LARGE else 1.0
    return STRENGTH * part * min(1.0, (4 / tiles) ** 0.5)


def spread(signs: Floats, strength: Floats, most: Floats) -> Floats:
    """The tile's signs [3 8 8], repeated over all cells [h w] with their strengths: [8h 8w]."""
    h, w = strength.shape
    rows, columns = np.arange(h)[:, None] % CELLS, np.arange(w) % CELLS
    cells = np.einsum("kyx,kij->yxij", signs[:, rows, columns], CELL * waves())
    soft = blocks(softened(unblocks(cells * strength[..., None, None])), CELL)
    return unblocks(np.clip(soft, -most[..., None, None], most[..., None, None]))


def read_amounts(low: Floats, change: Floats) -> Floats:
    """What a reader will find in each place of the tile, as it is and made brighter, [3 8 8]."""
    colours = low + change[..., None]
    views = [residual(np.clip(colours * times, 0, 255) @ LUMA) for times in (1.0, BRIGHTER)]
    plain, brighter = (amounts(fold(view)) for view in views)
    return (plain + brighter) / 2


def read(image: Image.Image) -> Mark | None:
    """The mark of a picture of any mode and size; None if it has none that can be read."""
    if min(image.size) < SMALLEST_READ:
        return None
    for chips in readings(levels(image)):
        value = error_correction.decode(chips)
        if value is not None:
            return Mark(value >> 16, value & 0xFFFF)
    return None


def levels(image: Image.Image) -> Floats:
    """The luma of a picture's middle on white, [h w], in levels from 0 to 255."""
    w, h = image.size
    longest = LONGEST * min(w, h)
    left, top = max(0, w - longest) // 2, max(0, h - longest) // 2
    middle = image.crop((left, top, w - left, h - top))
    times = 1 << max(0, (min(middle.size) // LARGEST).bit_length() - 1)
    if middle.mode.startswith("I") or middle.mode == "F":
        wide: Floats = np.nan_to_num(np.asarray(middle, np.float32))
        wide = wide / 257 if middle.mode.startswith("I") else np.clip(wide, 0, 255)
        return np.asarray(Image.fromarray(wide).reduce(times))
    straight = middle.convert("LA") if middle.mode == "La" else middle
    return on_white(np.asarray(straight.convert("RGBA").reduce(times))) @ LUMA
