"""Draw the README's pictures: python docs/gallery.py.

The rule: these prompts, written down before they were drawn, seed 0, nothing picked.
"""

from pathlib import Path

from PIL import Image, ImageDraw

from openimagen import Imagen
from openimagen.trace import Trace

PROMPTS = (
    "red apple", "cat face", "rocket", "cherry blossom", "pizza", "grinning face",
    "snowman", "guitar", "tiger face", "sailboat", "purple heart", "a cherry tree in blossom",
)  # fmt: skip
COLUMNS, TILE, LABEL = 6, 256, 28
IMAGES = Path(__file__).parent / "images"


def gallery(imagen: Imagen) -> Image.Image:
    """All prompts, each above its words."""
    rows = -(-len(PROMPTS) // COLUMNS)
    page = Image.new("RGB", (COLUMNS * TILE, rows * (TILE + LABEL)), "white")
    pen = ImageDraw.Draw(page)
    for number, picture in enumerate(imagen(PROMPTS, seed=0).images):
        y, x = divmod(number, COLUMNS)
        corner = (x * TILE, y * (TILE + LABEL))
        page.paste(picture.resize((TILE, TILE), Image.Resampling.BOX), corner)
        middle = (corner[0] + TILE // 2, corner[1] + TILE + LABEL // 2)
        pen.text(middle, PROMPTS[number], "black", font_size=16, anchor="mm")
    return page


if __name__ == "__main__":
    IMAGES.mkdir(exist_ok=True)
    imagen = Imagen.from_pretrained("emoji")
    gallery(imagen).save(IMAGES / "gallery.png", optimize=True)
    trace = Trace()
    imagen("grinning face", seed=0, on_step=trace)
    trace.strip().save(IMAGES / "trace.png", optimize=True)
