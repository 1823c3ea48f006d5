"""Measure a model from all sides and report it: a page, and the figures as JSON."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

from openimagen.data.folder import read_folder
from openimagen.data.images import load
from openimagen.evaluate.copying import Copying, copying, nearest
from openimagen.evaluate.distances import Distance, distances, pictures_needed
from openimagen.evaluate.drawing import Drawing, Model
from openimagen.evaluate.exams import Exam, load_exams, mark
from openimagen.evaluate.features import EffLite2, Features
from openimagen.evaluate.files import write_whole
from openimagen.evaluate.prompts import Prompt
from openimagen.evaluate.quality import Reader, at_side
from openimagen.evaluate.report.page import SIDE, Pictures, page
from openimagen.evaluate.report.result import (
    Asked,
    Figure,
    Neighbour,
    Report,
    StageFacts,
    of_copying,
    of_distance,
    of_score,
)
from openimagen.evaluate.sheet import contact_sheet
from openimagen.evaluate.speed import speed
from openimagen.evaluate.sweep.chart import as_svg, chart
from openimagen.evaluate.sweep.plan import Plan
from openimagen.evaluate.sweep.run import sweep
from openimagen.evaluate.sweep.settings import read_settings
from openimagen.progress import Watch, unwatched

DISTANCES = ("frechet", "kernel", "precision", "recall", "density", "coverage")
GRID, NEIGHBOURS = 24, 12  # pictures shown
GUIDANCE = (1.0, 1.5, 2.0, 3.0, 5.0)  # weights that the sweep goes over
BUILT_IN = (
    *("a red apple", "a cat", "a house by a lake", "two birds", "a blue car", "a smiling face"),
    *("a tree in autumn", "a cup of coffee", "a rocket above a planet", "a green square"),
    *("a portrait of a scientist", "a bowl of soup"),
)


@dataclass(frozen=True)
class Request:
    """What to measure a model on.

    `data`: captioned pictures that it was trained on. `unseen`: others of the same names, which it
    was not. `scenes`: icons with alpha, to ask for scenes of. `clip`: a CLIP's folder or hub id.
    `prompts`: what to draw, instead of `names` captions of `data`. `size`: side that the measured
    pictures are drawn at, the first stage's if None; `side`: that all are looked at with. `cut`:
    draw prompts that are too long for the model, too.
    """

    model: Model
    out: Path
    data: Path | None = None
    unseen: Path | None = None
    scenes: Path | None = None
    clip: str | None = None
    prompts: Sequence[Prompt] | None = None
    names: int = 200
    seed: int = 0
    size: int | None = None
    side: int | None = None
    cut: bool = False
    guidance: Sequence[float] = GUIDANCE
    timed: bool = True
    hourly: float | None = None  # price of this machine
    version: str = ""  # of openimagen
    command: str = ""  # what was typed

    @property
    def drawn(self) -> int:
        """Side of the pictures that are measured."""
        return self.size or self.model.cascade.config.stages[0].side

    @property
    def looked_at(self) -> int:
        """Side that pictures are brought to."""
        return self.side or self.drawn

    def drawing(self, name: str, prompts: Sequence[Prompt], size: int | None) -> Drawing:
        """Pictures of prompts, one each, kept in the folder."""
        folder = self.out / "pictures" / name
        return Drawing(self.model, prompts, folder, seed=self.seed, size=size)


def report(asked: Request, watch: Watch = unwatched) -> tuple[Report, Path]:
    """Measure all that can be measured with what was given; write OUT/report.html and .json.

    Pictures and the sweep stay in OUT, so that a killed report goes on. Returns the report and the
    path of its page. Raises ValueError for what does not fit, before anything is drawn.
    """
    asked.model.cascade.stages_between(0, asked.drawn)
    exams = _exams(asked)
    _check(asked, exams)
    network = EffLite2(asked.model.cascade.device)
    shown, figures = Pictures(), list[Figure]()
    for exam in exams:
        figures += _score(asked, exam, shown, watch)
    near: Near | None = None
    if exams and asked.data:
        looked = _look(asked, asked.data, exams[0], network, watch)
        figures += _distances(looked, network)
        near = _near(asked, asked.data, looked, network, shown, watch)
        figures.append(of_copying(near.drawn, near.unseen))
    found = Report(
        asked=_facts(asked, exams),
        figures=tuple(figures),
        copying=near.drawn if near else None,
        neighbours=near.neighbours if near else (),
        sweep=_sweep(asked, exams, network, shown, watch),
        grid=_grid(asked, exams, shown, watch),
        speed=speed(asked.model, watch=watch) if asked.timed else None,
        left_out=tuple(_left_out(asked)),
    )
    found.write(asked.out)
    path = asked.out / "report.html"
    write_whole(path, page(found, shown))
    return found, path


# --- alignment ------------------------------------------------------------------------------------


def _exams(asked: Request) -> list[Exam]:
    """The measures of alignment that can be had; retrieval comes first."""
    if not (asked.data or asked.scenes or asked.clip):
        return []
    return load_exams(
        prototypes=asked.data,
        scenes=asked.scenes,
        clip=asked.clip,
        ceiling=asked.unseen,
        prompts=None if asked.prompts is None else list(asked.prompts),
        names=asked.names,
        seed=asked.seed,
        side=asked.looked_at,
        device=asked.model.cascade.device,
    )


def _check(asked: Request, exams: Sequence[Exam]) -> None:
    """ValueError if any of the pictures to be compared are too few for the distances."""
    if not (exams and asked.data):
        return
    needed, prompts = max(map(pictures_needed, DISTANCES)), exams[0].prompts
    least = f"the distances need at least {needed}"
    if len(prompts) < needed:
        raise ValueError(f"{len(prompts)} prompts: {least}: give more, as --names or --prompts")
    if (count := len(read_folder(asked.data).pairs)) < needed:
        raise ValueError(f"{asked.data} has {count} pictures: {least}: give more as --data")
    if asked.unseen and (count := len(_same(asked.unseen, prompts))) < needed:
        raise ValueError(
            f"{asked.unseen} has {count} pictures of the prompts: {least}: give more, "
            "or leave --unseen out"
        )


def _same(unseen: Path, prompts: Sequence[Prompt]) -> list[Path]:
    """The pictures of a folder that are called as one of the prompts."""
    texts = {prompt.text for prompt in prompts}
    return [pair.path for pair in read_folder(unseen).pairs if pair.captions[0] in texts]


def _score(asked: Request, exam: Exam, shown: Pictures, watch: Watch) -> list[Figure]:
    drawing = asked.drawing(exam.name, exam.prompts, asked.drawn)
    with watch(f"drawing for {exam.name}", "pictures") as advance:
        drawing.draw(advance, cut=asked.cut)
    marks = mark(exam, drawing.pictures(), watch)
    if marks.cells:
        shown.sheets.append((f"All pictures of {exam.name}", contact_sheet(marks.cells)))
    return [of_score(score) for score in marks.scores]


# --- distances and copying ------------------------------------------------------------------------


@dataclass(frozen=True)
class Looked:
    """Features of the drawn pictures, of those trained on, and of unseen ones of the same names."""

    drawing: Drawing
    drawn: Float[Tensor, "n d"]
    known: Float[Tensor, "m d"]
    unseen: Float[Tensor, "l d"] | None


def _look(asked: Request, data: Path, exam: Exam, network: Features, watch: Watch) -> Looked:
    drawing, side = asked.drawing(exam.name, exam.prompts, asked.drawn), asked.looked_at
    drawn = network(at_side(picture, side) for picture in drawing.pictures())
    with watch(f"looking at {data.name}", "pictures") as advance:
        known = network(Reader(data, side).pictures(advance))
    unseen = None
    if asked.unseen:
        same = _same(asked.unseen, exam.prompts)
        unseen = network(at_side(load(path), side) for path in same)
    return Looked(drawing, drawn, known, unseen)


def _distances(looked: Looked, network: Features) -> Iterator[Figure]:
    found = distances(looked.known, looked.drawn, network.name, DISTANCES)
    beside: Iterator[Distance | None] = repeat(None)
    if looked.unseen is not None:
        with _once():
            beside = iter(distances(looked.known, looked.unseen, network.name, DISTANCES))
    return (of_distance(each, other) for each, other in zip(found, beside, strict=False))


@contextmanager
def _once() -> Iterator[None]:
    """Without the warning that pictures are few: it was given for as many."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*pictures are few")
        yield


@dataclass(frozen=True)
class Near:
    """How near the drawn and the unseen pictures come to those trained on."""

    drawn: Copying
    unseen: Copying | None
    neighbours: tuple[Neighbour, ...]


def _near(
    asked: Request, data: Path, looked: Looked, network: Features, shown: Pictures, watch: Watch
) -> Near:
    found, count = nearest(looked.drawn, looked.known), len(looked.known)
    unseen = None
    if looked.unseen is not None:
        unseen = copying(nearest(looked.unseen, looked.known), count, network.name)
    first = found.distances.argsort()[:NEIGHBOURS].tolist()
    wanted = {int(found.numbers[number]) for number in first}
    with watch("finding the nearest", "pictures") as advance:
        numbered = enumerate(Reader(data, SIDE).named(advance))
        known = {number: pair for number, pair in numbered if number in wanted}
    neighbours = []
    for number in first:
        name, training = known[int(found.numbers[number])]
        shown.neighbours.append((load(looked.drawing.file(number)), training))
        neighbours.append(
            Neighbour(
                text=looked.drawing.prompts[number].text,
                seed=asked.seed + number,
                training=name,
                distance=float(found.distances[number]),
                is_copy=bool(found.is_copy[number]),
            )
        )
    return Near(copying(found, count, network.name), unseen, tuple(neighbours))


# --- the sweep, the grid --------------------------------------------------------------------------


def _sweep(
    asked: Request, exams: Sequence[Exam], network: Features, shown: Pictures, watch: Watch
) -> dict[str, Any] | None:
    if not (exams and asked.data and asked.guidance):
        return None
    exam, stage = exams[0], asked.model.cascade.config.stages[0]
    weights = ",".join(f"{weight:g}" for weight in asked.guidance)
    plan = Plan(
        model=asked.model,
        prompts=exam.prompts,
        real=asked.data,
        over=read_settings([f"{stage.name}.guidance={weights}"], asked.model.cascade, asked.drawn),
        folder=asked.out / "sweep",
        features=network,
        alignments={exam.name: exam.alignment},
        seed=asked.seed,
        size=asked.drawn,
        side=asked.looked_at,
        cut=asked.cut,
    )
    with _once():
        found = sweep(plan, watch)
    shown.sweep = as_svg(chart(found))
    return found.model_dump(mode="json")


def _grid(
    asked: Request, exams: Sequence[Exam], shown: Pictures, watch: Watch
) -> tuple[tuple[str, int], ...]:
    """Pictures of the last stage, of the first texts of the exam: they were drawn by lot."""
    prompts = asked.prompts or (exams[0].prompts if exams else [Prompt(text) for text in BUILT_IN])
    drawing = asked.drawing("grid", prompts[:GRID], None)
    with watch("drawing", "pictures") as advance:
        drawing.draw(advance, cut=asked.cut)
    shown.grid += drawing.pictures()
    return tuple((prompt.text, asked.seed + n) for n, prompt in enumerate(drawing.prompts))


# --- facts ----------------------------------------------------------------------------------------


def _facts(asked: Request, exams: Sequence[Exam]) -> Asked:
    model = asked.model.cascade.config
    return Asked(
        model=model.name,
        sha256=asked.model.sha256,
        licence=model.licence,
        version=asked.version,
        stages=tuple(
            StageFacts(
                name=stage.config.name,
                side=stage.config.side,
                parameters=sum(weight.numel() for weight in stage.trained().parameters()),
                sampling=stage.config.sampling.model_dump(mode="json"),
            )
            for stage in asked.model.cascade.stages
        ),
        data=asked.data.name if asked.data else None,
        unseen=asked.unseen.name if asked.unseen else None,
        names=len(exams[0].prompts) if exams else 0,
        given=asked.prompts is not None,
        seed=asked.seed,
        size=asked.drawn,
        side=asked.looked_at,
        command=asked.command,
        hourly=asked.hourly,
    )


def _left_out(asked: Request) -> Iterator[tuple[str, str]]:
    """What was not measured, and what to give for it."""
    if not asked.data:
        what = "retrieval, distances, guidance and copying"
        yield what, "Give the pictures that it was trained on: --data FOLDER"
    elif not asked.unseen:
        yield "what real pictures get", "Give some of the same names: --unseen FOLDER"
    if not asked.scenes:
        yield "composition", "Give icons to ask for scenes of: --scenes FOLDER"
    if not asked.clip:
        yield "CLIP score", "Give a CLIP: --clip FOLDER"
    if not asked.timed:
        yield "speed", "Leave --no-speed out"
