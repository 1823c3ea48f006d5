"""Editing: the same cascade from another start, a picture of the user's instead of noise alone.

Image-to-image takes the picture to some noise, z = sqrt(1 - s²) x + s eps, and restores it from
there (Meng et al., 2022). Its strength is a time of the cosine schedule, s = sin(pi/2 strength),
which spreads out what sigma itself has crowded between 0.9 and 1. Inpainting holds each estimate of
x0 to the picture where it is known.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn.functional import interpolate

from openimagen.cascade import Cascade, PictureNoise, Wrap
from openimagen.config import Schedule
from openimagen.data.decode import load, load_rgba
from openimagen.data.images import to_float, to_tensor
from openimagen.diffusion import Denoiser, add_noise, sampling_log_snrs

EDIT, FILL, VARY = 0.7, 1.0, 0.65  # strengths unless told: of edits, with a mask, of variations

Picture = Float[Tensor, "3 s s"]
Mask = Float[Tensor, "1 s s"]


@dataclass(frozen=True)
class Known:
    """The picture that a drawing starts from.

    `picture`: in [-1, 1]. `mask`: 1 where to draw anew, 0 where it is known; None, all of it is
    drawn anew. `sigma`: of the noise that it is taken to, in (0, 1].
    """

    picture: Picture
    mask: Mask | None
    sigma: float

    def shrunk(self, side: int) -> "Known":
        """The same on another side; a pixel is drawn anew if any part of it is."""
        if self.picture.shape[-1] == side:
            return self
        picture = interpolate(self.picture[None], size=2 * (side,), mode="bicubic", antialias=True)
        mask = self.mask
        if mask is not None:
            mask = (interpolate(mask[None], size=2 * (side,), mode="area")[0] > 0).float()
        return Known(picture[0].clamp(-1, 1), mask, self.sigma)


@dataclass(frozen=True)
class Source:
    """A picture of the user's that a new one is made from, of any shape.

    `mask`: of the same size, white where to draw anew. `strength`: how much may change, in (0, 1];
    None is 0.7, with a mask 1. `task`: "edit" starts from it, "upscale" draws what the stages above
    it make of it.
    """

    picture: Image.Image
    mask: Image.Image | None = None
    strength: float | None = None
    task: Literal["edit", "upscale"] = "edit"

    def __post_init__(self) -> None:
        """ValueError for a strength out of range, or a mask of another size, or of nothing.

        TypeError for what is no picture.
        """
        for given in (self.picture, self.mask or self.picture):
            if not isinstance(given, Image.Image):
                raise TypeError(f"{given!r:.60} is no picture: give PIL.Image.open(FILE)")
        if self.strength is not None and not 0 < self.strength <= 1:
            raise ValueError(f"strength is {self.strength}: from over 0 (keep) to 1 (redraw)")
        if self.mask is not None and self.mask.size != self.picture.size:
            sizes = [f"{width}x{height}" for width, height in (self.mask.size, self.picture.size)]
            raise ValueError(f"the mask is {sizes[0]}, the picture {sizes[1]}: make them one size")
        if self.mask is not None and not is_white(self.mask).any():
            raise ValueError("the mask leaves nothing to draw: mark the place to be drawn anew")

    @property
    def sigma(self) -> float:
        """Of the noise that it is taken to: by the strength as told, or else by the task's own."""
        return math.sin(math.pi / 2 * (self.strength or (EDIT if self.mask is None else FILL)))

    def whole(self) -> Picture:
        """All of the picture, squared."""
        return to_float(to_tensor(squared(self.picture.convert("RGB"))))

    def known(self) -> Known | None:
        """What an edit starts from."""
        if self.task != "edit":
            return None
        if self.mask is None:
            return Known(self.whole(), None, self.sigma)
        anew = is_white(squared(self.mask.convert("L")))
        return Known(self.whole(), torch.from_numpy(anew).float()[None], self.sigma)

    def finish(self, drawn: Image.Image) -> Image.Image:
        """Give a drawn square the picture's proportions, and its own pixels outside the mask.

        They are exact here; the door then puts the watermark on the whole.
        """
        drawn = unsquared(drawn, self.picture.size)
        return drawn if self.mask is None else restored(drawn, self.picture, self.mask)


def load_mask(source: Path | bytes) -> Image.Image:
    """Decode a mask: white where to draw anew; of one with transparency, where it is transparent.

    Raises ValueError as `data.decode.load` does.
    """
    alpha = load_rgba(source).getchannel("A")
    is_opaque = alpha.getextrema() == (255, 255)
    return load(source).convert("L") if is_opaque else ImageOps.invert(alpha)


def is_white(mask: Image.Image) -> Bool[np.ndarray, "h w"]:
    """Where a mask says: draw anew."""
    return np.array(mask.convert("L")) > 127


def log_snr_of(sigma: float) -> float:
    """Where the forward process has this sigma: ln((1 - s²) / s²)."""
    rest = 1 - sigma**2
    return math.log(rest) - 2 * math.log(sigma) if rest > 0 else -math.inf


def ends_of(schedule: Schedule, sigma: float) -> tuple[float, float]:
    """Log-SNRs that restoring walks between. ValueError for less noise than the schedule has."""
    first, last = max(log_snr_of(sigma), schedule.log_snr_min), schedule.log_snr_max
    if first >= last:
        raise ValueError("that is less noise than the model knows: take more strength")
    return first, last


@dataclass(frozen=True)
class Start:
    """What `Cascade.sample` is given to draw one stage from known pictures."""

    latents: Float[Tensor, "b 3 s s"] | None = None
    settings: Mapping[str, tuple[float, float]] = field(default_factory=dict)  # the walk's ends
    wrap: Wrap | None = None


def begin(cascade: Cascade, number: int, seeds: Sequence[int], knowns: Sequence[Known]) -> Start:
    """How stage `number` starts from pictures of one sigma, all masked or none.

    The noise is that of the seeds. Stages above the first have the picture below to go by, and
    draw from noise alone: taken to less noise they would keep what the first has painted over.
    """
    stage = cascade.stages[number].config
    side, device = stage.side, cascade.device
    here = [each.shrunk(side) for each in knowns]
    pictures = torch.stack([each.picture for each in here]).to(device)
    masks = [each.mask for each in here if each.mask is not None]
    wrap = held(pictures, torch.stack(masks).to(device)) if masks else None
    if number > 0:
        return Start(wrap=wrap)
    schedule = stage.diffusion.schedule
    ends = ends_of(schedule, here[0].sigma)
    first = sampling_log_snrs(schedule, 1, ends)[0]
    eps = PictureNoise(seeds, number, device).draw(3, side, side)
    z = add_noise(pictures, eps, first.to(device).expand(len(seeds)))
    return Start(z, {"log_snr_range": ends}, wrap)


def held(pictures: Float[Tensor, "b 3 h w"], masks: Float[Tensor, "b 1 h w"]) -> Wrap:
    """Hold estimates of x0 to the pictures where the masks are 0."""

    def wrap(denoise: Denoiser) -> Denoiser:
        return lambda z, log_snr: torch.where(masks > 0, denoise(z, log_snr), pictures)

    return wrap


# --- pictures of any shape ------------------------------------------------------------------------


def squared(picture: Image.Image) -> Image.Image:
    """Made square, itself in the middle, by going on with the pixels of its edge."""
    width, height = picture.size
    side = max(width, height)
    left, top = (side - width) // 2, (side - height) // 2
    pads = [(top, side - height - top), (left, side - width - left)]
    pixels = np.array(picture)
    return Image.fromarray(np.pad(pixels, pads + [(0, 0)] * (pixels.ndim - 2), mode="edge"))


def unsquared(picture: Image.Image, shape: tuple[int, int]) -> Image.Image:
    """Cut a square down to the proportions of what was squared, (width, height)."""
    side = picture.width
    size = [max(1, round(side * length / max(shape))) for length in shape]
    left, top = (side - size[0]) // 2, (side - size[1]) // 2
    return picture.crop((left, top, left + size[0], top + size[1]))


def restored(drawn: Image.Image, source: Image.Image, mask: Image.Image) -> Image.Image:
    """The drawn picture with the source's own pixels wherever the mask is black.

    Where the drawn picture has the source's size they are its very pixels; else they are resized.
    """
    keep = Image.fromarray(~is_white(mask))
    source = source.convert("RGB")
    if source.size != drawn.size:
        source = source.resize(drawn.size, Image.Resampling.BICUBIC)
        keep = keep.resize(drawn.size, Image.Resampling.NEAREST)
    return Image.composite(source, drawn, keep)
