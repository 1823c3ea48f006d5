"""Pictures that clients send: refused unless small and of a known kind, then decoded, upright.

Whatever a picture's name or content type says, its first bytes count. Nothing is ever fetched.
"""

from io import BytesIO

from PIL import Image

from openimagen.data.bombs import check_parts
from openimagen.data.decode import load, load_rgba
from openimagen.serve.errors import Refusal

BEGINNINGS = {b"\x89PNG\r\n\x1a\n": "PNG", b"\xff\xd8\xff": "JPEG", b"GIF8": "GIF"}
KINDS = ("PNG", "JPEG", "WEBP", "GIF")
CLEAR = 128  # alpha under which a mask's pixel is transparent, grey under which it is black


def kind_of(data: bytes) -> str | None:
    """What a file's first bytes say it is; None if that is none of KINDS."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    return next((kind for start, kind in BEGINNINGS.items() if data.startswith(start)), None)


def check_picture(data: bytes, name: str, pixels: int) -> None:
    """Refusal, before anything is decoded, for what is no picture or has too many pixels."""
    kind = kind_of(data)
    if kind is None:
        message = f"{name} is no picture of a kind that is read: {', '.join(KINDS)}"
        raise Refusal(400, message, param=name, code="invalid_image")
    try:
        check_parts(BytesIO(data))
        with Image.open(BytesIO(data), formats=[kind]) as image:
            width, height = image.size
    except ValueError as error:
        raise Refusal(400, f"{name}: {error}", param=name, code="invalid_image") from None
    except Image.DecompressionBombError:
        width, height = pixels, 2  # more than Pillow itself takes
    except Exception:
        message = f"{name} cannot be read: the file is damaged"
        raise Refusal(400, message, param=name, code="invalid_image") from None
    if width * height > pixels:
        message = f"{name} has more than {pixels} pixels: make it smaller"
        raise Refusal(400, message, param=name, code="image_too_large")


def picture_of(data: bytes, name: str, pixels: int, side: int) -> Image.Image:
    """A picture, RGB, no side of it over `side`. Refusal for what cannot be decoded."""
    check_picture(data, name, pixels)
    try:
        image = load(data, max_pixels=pixels)
    except ValueError as error:
        raise Refusal(400, f"{name}: {error}", param=name, code="invalid_image") from None
    return image.resize(fitting(image.size, side), Image.Resampling.LANCZOS)


def mask_of(data: bytes, pixels: int, side: int) -> Image.Image:
    """A mask, grey: white where OpenAI's is transparent or, if it nowhere is, black.

    Made smaller, a pixel is white if any part of it was. Refusal for one of nothing.
    """
    check_picture(data, "mask", pixels)
    try:
        image = load_rgba(data, max_pixels=pixels)
    except ValueError as error:
        raise Refusal(400, f"mask: {error}", param="mask", code="invalid_image") from None
    plane = image.getchannel("A")
    if not any(plane.histogram()[:CLEAR]):
        plane = image.convert("L")
    if not any(plane.histogram()[:CLEAR]):
        message = (
            "the mask leaves nothing to draw: make the place to be drawn anew transparent or, in a "
            "mask without transparency, black (white, as on the command line, is kept)"
        )
        raise Refusal(400, message, param="mask", code="invalid_value")
    white = plane.point(lambda level: 255 * (level < CLEAR))
    shrunk = white.resize(fitting(white.size, side), Image.Resampling.BOX)
    return shrunk.point(lambda level: 255 * (level > 0))


def fitting(size: tuple[int, int], side: int) -> tuple[int, int]:
    """The size in the same proportions that fits into a square, no larger than it was."""
    scale = min(1.0, side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
