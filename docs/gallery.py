"""Draw the README's pictures: python docs/gallery.py [MODEL].

The rule: these prompts, which were written down before they were drawn, seed 0, nothing picked.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from openimagen import Imagen
from openimagen.data.icons import CORPUS, STYLES
from openimagen.trace import Trace

PROMPTS = (
    "red apple", "cat face", "rocket", "cherry blossom", "pizza", "grinning face",
    "snowman", "guitar", "tiger face", "sailboat", "purple heart", "a cherry tree in blossom",
    "three red apples", "a purple banana", "a cat to the left of a rocket", "two bananas",
    "a star on a blue background", "a blue fish above a red car",
)  # fmt: skip
STYLED = ("a rocket", "an elephant", "a strawberry")  # each in all styles
COLUMNS, TILE, SMALL, LABEL, MARGIN = 6, 256, 152, 28, 120
IMAGES = Path(__file__).parent / "images"


def gallery(imagen: Imagen) -> Image.Image:
    """All prompts, each above its words."""
    rows = -(-len(PROMPTS) // COLUMNS)
    page = Image.new("RGB", (COLUMNS * TILE, rows * (TILE + LABEL)), "white")
    pen = ImageDraw.Draw(page)
    for number, picture in enumerate(drawn(imagen, PROMPTS)):
        y, x = divmod(number, COLUMNS)
        corner = (x * TILE, y * (TILE + LABEL))
        page.paste(picture, corner)
        middle = (corner[0] + TILE // 2, corner[1] + TILE + LABEL // 2)
        pen.text(middle, PROMPTS[number], "black", font_size=16, anchor="mm")
    return page


def styles(imagen: Imagen) -> Image.Image:
    """A row for each prompt, a column for each style."""
    names = [STYLES[style].words for style in CORPUS]
    page = Image.new("RGB", (MARGIN + len(names) * SMALL, LABEL + len(STYLED) * SMALL), "white")
    pen = ImageDraw.Draw(page)
    for row, prompt in enumerate(STYLED):
        y = LABEL + row * SMALL
        pen.text((MARGIN // 2, y + SMALL // 2), prompt, "black", font_size=16, anchor="mm")
        prompts = [f"{prompt}, in {words}" for words in names]
        for column, picture in enumerate(drawn(imagen, prompts, SMALL)):
            page.paste(picture, (MARGIN + column * SMALL, y))
    for column, words in enumerate(names):
        middle = MARGIN + column * SMALL + SMALL // 2, LABEL // 2
        pen.text(middle, words, "black", font_size=14, anchor="mm")
    return page


def drawn(imagen: Imagen, prompts: Sequence[str], side: int = TILE) -> list[Image.Image]:
    """The pictures of the last stage, as tiles."""
    pictures = imagen(list(prompts), seed=0).images
    return [picture.resize((side, side), Image.Resampling.BOX) for picture in pictures]


if __name__ == "__main__":
    IMAGES.mkdir(exist_ok=True)
    imagen = Imagen.from_pretrained(sys.argv[1] if len(sys.argv) > 1 else "emoji")
    gallery(imagen).save(IMAGES / "gallery.png", optimize=True)
    styles(imagen).save(IMAGES / "styles.png", optimize=True)
    trace = Trace()
    imagen("grinning face", seed=0, on_step=trace)
    trace.strip().save(IMAGES / "trace.png", optimize=True)
