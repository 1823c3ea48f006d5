"""Pictures as tensors, and how they are read (`decode`, for whom torch is too slow to import).

Inside the library a picture is a tensor [3 h w]: uint8 when stored, float in [-1, 1] when computed.
"""

from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from openimagen.data.decode import FORMATS, MAX_PIXELS, load, square
from openimagen.files import write_whole

__all__ = [
    "FORMATS",
    "MAX_PIXELS",
    "load",
    "square",
    "to_float",
    "to_pil",
    "to_tensor",
    "write_picture",
]


def to_tensor(image: Image.Image) -> UInt8[Tensor, "3 h w"]:
    """Pixels of an RGB picture."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


def to_float(pixels: UInt8[Tensor, "*b 3 h w"]) -> Float[Tensor, "*b 3 h w"]:
    """0..255 -> [-1, 1]."""
    return pixels.float() / 127.5 - 1


def to_pil(image: Float[Tensor, "3 h w"]) -> Image.Image:
    """[-1, 1] -> picture, rounded; what lies outside is clipped."""
    pixels = ((image.detach().float() + 1) * 127.5).round().clamp(0, 255).byte()
    return Image.fromarray(pixels.permute(1, 2, 0).cpu().numpy())


def write_picture(path: Path, image: Float[Tensor, "3 h w"]) -> None:
    """[-1, 1] -> PNG file, whole or not at all."""
    to_pil(image).save(png := BytesIO(), format="png")
    write_whole(path, png.getvalue())
