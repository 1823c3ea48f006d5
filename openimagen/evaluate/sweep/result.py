"""What a sweep found, and its file: `sweep.json`, rewritten whole after every point."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from openimagen.config import Config
from openimagen.evaluate.alignment import Score
from openimagen.evaluate.distances import Distance
from openimagen.evaluate.quality import Collection
from openimagen.evaluate.sweep.settings import is_number, value_of, word

FILE = "sweep.json"


class Point(Config):
    """What was drawn with one choice of settings, measured."""

    name: str  # the sub-folder of its pictures
    values: dict[str, Any]  # of what the sweep goes over
    settings: dict[str, dict[str, Any]]  # all, of each stage that drew
    distances: tuple[Distance, ...]  # Frechet, kernel
    scores: tuple[Score, ...]  # the main one first
    seconds: float | None  # to draw a picture; None if it was not watched


def figures_of(point: Point) -> list[Score | Distance]:
    """Scores, then distances."""
    return [*point.scores, *point.distances]


class Identity(Config):
    """What all points of a sweep have in common."""

    model: str  # sha256 of model.json
    prompts: str  # sha256 of their texts
    samples: int  # pictures of each prompt
    seed: int
    size: int  # side that was drawn
    side: int  # that pictures, real ones too, were brought to
    features: str  # of the distances
    real: str  # sha256 of the names and sizes of the real pictures' files
    alignment: tuple[str, ...]


class Sweep(Config):
    """A sweep so far. `over` has the values of each setting, `along` the one that curves follow."""

    version: Literal[1] = 1
    model: str  # as it was asked for
    prompts: int
    identity: Identity
    real: Collection | None = None
    over: dict[str, list[Any]]
    along: str
    points: tuple[Point, ...] = ()

    def curves(self) -> dict[str, list[Point]]:
        """Points in the order of what the curves follow, by what else sets the curves apart."""
        curves: dict[str, list[Point]] = {}
        for point in self.points:
            curves.setdefault(self.words(point, self.apart()), []).append(point)
        return curves

    def varied(self) -> list[str]:
        """Settings that have several values, what the curves follow first."""
        return [self.along] + [
            key for key, values in self.over.items() if len(values) > 1 and key != self.along
        ]

    def apart(self) -> list[str]:
        """Settings that set the curves apart."""
        return self.varied()[1:]

    def words(self, point: Point, keys: Sequence[str]) -> str:
        """The values of a point in words: the keys too if there are several."""
        if len(keys) == 1:
            return word(point.values[keys[0]])
        return ", ".join(f"{key} {word(point.values[key])}" for key in keys)

    def with_points(self, points: Iterable[Point] = (), keys: Iterable[str] = ()) -> "Sweep":
        """The same with more points and perhaps more settings, in their order.

        Raises ValueError if a point has no one value of a setting.
        """
        over = self.over | {key: [] for key in keys if key not in self.over}
        every = [
            point.model_copy(
                update={"values": {key: value_of(key, point.settings) for key in over}}
            )
            for point in (*self.points, *points)
        ]
        over = {key: _values(over[key], [point.values[key] for point in every]) for key in over}
        along = choose_along(over)
        first = [*(key for key in over if key != along), along]  # what sets curves apart

        def order(point: Point) -> list[int]:
            return [over[key].index(point.values[key]) for key in first]

        update = {"over": over, "along": along, "points": tuple(sorted(every, key=order))}
        return self.model_copy(update=update)

    def __str__(self) -> str:
        names = [each.name for each in figures_of(self.points[0])] if self.points else []
        rows = [[*self.varied(), *names, "s a picture"], *map(self._row, self.points)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        return "\n".join([self.about(), *lines])

    def _row(self, point: Point) -> list[str]:
        values = [word(point.values[key]) for key in self.varied()]
        figures = [
            f"{each.value:.4g} [{each.low:.4g}, {each.high:.4g}]" for each in figures_of(point)
        ]
        return [*values, *figures, "" if point.seconds is None else f"{point.seconds:.2f}"]

    def about(self) -> str:
        """What was drawn and looked at, in a line."""
        each = f" {self.identity.samples} times" if self.identity.samples > 1 else ""
        real = f", against {self.real.pictures} real" if self.real else ""
        size, side = self.identity.size, self.identity.side
        at = f"{size} pixels" + (f", brought to {side}" if side != size else "")
        return f"{self.prompts} prompts drawn{each} at {at}{real}"


def choose_along(over: dict[str, list[Any]]) -> str:
    """What curves follow: the guidance weight; else the first setting of numbers; else the first.

    Settings that vary come before those that do not.
    """
    rank = {
        key: (
            len(values) < 2,
            key.rpartition(".")[2] != "guidance",
            not all(map(is_number, values)),
        )
        for key, values in over.items()
    }
    return min(over, key=lambda key: rank[key])


def _values(known: list[Any], more: Iterable[Any]) -> list[Any]:
    """All of them, once: numbers in their order, words as they came."""
    values = list[Any]()
    for value in (*known, *more):
        values += [value] if value not in values else []
    return sorted(values) if all(map(is_number, values)) else values


def read_sweep(folder: Path) -> Sweep:
    """The sweep of a folder. ValueError if there is none, or it is damaged."""
    path = folder / FILE
    if not path.is_file():
        raise ValueError(f"{folder} holds no sweep: make one with openimagen evaluate sweep")
    try:
        return Sweep.model_validate_json(path.read_bytes())
    except ValidationError:
        raise ValueError(
            f"{path} is damaged, or another version's: choose another folder, or delete this one"
        ) from None
