"""The paper's bar chart of a study: what share of raters prefers whom, by category."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from openimagen.evaluate.study.design import QUESTIONS
from openimagen.evaluate.study.results import INDIFFERENT, OVERALL, Results, Row

SCALE = 2  # drawn twice as large, then shrunk: smooth edges
BAR, GAP, BETWEEN = 22, 30, 3  # pixels: a bar, between groups, between bars
PLOT, LEFT, RIGHT = 240, 56, 24  # height of a plot; margins
TOP, BOTTOM = 64, 58  # of a panel: its title; the categories' names
LEGEND, MIN_WIDTH = 44, 560
INK, PALE, LINE, WASH = (33, 37, 41), (108, 117, 125), (222, 226, 230), (246, 247, 249)
COLOURS = ((38, 92, 170), (190, 196, 204), (228, 122, 40))  # the first, indifferent, the second
TITLES = {
    "quality": "Quality",
    "alignment": "Alignment",
    "realism": "Realism",
    "caption": "Caption",
}

Number = int | float
Box = tuple[Number, Number, Number, Number]


def draw_chart(results: Results) -> Image.Image:
    """A panel for each question, a group of bars for each category, 95% intervals as whiskers."""
    panels = [
        [row for row in results.rows if row.question == question]
        for question in dict.fromkeys(row.question for row in results.rows)
    ]
    width = max(MIN_WIDTH, *(LEFT + RIGHT + GAP + sum(map(_group_width, rows)) for rows in panels))
    height = LEGEND + len(panels) * (TOP + PLOT + BOTTOM) + GAP // 2
    page = Image.new("RGB", (width * SCALE, height * SCALE), "white")
    pen = _Pen(page)
    _legend(pen, results.models)
    for number, rows in enumerate(panels):
        _panel(pen, rows, results.models, LEGEND + number * (TOP + PLOT + BOTTOM), width)
    return page.reduce(SCALE)


def save_chart(results: Results, path: Path) -> None:
    """Write it as PNG. OSError if the disk refuses."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draw_chart(results).save(path, format="PNG")


class _Pen:
    """Draws in unscaled pixels."""

    def __init__(self, page: Image.Image) -> None:
        self._pen = ImageDraw.Draw(page)

    def box(self, box: Box, colour: tuple[int, int, int]) -> None:
        left, top, right, bottom = (round(edge * SCALE) for edge in box)
        if right > left and bottom > top:
            self._pen.rectangle((left, top, right - 1, bottom - 1), fill=colour)

    def write(
        self,
        place: tuple[Number, Number],
        text: str,
        *,
        size: int = 12,
        colour: tuple[int, int, int] = INK,
        anchor: str = "la",
    ) -> None:
        font = ImageFont.load_default(size * SCALE)
        self._pen.text((place[0] * SCALE, place[1] * SCALE), text, colour, font, anchor=anchor)

    def length(self, text: str, size: int = 12) -> float:
        return self._pen.textlength(text, ImageFont.load_default(size * SCALE)) / SCALE

    def lines(self, text: str, width: Number) -> list[str]:
        """Two lines at most, each no wider than `width`; what is too long ends in dots."""
        lines = [""]
        for word in text.split():
            longer = f"{lines[-1]} {word}".strip()
            if self.length(longer, 11) <= width or not lines[-1]:
                lines[-1] = longer
            else:
                lines.append(word)
        lines = [*lines[:1], " ".join(lines[1:])] if len(lines) > 1 else lines
        return [self._cut(line, width) for line in lines]

    def _cut(self, line: str, width: Number) -> str:
        while self.length(line, 11) > width:
            line = f"{line[:-2].rstrip()}…"
        return line


def _group_width(row: Row) -> int:
    return max(len(row.shares) * (BAR + BETWEEN), 62) + GAP


def _legend(pen: _Pen, models: tuple[str, str]) -> None:
    x: Number = LEFT
    names = (models[0], INDIFFERENT, models[1])
    for name, colour in zip(names, COLOURS, strict=True):
        words = name if len(name) <= 28 else f"{name[:27]}…"
        pen.box((x, 20, x + 12, 32), colour)
        pen.write((x + 18, 26), words, anchor="lm")
        x += 18 + pen.length(words) + 24


def _panel(
    pen: _Pen, rows: Sequence[Row], models: tuple[str, str], top: Number, width: int
) -> None:
    question = rows[0].question
    pen.write((LEFT, top + 12), TITLES[question], size=16)
    pen.write((LEFT, top + 34), QUESTIONS[question].text, colour=PALE)
    floor = top + TOP + PLOT
    first = _group_width(rows[0])
    if rows[0].category == OVERALL:
        pen.box((LEFT, top + TOP, LEFT + first + GAP / 2, floor), WASH)
    for percent in range(0, 101, 25):
        y = floor - PLOT * percent / 100
        pen.box((LEFT, y, width - RIGHT, y + (1.5 if percent in (0, 50) else 0.5)), LINE)
        pen.write((LEFT - 8, y), f"{percent}%", size=11, colour=PALE, anchor="rm")
    x: Number = LEFT + GAP / 2
    for row in rows:
        _bars(pen, row, models, x, floor)
        x += _group_width(row)


def _bars(pen: _Pen, row: Row, models: tuple[str, str], x: Number, floor: Number) -> None:
    room = _group_width(row) - GAP
    left = x + (room - len(row.shares) * (BAR + BETWEEN) + BETWEEN) / 2
    columns = (models[0], INDIFFERENT, models[1])
    for name, share in row.shares.items():
        colour = COLOURS[columns.index(name)]
        pen.box((left, floor - PLOT * share.value, left + BAR, floor), colour)
        middle, low, high = left + BAR / 2, floor - PLOT * share.low, floor - PLOT * share.high
        pen.box((middle - 0.75, high, middle + 0.75, low), INK)
        for end in (low, high):
            pen.box((middle - 4, end - 0.75, middle + 4, end + 0.75), INK)
        left += BAR + BETWEEN
    for number, line in enumerate(pen.lines(row.category, room + GAP - 6)):
        place = (x + room / 2, floor + 8 + 14 * number)
        pen.write(place, line, size=11, anchor="ma")
    pen.write((x + room / 2, floor + 38), f"{row.votes} votes", size=9, colour=PALE, anchor="ma")
