"""What a report says, as `report.json` keeps it: every page and table is made from that alone."""

from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from openimagen.config import Config
from openimagen.evaluate.alignment import Score
from openimagen.evaluate.copying import Copying
from openimagen.evaluate.distances import Distance
from openimagen.evaluate.speed import Speed
from openimagen.files import write_whole

FILE = "report.json"


class Figure(Config):
    """A row of the table: what the model gets, beside what real pictures and chance get."""

    name: str  # with its features, as in "R@1 (EffLite2)"
    better: Literal["higher", "lower", "neither"]
    pictures: int
    value: float
    low: float  # the 95% interval
    high: float
    real: float | None = None  # of real pictures
    chance: float | None = None


class StageFacts(Config):
    """A stage, and how it draws here."""

    name: str
    side: int
    parameters: int
    sha256: str = ""  # of its weights' file
    sampling: dict[str, Any]


class Asked(Config):
    """What was measured, and on what."""

    model: str
    sha256: str  # of model.json as it was then
    licence: str
    version: str  # of openimagen
    stages: tuple[StageFacts, ...]
    data: str | None  # pictures it was trained on
    unseen: str | None  # real pictures that it was not
    names: int  # prompts drawn for the figures
    given: bool = False  # the prompts; else they are captions of `data`, by lot
    seed: int  # that chose them, and of the first picture
    size: int  # side that they were drawn at
    side: int  # that all pictures were brought to before they were looked at
    command: str
    hourly: float | None = None  # price of the machine, in whatever money


class Neighbour(Config):
    """A drawn picture and the training picture nearest to it."""

    text: str
    seed: int
    training: str  # its file
    distance: float  # 1 - cosine of their features
    is_copy: bool


class Report(Config):
    """All of it."""

    format: Literal[1] = 1
    asked: Asked
    figures: tuple[Figure, ...] = ()
    copying: Copying | None = None
    neighbours: tuple[Neighbour, ...] = ()
    sweep: dict[str, Any] | None = None  # a sweep.json
    speed: Speed | None = None
    grid: tuple[tuple[str, int], ...] = ()  # text and seed of each picture
    left_out: tuple[tuple[str, str], ...] = ()  # what was not measured, and what to give

    def write(self, folder: Path) -> None:
        """Write report.json, whole."""
        write_whole(folder / FILE, self.model_dump_json(indent=1) + "\n")


def read_report(path: Path) -> Report:
    """A report from its file, or its folder. ValueError if it is not there, or damaged."""
    path = path / FILE if path.is_dir() else path
    if not path.is_file():
        raise ValueError(f"{path} does not exist: make it with openimagen evaluate report")
    try:
        return Report.model_validate_json(path.read_bytes())
    except ValidationError:
        raise ValueError(f"{path} is damaged, or of another version: make it anew") from None


def of_score(score: Score) -> Figure:
    """An alignment score as a row."""
    return Figure(
        name=score.name,
        better="higher",
        pictures=score.prompts,
        value=score.value,
        low=score.low,
        high=score.high,
        real=score.ceiling,
        chance=score.chance,
    )


def of_distance(distance: Distance, unseen: Distance | None) -> Figure:
    """A distance as a row, beside that of unseen real pictures from the same real ones."""
    is_share = distance.name.startswith(("Precision", "Recall", "Density", "Coverage"))
    return Figure(
        name=distance.name,
        better="higher" if is_share else "lower",
        pictures=distance.n_fake,
        value=distance.value,
        low=distance.low,
        high=distance.high,
        real=unseen.value if unseen else None,
    )


def of_copying(drawn: Copying, unseen: Copying | None, of: str = "") -> Figure:
    """The share of near-copies as a row, `of` something."""
    among = of and f" among {of}"
    return Figure(
        name=f"near-copies of training pictures{among} ({drawn.features})",
        better="neither",
        pictures=drawn.pictures,
        value=drawn.share,
        low=drawn.low,
        high=drawn.high,
        real=unseen.share if unseen else None,
    )
