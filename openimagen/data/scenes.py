"""Scenes of known content, composed from icons: so many of this, in that colour, left of another.

A scene says what is in it as a row of GenEval's prompt file does (Ghosh et al., 2023). Composing is
a pure function of its arguments and takes a few milliseconds at 64 pixels.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from openimagen.data.colours import COLOURS, paint
from openimagen.data.decode import FORMATS
from openimagen.data.folder import read_folder

Colour = tuple[int, int, int]
Icons = Mapping[str, Image.Image]  # name -> RGBA, no larger than what it shows
INSIDE = "inside"  # a relation that GenEval does not ask for
SIZES = {"small": 0.45, "big": 1.0}  # of the room that a thing has
OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
BACKGROUNDS = (
    *((255, 255, 255), (255, 243, 214), (222, 238, 255), (225, 245, 228), (252, 228, 236)),
    *((236, 232, 250), (200, 206, 214), (150, 176, 205), (168, 196, 160), (70, 78, 96)),
)
WHITE_ODDS = 0.5  # of a white background, where the things show on it
MARGIN = 0.035  # of the side: what a thing keeps off the edges of its cell
FAINT, SEEN = 60, 0.85  # levels that tell a pixel from the background; share that must be told


@dataclass(frozen=True)
class Thing:
    """What must be in a picture, or must not be.

    `position`: how it lies to another thing of its scene, and the number of that thing. `size` is
    one of SIZES.
    """

    name: str
    count: int = 1
    colour: str | None = None
    position: tuple[str, int] | None = None
    size: str | None = None

    def row(self) -> dict[str, Any]:
        """As in GenEval's file, which knows no sizes."""
        row: dict[str, Any] = {"class": self.name, "count": self.count}
        if self.colour:
            row["color"] = self.colour
        return row | ({"position": list(self.position)} if self.position else {})

    @classmethod
    def of_row(cls, row: Any, others: int) -> "Thing":  # noqa: ANN401  (anybody's JSON)
        """From GenEval's file; `others` things come before it. ValueError for what is none."""
        try:
            name, count, colour = row["class"], row["count"], row.get("color")
            position = tuple(row["position"]) if row.get("position") is not None else None
        except (KeyError, TypeError, AttributeError):
            raise ValueError(f"{row} is no thing: give it class and count") from None
        if not isinstance(name, str) or type(count) is not int or count < 1:
            raise ValueError(f"{row} is no thing: class is a name, count 1 or more")
        if colour is not None and colour not in COLOURS:
            raise ValueError(f"no colour {colour!r}: choose from {', '.join(COLOURS)}")
        if position and (
            len(position) != 2 or position[0] not in OPPOSITE or position[1] not in range(others)
        ):
            raise ValueError(
                f"no position {list(position)}: give one of {', '.join(OPPOSITE)}, and the number "
                "of a thing before it"
            )
        return cls(name, count, colour, position)


@dataclass(frozen=True)
class Scene:
    """A caption, and what must be in a picture of it. `tag` is GenEval's category."""

    caption: str
    tag: str
    include: tuple[Thing, ...]
    exclude: tuple[Thing, ...] = ()  # no such many of it
    ground: tuple[Colour, ...] = ()  # one colour, or two from top to bottom; none: any will do

    def row(self) -> dict[str, Any]:
        """As in GenEval's file."""
        row: dict[str, Any] = {"tag": self.tag, "include": [each.row() for each in self.include]}
        if self.exclude:
            row["exclude"] = [each.row() for each in self.exclude]
        return row | {"prompt": self.caption}

    @classmethod
    def of_row(cls, row: Mapping[str, Any], caption: str = "") -> "Scene":
        """From GenEval's file. ValueError, naming the caption, for what has no such content."""
        caption = caption or str(row.get("prompt", ""))
        given = [row.get("include"), row.get("exclude") or []]
        if not all(isinstance(each, list) for each in given) or not given[0]:
            raise ValueError(f'"{caption}" does not say what to include: give it as GenEval does')
        try:
            include, exclude = (
                tuple(Thing.of_row(each, number) for number, each in enumerate(part or []))
                for part in given
            )
        except ValueError as error:
            raise ValueError(f'"{caption}": {error}') from None
        return cls(caption, str(row.get("tag", "")), include, exclude)


# --- icons ----------------------------------------------------------------------------------------


def read_icons(folder: Path, names: Mapping[str, str] | None = None, side: int = 128) -> Icons:
    """The icons of a captioned folder: name -> RGBA, cut to what it shows, at most `side` large.

    `names`: what to call them -> their first caption; those that are not there are left out. None
    takes them all by their first captions. ValueError if there is none, or one has no alpha.
    """
    files = {pair.captions[0]: pair.path for pair in reversed(read_folder(folder).pairs)}
    wanted = {name: name for name in files} if names is None else names
    found = {name: files[own] for name, own in wanted.items() if own in files}
    if not found:
        some = ", ".join(list(wanted)[:3])
        raise ValueError(
            f"{folder} has no icon of {some}...: draw icons with `openimagen data icons`"
        )
    return {name: read_icon(path, side) for name, path in found.items()}


def read_icon(path: Path, side: int) -> Image.Image:
    """What a picture shows, RGBA, at most `side` large. ValueError if it has no alpha."""
    try:
        with Image.open(path, formats=FORMATS) as file:
            if not file.has_transparency_data:
                raise ValueError(f"{path} has no alpha: give icons on nothing, as RGBA PNG")
            icon = file.convert("RGBA")
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror or error}") from error
    try:
        icon = trimmed(icon)
    except ValueError as error:
        raise ValueError(f"{path} {error}") from None
    icon.thumbnail((side, side), Image.Resampling.LANCZOS)
    return icon


def trimmed(icon: Image.Image) -> Image.Image:
    """What an RGBA picture shows. ValueError if that is nothing."""
    box = icon.getchannel("A").point(lambda level: 255 * (level > 16)).getbbox()
    if box is None:
        raise ValueError("shows nothing: every pixel is transparent")
    return icon.crop(box)


# --- composing ------------------------------------------------------------------------------------


def compose(scene: Scene, icons: Icons, side: int, seed: int = 0) -> Image.Image:
    """A picture of a scene, `side` x `side`: its things, apart unless one is inside, on its ground.

    ValueError for a thing without an icon, or positions of more than two things.
    """
    rng = np.random.default_rng(seed)
    if lacking := [thing.name for thing in scene.include if thing.name not in icons]:
        raise ValueError(f'"{scene.caption}": there is no icon of {lacking[0]}')
    cells = _cells(scene, rng)
    placed = list[tuple[Image.Image, tuple[int, int]]]()
    for thing in scene.include:
        fill = rng.uniform(0.8, 1.0) * SIZES.get(thing.size or "", 1.0)
        for _ in range(thing.count):
            placed.append(_placed(icons[thing.name], cells.pop(), side, fill, rng))
        if thing.colour:
            placed[-thing.count :] = [
                (paint(icon, thing.colour), place) for icon, place in placed[-thing.count :]
            ]
    page = ground(scene.ground or (_background([icon for icon, _ in placed], rng),), side)
    for icon, place in placed:
        page.paste(icon, place, icon)
    return page


def ground(colours: Sequence[Colour], side: int) -> Image.Image:
    """A page of one colour, or of two that run into each other from top to bottom."""
    if len(colours) == 1:
        return Image.new("RGB", (side, side), colours[0])
    ramp = np.linspace(0, 1, side)[:, None]
    rows = (1 - ramp) * np.array(colours[0]) + ramp * np.array(colours[1])  # [h 3]
    levels = np.broadcast_to(rows.round().astype(np.uint8)[:, None], (side, side, 3))
    return Image.fromarray(np.ascontiguousarray(levels))


Cell = tuple[float, float, float, float]  # left, top, right, bottom, of a side of 1


def _cells(scene: Scene, rng: np.random.Generator) -> list[Cell]:
    """A place for each thing, the last one first."""
    count = sum(thing.count for thing in scene.include)
    positions = [thing.position for thing in scene.include if thing.position]
    if not positions:
        across, down = (1, 2) if count == 2 and rng.random() < 0.5 else _grid(count)
        chosen = rng.permutation(across * down)[:count]
        return [_cell(int(number), across, down) for number in chosen]
    if count != 2 or len(positions) != 1:
        raise ValueError(f'"{scene.caption}": positions are composed of two things')
    relation = positions[0][0]
    if relation == INSIDE:
        return [(0.3, 0.3, 0.7, 0.7), (0.0, 0.0, 1.0, 1.0)]
    across, down = (2, 1) if relation in ("left of", "right of") else (1, 2)
    first = _cell(int(relation in ("left of", "above")), across, down)
    second = _cell(int(relation in ("right of", "below")), across, down)
    return [_mid(cell, across) for cell in (second, first)]


def _grid(count: int) -> tuple[int, int]:
    across = math.ceil(math.sqrt(count))
    return across, math.ceil(count / across)


def _mid(cell: Cell, across: int) -> Cell:
    """Of one of two cells side by side, or one above the other, what lies by the middle."""
    left, top, right, bottom = cell
    return (left, 0.2, right, 0.8) if across == 2 else (0.2, top, 0.8, bottom)


def _cell(number: int, across: int, down: int) -> Cell:
    """The cells fill the page, row by row."""
    row, column = divmod(number, across)
    return column / across, row / down, (column + 1) / across, (row + 1) / down


def _placed(
    icon: Image.Image, cell: Cell, side: int, fill: float, rng: np.random.Generator
) -> tuple[Image.Image, tuple[int, int]]:
    """An icon as large as `fill` of the smaller edge of its cell, anywhere in it."""
    left, top, right, bottom = cell
    room = min(right - left, bottom - top) - 2 * MARGIN
    scale = room * fill * side / max(icon.size)
    size = (max(1, round(icon.width * scale)), max(1, round(icon.height * scale)))
    x = rng.uniform(0, max((right - left - 2 * MARGIN) * side - size[0], 0.0))
    y = rng.uniform(0, max((bottom - top - 2 * MARGIN) * side - size[1], 0.0))
    place = (round((left + MARGIN) * side + x), round((top + MARGIN) * side + y))
    return icon.resize(size, Image.Resampling.LANCZOS), place


def _background(icons: Sequence[Image.Image], rng: np.random.Generator) -> Colour:
    """White or a colour: one on which the icons show, else the one on which they show best."""
    first = [0] if rng.random() < WHITE_ODDS else []
    order = [*first, *rng.permutation(range(1, len(BACKGROUNDS))).tolist(), 0]
    shown = {number: _shown(icons, BACKGROUNDS[number]) for number in order}
    best = next((number for number in order if shown[number] >= SEEN), None)
    return BACKGROUNDS[max(order, key=shown.__getitem__) if best is None else best]


def _shown(icons: Iterable[Image.Image], background: Colour) -> float:
    """The share of pixels that differ from a background, of the icon of which fewest do."""
    shares = []
    for icon in icons:
        levels = np.asarray(icon).astype(np.int16)
        away = np.abs(levels[..., :3] - np.array(background, np.int16)).max(2)
        there = levels[..., 3] > 127
        shares.append(float((away[there] > FAINT).mean()) if there.any() else 1.0)
    return min(shares)
