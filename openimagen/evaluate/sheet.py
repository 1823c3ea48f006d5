"""Contact sheets of what came of prompts: green for right, red for wrong."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw

from openimagen.data.images import load
from openimagen.data.sheet import BLACK, GAP, LINE, SIDE, TEXT, write_line

HIT, MISS = (0, 140, 60), (190, 40, 40)


@dataclass(frozen=True)
class Cell:
    """What came of one prompt: the drawn picture, and what is wrong with it."""

    text: str  # asked for
    fault: str  # empty if it is right
    drawn: Image.Image
    real: Path | None = None  # to show beside it


def contact_sheet(cells: Sequence[Cell], columns: int = 5) -> Image.Image:
    """Drawn | real, the prompt under them; framed green if right, else red, with the fault."""
    wide = any(cell.real for cell in cells) + 1
    columns = min(columns if wide == 2 else 2 * columns, len(cells))
    width, height = wide * SIDE + GAP, SIDE + TEXT + GAP
    rows = -(-len(cells) // columns)
    page = Image.new("RGB", (columns * width + GAP, rows * height + GAP), "white")
    for number, cell in enumerate(cells):
        row, column = divmod(number, columns)
        _paste(page, cell, GAP + column * width, GAP + row * height, wide * SIDE)
    return page


def _paste(page: Image.Image, cell: Cell, x: int, y: int, width: int) -> None:
    colour = MISS if cell.fault else HIT
    pictures = [cell.drawn, load(cell.real)] if cell.real else [cell.drawn]
    for number, picture in enumerate(pictures):
        small = picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
        page.paste(small, (x + number * SIDE, y))
    pen = ImageDraw.Draw(page)
    pen.rectangle((x - 2, y - 2, x + width + 1, y + SIDE + 1), outline=colour, width=2)
    write_line(pen, cell.text, (x, y + SIDE + 3), BLACK, width)
    if cell.fault:
        write_line(pen, cell.fault, (x, y + SIDE + 3 + LINE), MISS, width)
