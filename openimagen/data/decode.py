"""Image files in, pictures out: decode whatever people have, crop, shrink. No torch."""

import warnings
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from openimagen.data.bombs import check_parts

MAX_PIXELS = 89_478_485  # where Pillow starts to warn: a quarter of a gigabyte of RGB
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")  # all that Pillow may try: no PostScript
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # `load` refuses them


def load(source: Path | bytes, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode a picture as RGB, upright; transparency shows white, an animation its first frame.

    What a file contains counts, not what its name ends in. Raises ValueError, naming the reason,
    and the file if it is one, for whatever cannot be decoded or has more than `max_pixels`; that,
    and files made to be much work, are refused before decoding.
    """
    return _decoded(source, max_pixels, _to_rgb)


def fault_of(source: Path | bytes) -> str | None:
    """Why `load` would refuse a picture; None if it decodes."""
    try:
        load(source)
    except ValueError as error:
        return str(error)
    return None


def load_rgba(source: Path | bytes, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode a picture as RGBA, upright; ValueError as of `load`."""
    return _decoded(source, max_pixels, _to_rgba)


def _decoded(
    source: Path | bytes, max_pixels: int, convert: Callable[[Image.Image], Image.Image]
) -> Image.Image:
    name = f"{source}: " if isinstance(source, Path) else ""
    try:
        with BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file:
            if not file.read(1):
                raise ValueError("the file is empty")
            check_parts(file)
            file.seek(0)
            with Image.open(file, formats=FORMATS) as image:
                if image.width * image.height > max_pixels:
                    raise Image.DecompressionBombError(f"{image.width} x {image.height}")
                ImageOps.exif_transpose(image, in_place=True)
                return convert(image)
    except Image.DecompressionBombError as error:  # also Pillow's, at twice its limit
        raise ValueError(f"{name}over {max_pixels} pixels: {error}") from error
    except UnidentifiedImageError as error:
        raise ValueError(
            f"{name}no picture of a kind that is read: {', '.join(FORMATS)}"
        ) from error
    except Exception as error:  # Pillow's decoders raise all kinds
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ValueError(f"{name}{reason}") from error


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("floating-point pixels have no agreed range; save it with 8 or 16 bits")
    if image.mode.startswith("I"):  # 16 bits of grey, which Pillow would clip
        grey = np.asarray(image).astype(np.int32).clip(0, 65535)
        grey += 128
        grey //= 257
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        picture = image if image.mode == "RGBA" else image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(picture, mask=picture.getchannel("A"))
        return white
    return image.convert("RGB")


def _to_rgba(image: Image.Image) -> Image.Image:
    return (image if image.has_transparency_data else _to_rgb(image)).convert("RGBA")


def square(image: Image.Image, side: int) -> Image.Image:
    """The centre of the picture, `side` x `side`, antialiased.

    A whole factor averages areas, so that two pictures of one source agree as a low-resolution
    pair; any other factor is Lanczos.
    """
    edge = min(image.size)
    left, top = (image.width - edge) // 2, (image.height - edge) // 2
    centre = image.crop((left, top, left + edge, top + edge))
    if edge % side == 0:
        return centre.reduce(edge // side)
    return centre.resize((side, side), Image.Resampling.LANCZOS)
