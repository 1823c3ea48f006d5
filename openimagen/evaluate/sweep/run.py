"""Sweep a model over settings: draw prompts at each point, measure, keep; a killed run goes on.

A folder holds one sweep: a sub-folder of captioned pictures for each point, the features of the
real pictures, `sweep.json` and `sweep.png`. Asked again it draws and looks at what lacks; asked for
more values or settings it takes them in.
"""

import json
import time
import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict

from jaxtyping import Float
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from openimagen.evaluate.distances import distances, doubt, pictures_needed
from openimagen.evaluate.drawing import Drawing, check_fit
from openimagen.evaluate.quality import Collection, Reader, at_side
from openimagen.evaluate.sweep.chart import as_png, chart
from openimagen.evaluate.sweep.plan import Plan
from openimagen.evaluate.sweep.result import FILE, Point, Sweep, read_sweep
from openimagen.evaluate.sweep.settings import Place, Settings
from openimagen.files import write_whole
from openimagen.progress import Advance, Watch, unwatched

KINDS = ("frechet", "kernel")
WORDS = {
    "real": "set of real pictures",
    "prompts": "set of prompts",
    "samples": "number of samples",
}
REAL, CHART = "real.safetensors", "sweep.png"


def sweep(plan: Plan, watch: Watch = unwatched) -> Sweep:
    """Draw and measure every point of a plan that its folder has not got yet.

    Each is in `sweep.json` as soon as it is measured. Raises ValueError, before anything is drawn,
    for settings, prompts or pictures that do not fit the model or the measures, and for a folder
    that holds something else.
    """
    _check(plan)
    found = _open(plan)
    real, collection = _real_features(plan, watch)
    found = found.model_copy(update={"real": collection})
    _warn(plan, real)
    there = {_key(point.settings) for point in found.points}
    missing = [place for place in plan.places if _key(place.settings) not in there]
    total = sum(map(plan.work, plan.places))
    done = total - sum(map(plan.work, missing))
    with watch(f"{len(plan.places)} points", "network calls") as advance:
        advance(done, total)
        for place in missing:
            part = _part(advance, done, plan.work(place), total)
            found = _with(found, plan, _measured(plan, place, real, part))
            done += plan.work(place)
            advance(done, total)
    write_whole(plan.folder / CHART, as_png(chart(found)))
    return found


def _part(advance: Advance, before: int, part: int, total: int) -> Advance:
    """The progress of a part as progress of the whole."""
    return lambda done, of: advance(before + part * done // of, total)


# --- before anything is drawn ---------------------------------------------------------------------


def _check(plan: Plan) -> None:
    """ValueError for what cannot be drawn or measured."""
    assert plan.places
    if plan.samples < 1:
        raise ValueError(f"{plan.samples} samples of each prompt: give 1 or more")
    count, least = len(plan.prompts) * plan.samples, max(map(pictures_needed, KINDS))
    if count < least:
        raise ValueError(
            f"{count} pictures at each point, and the distances need {least}: "
            f"give at least {-(-least // plan.samples)} prompts"
        )
    if not plan.cut:
        check_fit(plan.model, plan.prompts)
    for alignment in plan.alignments.values():
        alignment.check(plan.prompts)


def _warn(plan: Plan, real: Float[Tensor, "n d"]) -> None:
    """Once, what would be said of every point."""
    count = min(len(real), len(plan.prompts) * plan.samples)
    if line := doubt(count, real.shape[1], KINDS, plan.features.name):
        warnings.warn(line, stacklevel=3)


def _open(plan: Plan) -> Sweep:
    """What the folder has of this sweep. ValueError if it holds something else."""
    found = _there(plan)
    if found is None:
        found = Sweep(
            model=plan.model.name,
            prompts=len(plan.prompts),
            identity=plan.identity,
            over={},
            along=plan.over[0].key,
        )
    try:
        found = found.with_points(keys=[setting.key for setting in plan.over])
    except ValueError as error:
        raise ValueError(f"{plan.folder}: {error}: choose another folder") from None
    plan.folder.mkdir(parents=True, exist_ok=True)
    write_whole(plan.folder / FILE, found.model_dump_json(indent=1))
    return found


def _there(plan: Plan) -> Sweep | None:
    """What is in the folder: of this sweep, or nothing that would be lost."""
    if (plan.folder / FILE).exists():
        found = read_sweep(plan.folder)
        wanted, there = plan.identity.model_dump(), found.identity.model_dump()
        other = [key for key in wanted if wanted[key] != there[key]]
        if other and found.points:
            raise ValueError(
                f"{plan.folder} holds a sweep with another {WORDS.get(other[0], other[0])}: "
                "choose another folder, or delete it"
            )
        return None if other else found
    strangers = sorted(each.name for each in plan.folder.glob("[!.]*"))
    if strangers:
        raise ValueError(f"{plan.folder} holds {strangers[0]}, and no sweep: choose another folder")
    return None


# --- looking --------------------------------------------------------------------------------------


def _real_features(plan: Plan, watch: Watch) -> tuple[Float[Tensor, "n d"], Collection]:
    """Features of the real pictures, as kept in the folder, or looked at now."""
    path, of = plan.folder / REAL, plan.identity.model_dump(include={"real", "side", "features"})
    with suppress(OSError, SafetensorError), safe_open(path, "pt") as file:  # there, and whole
        about = json.loads(file.metadata()["about"])
        if about["of"] == of:
            return file.get_tensor("features"), Collection(**about["collection"])
    reader = Reader(plan.real, plan.identity.side)
    with watch(f"looking at {plan.real.name}", "pictures") as advance:
        rows = plan.features(reader.pictures(advance))
    if len(rows) < (least := max(map(pictures_needed, KINDS))):
        raise ValueError(
            f"{plan.real} has {len(rows)} pictures that can be read: the distances need {least}"
        )
    about = {"of": of, "collection": asdict(reader.collection())}
    write_whole(
        path, save({"features": rows}, {"about": json.dumps(about)})
    )  # one key: in one order
    return rows, reader.collection()


def _measured(plan: Plan, place: Place, real: Float[Tensor, "n d"], advance: Advance) -> Point:
    """Draw the pictures of a point and look at them."""
    drawing = plan.drawing(place)
    seconds = _draw(drawing, advance, cut=plan.cut)

    def pictures() -> Iterator[Image.Image]:
        return (at_side(picture, plan.identity.side) for picture in drawing.pictures())

    asked = [prompt for prompt in plan.prompts for _ in range(plan.samples)]
    scores = [score for measure in plan.alignments.values() for score in measure(pictures(), asked)]
    rows = plan.features(pictures())
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"\d+ pictures are few")  # told
        found = tuple(distances(real, rows, plan.features.name, KINDS))
    return Point(
        name=place.name,
        values={},
        settings={stage: dict(sampling) for stage, sampling in place.settings.items()},
        distances=found,
        scores=tuple(scores),
        seconds=seconds,
    )


def _draw(drawing: Drawing, advance: Advance, *, cut: bool) -> float | None:
    """Draw what lacks. Seconds for each picture of that, None if nothing lacked."""
    missing, start = len(drawing.missing()), time.perf_counter()
    drawing.draw(advance, cut=cut)
    return (time.perf_counter() - start) / missing if missing else None


def _with(found: Sweep, plan: Plan, point: Point) -> Sweep:
    """With one point more, and kept."""
    found = found.with_points([point])
    write_whole(plan.folder / FILE, found.model_dump_json(indent=1))
    return found


def _key(settings: Settings) -> str:
    return json.dumps(settings, sort_keys=True)
