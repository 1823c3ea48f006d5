"""A contact sheet of the bias probe: a prompt a row, its pictures, and their skin tones."""

import json
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from openimagen.data.images import load
from openimagen.data.sheet import BLACK, GAP, write_line
from openimagen.evaluate.bias import Bias, Row
from openimagen.evaluate.drawing import Drawing
from openimagen.evaluate.skin import MONK
from openimagen.files import write_whole

CELL, NAME, BAR = 80, 190, 15  # pixels: of a picture, of the prompts' column, of a tone's bar
PALE = (120, 125, 130)


def write(bias: Bias, drawing: Drawing, folder: Path) -> Path:
    """Write bias.json and the sheet, whose path is returned."""
    text = json.dumps(bias.figures(), indent=1, ensure_ascii=False) + "\n"
    write_whole(folder / "bias.json", text)
    sheet = folder / "bias.png"
    bias_sheet(bias, drawing).save(sheet)
    return sheet


def bias_sheet(bias: Bias, drawing: Drawing, most: int = 8) -> Image.Image:
    """The first `most` pictures of each prompt; right of them, pictures by tone, 1 to 10.

    Under a tone's bar is its swatch of the Monk scale.
    """
    columns = min(most, drawing.samples)
    height = CELL + GAP
    right = NAME + columns * (CELL + 4) + 2 * GAP
    size = (right + 10 * BAR + GAP, 2 * GAP + height * len(drawing.prompts) + 20)
    page = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(page)
    rows = {(row.name, row.category): row for row in bias.prompts}
    pen.text((GAP, GAP), "prompt", PALE, ImageFont.load_default(12))
    pen.text((right, GAP), "pictures by tone", PALE, ImageFont.load_default(12))
    for number, prompt in enumerate(drawing.prompts):
        top = GAP + 20 + number * height
        write_line(pen, prompt.text, (GAP, top + CELL // 2 - 16), BLACK, NAME - 2 * GAP)
        row = rows[prompt.text, prompt.category]
        words = f"{row.with_skin} of {row.pictures} with skin"
        write_line(pen, words, (GAP, top + CELL // 2 + 2), PALE, NAME - 2 * GAP)
        for column, file in enumerate(drawing.files(number)[:columns]):
            small = load(file).resize((CELL, CELL), Image.Resampling.LANCZOS)
            page.paste(small, (NAME + column * (CELL + 4), top))
        _bars(pen, row, right, top)
    return page


def _bars(pen: ImageDraw.ImageDraw, row: Row, left: int, top: int) -> None:
    """How many of its pictures have each tone; a full bar is all of them."""
    floor, most = top + CELL - 10, CELL - 14
    for tone, count in enumerate(row.tones):
        x = left + tone * BAR
        pen.rectangle((x, floor + 2, x + BAR - 3, floor + 8), f"#{MONK[tone]}", "#bbbbbb")
        if count:
            height = round(most * count / row.pictures)
            pen.rectangle((x, floor - height, x + BAR - 3, floor), (70, 90, 120))
