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

from openimagen.data.images import load
from openimagen.evaluate.copying import Copying, copying, nearest
from openimagen.evaluate.distances import Distance, distances
from openimagen.evaluate.drawing import Drawing
from openimagen.evaluate.exams import Exam, mark
from openimagen.evaluate.features import EffLite2, Features
from openimagen.evaluate.prompts import Prompt
from openimagen.evaluate.quality import at_side
from openimagen.evaluate.report.compared import DISTANCES, Compared, Pairs, check, exams_of
from openimagen.evaluate.report.page import SIDE, Pictures, page
from openimagen.evaluate.report.request import Request
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
from openimagen.files import write_whole
from openimagen.progress import Watch, unwatched

GRID, NEIGHBOURS = 24, 12  # pictures shown
BUILT_IN = (
    *("a red apple", "a cat", "a house by a lake", "two birds", "a blue car", "a smiling face"),
    *("a tree in autumn", "a cup of coffee", "a rocket above a planet", "a green square"),
    *("a portrait of a scientist", "a bowl of soup"),
)


def report(asked: Request, watch: Watch = unwatched) -> tuple[Report, Path]:
    """Measure all that can be measured with what was given; write OUT/report.html and .json.

    Pictures and the sweep stay in OUT, so that a killed report goes on. Returns the report and the
    path of its page. Raises ValueError for what does not fit, before anything is drawn.
    """
    asked.model.cascade.stages_between(0, asked.drawn)
    network = EffLite2(asked.model.cascade.device)
    exams, compared = exams_of(asked, network, watch)
    if compared:
        check(asked, compared)
    shown, figures = Pictures(), list[Figure]()
    for exam in exams:
        figures += _score(asked, exam, shown, watch)
    near: Near | None = None
    if compared:
        looked = _look(asked, compared, network, watch)
        figures += _distances(looked, network)
        near = _near(asked, compared, looked, network, shown, watch)
        figures.append(of_copying(near.drawn, near.unseen))
        if compared.seen:
            copies = _copies(asked, compared.seen, looked, network)
            figures.append(of_copying(copies, near.unseen, of="seen names"))
    found = Report(
        asked=_facts(asked, exams),
        figures=tuple(figures),
        copying=near.drawn if near else None,
        neighbours=near.neighbours if near else (),
        sweep=_sweep(asked, exams, compared, network, shown, watch),
        grid=_grid(asked, exams, shown, watch),
        speed=speed(asked.model, asked.draw, watch=watch) if asked.draw else None,
        left_out=tuple(_left_out(asked)),
    )
    found.write(asked.out)
    path = asked.out / "report.html"
    write_whole(path, page(found, shown))
    return found, path


# --- alignment ------------------------------------------------------------------------------------


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
    """Features of the drawn pictures, and of the real ones as `Compared` has them."""

    drawing: Drawing
    drawn: Float[Tensor, "n d"]
    real: Float[Tensor, "m d"]
    beside: Float[Tensor, "l d"] | None
    trained: Float[Tensor, "t d"]
    own: Float[Tensor, "o d"] | None


def _look(asked: Request, compared: Compared, network: Features, watch: Watch) -> Looked:
    drawing = asked.drawing(compared.exam.name, compared.exam.prompts, asked.drawn)
    side, known = asked.looked_at, dict[int, Tensor]()

    def look(pairs: Pairs | None) -> Tensor | None:
        if pairs is not None and id(pairs) not in known:
            with watch(f"looking at {pairs.path.name}", "pictures") as advance:
                known[id(pairs)] = network(pairs.reader(side).pictures(advance))
        return None if pairs is None else known[id(pairs)]

    real, trained = look(compared.real), look(compared.trained)
    assert real is not None and trained is not None
    drawn = network(at_side(picture, side) for picture in drawing.pictures())
    return Looked(drawing, drawn, real, look(compared.beside), trained, look(compared.own))


def _distances(looked: Looked, network: Features) -> Iterator[Figure]:
    found = distances(looked.real, looked.drawn, network.name, DISTANCES)
    beside: Iterator[Distance | None] = repeat(None)
    if looked.beside is not None:
        with _once():
            beside = iter(distances(looked.real, looked.beside, network.name, DISTANCES))
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
    asked: Request,
    compared: Compared,
    looked: Looked,
    network: Features,
    shown: Pictures,
    watch: Watch,
) -> Near:
    found, count = nearest(looked.drawn, looked.trained), len(looked.trained)
    unseen = None
    if looked.own is not None:
        unseen = copying(nearest(looked.own, looked.trained), count, network.name)
    first = found.distances.argsort()[:NEIGHBOURS].tolist()
    wanted = {int(found.numbers[number]) for number in first}
    with watch("finding the nearest", "pictures") as advance:
        numbered = enumerate(compared.trained.reader(SIDE).named(advance))
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


def _copies(asked: Request, exam: Exam, looked: Looked, network: Features) -> Copying:
    """How near the pictures of another exam come to those trained on."""
    drawing = asked.drawing(exam.name, exam.prompts, asked.drawn)
    rows = network(at_side(picture, asked.looked_at) for picture in drawing.pictures())
    return copying(nearest(rows, looked.trained), len(looked.trained), network.name)


# --- the sweep, the grid --------------------------------------------------------------------------


def _sweep(
    asked: Request,
    exams: Sequence[Exam],
    compared: Compared | None,
    network: Features,
    shown: Pictures,
    watch: Watch,
) -> dict[str, Any] | None:
    if not (compared and asked.guidance):
        return None
    exam, stage = exams[0], asked.model.cascade.config.stages[0]
    weights = ",".join(f"{weight:g}" for weight in asked.guidance)
    plan = Plan(
        model=asked.model,
        prompts=exam.prompts,
        real=compared.gallery,
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
                sha256=asked.model.weights.get(stage.config.name, ""),
                sampling=stage.config.sampling.model_dump(mode="json"),
            )
            for stage in asked.model.cascade.stages
        ),
        data=data.name if (data := asked.icons or asked.data) else None,
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
    if asked.icons:
        pass
    elif not asked.data:
        what = "retrieval, distances, guidance and copying"
        yield what, "Give the pictures that it was trained on: --data FOLDER"
    elif not asked.unseen:
        yield "what real pictures get", "Give some of the same names: --unseen FOLDER"
    if not (asked.icons or asked.scenes):
        yield "composition", "Give icons to ask for scenes of: --scenes FOLDER"
    if not asked.clip:
        yield "CLIP score", "Give a CLIP: --clip FOLDER"
    if not asked.draw:
        yield "speed", "Leave --no-speed out"
