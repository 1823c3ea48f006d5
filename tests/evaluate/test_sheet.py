"""Every cell is where it belongs, and its frame says what came of it."""

from pathlib import Path

import pytest
from PIL import Image

from openimagen.evaluate.sheet import HIT, MISS, SIDE, Cell, contact_sheet


@pytest.fixture
def real(tmp_path: Path) -> Path:
    Image.new("RGB", (300, 300), (0, 0, 255)).save(tmp_path / "real.png")
    return tmp_path / "real.png"


def cell(real: Path | None, fault: str = "") -> Cell:
    return Cell("a", fault, Image.new("RGB", (64, 64), (255, 0, 0)), real)


def test_drawn_left_real_right_hits_green_misses_red(real: Path) -> None:
    page = contact_sheet([cell(real), cell(real, "near b"), cell(real)], columns=2)
    left, top = 10, 10
    across, down = 2 * SIDE + 10, SIDE + 34 + 10
    for number, frame in enumerate([HIT, MISS, HIT]):
        x, y = left + number % 2 * across, top + number // 2 * down
        assert page.getpixel((x + SIDE // 2, y + SIDE // 2)) == (255, 0, 0)
        assert page.getpixel((x + SIDE + SIDE // 2, y + SIDE // 2)) == (0, 0, 255)
        assert page.getpixel((x - 1, y + 20)) == frame


def test_the_page_is_as_wide_as_it_must_be(real: Path) -> None:
    one, five = contact_sheet([cell(real)]), contact_sheet([cell(real)] * 5)
    assert five.width > 4 * one.width and five.height == one.height
    assert contact_sheet([cell(real)] * 6).size == (five.width, 2 * one.height - 10)


def test_a_long_name_keeps_to_its_cell(real: Path) -> None:
    long = Cell("x " * 200, "y " * 200, Image.new("RGB", (64, 64)), real)
    page = contact_sheet([long, cell(real)], columns=2)
    start = 10 + 2 * SIDE + 3  # between the cells, in the lines of text
    gap = page.crop((start, SIDE + 13, start + 6, SIDE + 44))
    assert gap.getextrema() == ((255, 255),) * 3


def test_without_real_pictures_the_cells_are_half_as_wide() -> None:
    page = contact_sheet([cell(None), cell(None, "found 2")])
    assert page.size == (2 * (SIDE + 10) + 10, SIDE + 34 + 20)
    assert [page.getpixel((x, 30)) for x in (9, 10 + SIDE + 10 - 1)] == [HIT, MISS]
    words = page.crop((10 + SIDE + 10, SIDE + 28, page.width - 10, SIDE + 44))
    assert words.getextrema() != ((255, 255),) * 3
