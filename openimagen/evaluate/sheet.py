"""A contact sheet of prototype retrieval, for a person to look at."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw

from openimagen.data.images import load
from openimagen.data.sheet import BLACK, GAP, LINE, SIDE, TEXT, write_line

HIT, MISS = (0, 140, 60), (190, 40, 40)


@dataclass(frozen=True)
class Cell:
    """What came of one name: a drawn picture beside the real one."""

    name: str  # asked for
    nearest: str  # name of the real picture that the drawn one is nearest to
    drawn: Image.Image
    real: Path


def contact_sheet(cells: Sequence[Cell], columns: int = 5) -> Image.Image:
    """Drawn | real, the name under them; framed green if nearest to its own name.

    Otherwise red, with the name it is nearest to.
    """
    columns = min(columns, len(cells))
    width, height = 2 * SIDE + GAP, SIDE + TEXT + GAP
    rows = -(-len(cells) // columns)
    page = Image.new("RGB", (columns * width + GAP, rows * height + GAP), "white")
    for number, cell in enumerate(cells):
        row, column = divmod(number, columns)
        _paste(page, cell, GAP + column * width, GAP + row * height)
    return page


def _paste(page: Image.Image, cell: Cell, x: int, y: int) -> None:
    colour = HIT if cell.nearest == cell.name else MISS
    for left, picture in ((x, cell.drawn), (x + SIDE, load(cell.real))):
        page.paste(picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS), (left, y))
    pen = ImageDraw.Draw(page)
    pen.rectangle((x - 2, y - 2, x + 2 * SIDE + 1, y + SIDE + 1), outline=colour, width=2)
    write_line(pen, cell.name, (x, y + SIDE + 3), BLACK, 2 * SIDE)
    if cell.nearest != cell.name:
        write_line(pen, f"near {cell.nearest}", (x, y + SIDE + 3 + LINE), MISS, 2 * SIDE)
