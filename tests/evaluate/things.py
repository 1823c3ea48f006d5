"""Pictures of known content: coloured shapes, in two styles, and made worse; plain features."""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch
from PIL import Image, ImageChops, ImageDraw, ImageFilter
from torch import Tensor

from openimagen.data.images import to_tensor
from openimagen.evaluate.features import resized


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


SHAPES: dict[str, Callable[[ImageDraw.ImageDraw, tuple[int, int, int]], None]] = {
    "disc": lambda pen, colour: pen.ellipse((12, 12, 84, 84), colour),
    "bar": lambda pen, colour: pen.rectangle((8, 36, 88, 60), colour),
    "wedge": lambda pen, colour: pen.polygon([(48, 8), (88, 84), (8, 84)], colour),
    "ring": lambda pen, colour: pen.ellipse((12, 12, 84, 84), None, colour, 12),
    "cross": lambda pen, colour: pen.line((12, 12, 84, 84, 48, 48, 84, 12, 12, 84), colour, 14),
}
COLOURS = {"red": (200, 40, 40), "blue": (40, 70, 190)}
THINGS = [f"{colour} {shape}" for colour in COLOURS for shape in SHAPES]


def thing(name: str, style: str = "flat") -> Image.Image:
    """A coloured shape, flat, or outlined on grey and smaller."""
    colour, shape = name.split()
    image = Image.new("RGB", (96, 96), "white" if style == "flat" else (225, 225, 225))
    SHAPES[shape](ImageDraw.Draw(image), COLOURS[colour])
    if style == "flat":
        return image
    edges = image.filter(ImageFilter.FIND_EDGES).convert("L").point(lambda x: 255 - min(4 * x, 255))
    return ImageChops.multiply(image, edges.convert("RGB")).resize((80, 80)).rotate(6, expand=True)


def grainy(image: Image.Image, amount: float) -> Image.Image:
    levels = noise(image.height, image.width, 3).mul(128).add(128).clamp(0, 255).byte()
    return Image.blend(image, Image.fromarray(levels.numpy()), amount)


def icon(shape: str, colour: tuple[int, int, int] = COLOURS["red"]) -> Image.Image:
    """A shape on nothing, cut to what it shows."""
    image = Image.new("RGBA", (96, 96))
    SHAPES[shape](ImageDraw.Draw(image), colour)
    return image.crop(image.getchannel("A").getbbox())


def write_style(folder: Path, style: str, lacking: str = "", names: Sequence[str] = THINGS) -> Path:
    """The things of a style with their captions, the plain name first; one is lacking."""
    folder.mkdir()
    rows = []
    for name in names:
        if name != lacking:
            file = f"{name.replace(' ', '-')}.png"
            thing(name, style).save(folder / file)
            rows.append(json.dumps({"file_name": file, "text": [name, f"a {name}"]}))
    (folder / "metadata.jsonl").write_text("\n".join(rows))
    return folder


class Thumbnails:
    """Features that need no weights: a picture is its 4x4 thumbnail."""

    name, width = "Thumbnails", 48

    def __init__(self) -> None:
        self.sizes: list[tuple[int, int]] = []

    def __call__(self, pictures: Iterable[Image.Image]) -> Tensor:
        rows = []
        for picture in pictures:
            self.sizes.append(picture.size)
            rows.append(resized(to_tensor(picture), 4).flatten() - 250)
        return torch.stack(rows) if rows else torch.empty(0, self.width)
