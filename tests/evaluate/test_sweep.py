"""Sweeps: killed they go on to the bit, nothing is done twice, and nothing is mixed."""

import hashlib
import json
import multiprocessing
import random
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sweeps
from PIL import Image
from sweeps import Redness, Thumbnails, make_plan, write_real
from things import thing
from torch import Tensor

from openimagen import model_folder
from openimagen.cascade import Cascade
from openimagen.data.images import load
from openimagen.evaluate.alignment import Score
from openimagen.evaluate.distances import distances
from openimagen.evaluate.prompts import Prompt
from openimagen.evaluate.sweep.result import Sweep, read_sweep
from openimagen.evaluate.sweep.run import sweep

OVER = ("guidance=1,3", "threshold=static,none")

pytestmark = pytest.mark.filterwarnings("ignore:[0-9]+ pictures are few")


@pytest.fixture
def model(tiny: Cascade, tmp_path: Path) -> Path:
    model_folder.save(tiny, tmp_path / "tiny")
    return tmp_path / "tiny"


@pytest.fixture
def real(tmp_path: Path) -> Path:
    return write_real(tmp_path / "real")


@pytest.fixture
def run(model: Path, real: Path, tmp_path: Path) -> Callable[..., Sweep]:
    def run(*over: str, out: str = "out", size: int = 16, **changes: object) -> Sweep:
        plan = make_plan(model, real, tmp_path / out, *over, size=size)
        return sweep(replace(plan, **changes))

    return run


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pictures are drawn at once, from now on."""
    blocks: list[int] = []
    sample = Cascade.sample

    def spy(self: Cascade, text: Sequence[str], *rest: Any, **more: Any) -> list[Tensor]:  # noqa: ANN401
        blocks.append(len(text))
        return sample(self, text, *rest, **more)

    monkeypatch.setattr(Cascade, "sample", spy)
    return blocks


def content(folder: Path) -> dict[str, Any]:
    """All files by name: the hash of each, but of sweep.json what is in it, without the time."""
    left: dict[str, Any] = {}
    for path in sorted(folder.rglob("[!.]*")):
        if path.is_file():
            left[path.relative_to(folder).as_posix()] = hashlib.sha256(
                path.read_bytes()
            ).hexdigest()
    left["sweep.json"] = timeless(read_sweep(folder))
    return left


def timeless(found: Sweep) -> dict[str, Any]:
    points = [point.model_copy(update={"seconds": None}) for point in found.points]
    return found.model_copy(update={"points": tuple(points)}).model_dump()


# --- what a point is ------------------------------------------------------------------------------


def test_a_point_is_its_pictures_measured(run: Callable[..., Sweep], tmp_path: Path) -> None:
    found = run(*OVER, "steps=2", samples=2, side=8)
    assert [point.values for point in found.points] == [
        {"guidance": weight, "threshold": kind, "steps": 2}
        for kind in ("static", "none") for weight in (1, 3)
    ]  # fmt: skip
    assert [*found.curves()] == ["static", "none"] and found.along == "guidance"
    for point in found.points:
        pictures = [load(file) for file in sorted((tmp_path / "out" / point.name).glob("*.png"))]
        assert len(pictures) == 10 and pictures[0].size == (16, 16)
        real = [load(file) for file in sorted((tmp_path / "real").glob("*.png"))]
        seen = [[each.resize((8, 8), Image.Resampling.BICUBIC) for each in side]
                for side in (real, pictures)]  # fmt: skip
        rows = [Thumbnails()(side) for side in seen]
        wanted = distances(rows[0], rows[1], "Thumbnails", ("frechet", "kernel"))
        assert point.distances == tuple(wanted)
        asked = [Prompt("red thing")] * 10
        assert point.scores == tuple(Redness()(seen[1], asked))
        assert point.settings["base"]["guidance"] == point.values["guidance"]
        assert point.seconds is not None and point.seconds > 0


def test_each_prompt_has_its_samples(run: Callable[..., Sweep]) -> None:
    look = Redness()
    run("guidance=1", samples=2, alignments={"redness": look})
    assert look.asked[:4] == ["red disc", "red disc", "red bar", "red bar"]


def test_weight_1_is_no_guidance_and_needs_half_the_calls(
    run: Callable[..., Sweep], tmp_path: Path, model: Path, real: Path
) -> None:
    """As guidance that acts at no noise level; and as the cascade draws without any."""
    run("guidance=1,3")
    run("guidance=3", "guidance_interval=90..100", out="nowhere")
    pictures = [
        [load(file).tobytes() for file in sorted((tmp_path / point).glob("*.png"))]
        for point in ("out/guidance=1", "nowhere/guidance=3,guidance_interval=90..100",
                      "out/guidance=3")
    ]  # fmt: skip
    assert pictures[0] == pictures[1] != pictures[2]
    plan = make_plan(model, real, tmp_path / "out", "guidance=1,3", "sampler=ddim,heun")
    calls = [plan.work(place) / 5 for place in plan.places]
    assert calls == [3, 5, 6, 10]  # three steps; Heun's second call is spared at the last


def test_other_stages_are_left_alone(run: Callable[..., Sweep]) -> None:
    found = run("sr32.guidance=1,2", "aug_level=0,0.5", size=32, side=16)
    assert [*found.over] == ["sr32.guidance", "aug_level"]
    assert {point.settings["base"]["guidance"] for point in found.points} == {2}
    assert [point.settings["sr32"]["aug_level"] for point in found.points] == [0, 0, 0.5, 0.5]
    assert (found.identity.size, found.identity.side, found.real.width) == (32, 16, 16)


def test_the_file_has_everything(run: Callable[..., Sweep], tmp_path: Path) -> None:
    found = run(*OVER)
    file = json.loads((tmp_path / "out/sweep.json").read_text())
    assert Sweep.model_validate(file) == found == read_sweep(tmp_path / "out")
    assert {*file} == {"version", "model", "prompts", "identity", "real", "over", "along", "points"}
    assert {*file["points"][0]} == {
        "name", "values", "settings", "distances", "scores", "seconds"
    }  # fmt: skip
    assert file["points"][3]["name"] == "guidance=3,threshold=none"
    figures = [*file["points"][0]["scores"], *file["points"][0]["distances"]]
    assert [figure["name"] for figure in figures] == [
        "Red (Thumbnails)", "FD-Thumbnails", "KID-Thumbnails"
    ]  # fmt: skip
    assert all(figure["low"] <= figure["value"] <= figure["high"] for figure in figures)
    lines = str(found).splitlines()
    assert lines[0] == "5 prompts drawn at 16 pixels, against 10 real"
    assert lines[1].split()[:3] == ["guidance", "threshold", "Red"] and len(lines) == 6


# --- going on -------------------------------------------------------------------------------------


def test_killed_anywhere_it_ends_as_one_that_was_not(
    model: Path, real: Path, tmp_path: Path
) -> None:
    """Four kills in a run, at file events chosen by lot; then it is left to end."""
    lot = random.Random(1)
    outs = [tmp_path / f"life{life}" for life in range(2)]
    deaths = [(out, lot.randrange(1, 60)) for out in outs for _ in range(4)]
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=sweeps.lives, args=(model, real, OVER, deaths))
    process.start()
    process.join()
    assert process.exitcode >= 5
    for out in (*outs, tmp_path / "whole"):
        sweep(make_plan(model, real, out, *OVER))
    whole = content(tmp_path / "whole")
    assert len(whole) == 4 * 7 + 3
    for out in outs:
        left = content(out)
        assert {name for name in whole | left if whole.get(name) != left.get(name)} == set()


def test_what_is_done_is_neither_drawn_nor_looked_at_again(
    run: Callable[..., Sweep], drawn: list[int]
) -> None:
    first = run(*OVER)
    assert drawn == [5] * 4
    look, red = Thumbnails(), Redness()
    again = run(*OVER, features=look, alignments={"redness": red})
    assert (again, len(drawn), look.looked, red.asked) == (first, 4, 0, [])


def test_more_values_and_settings_are_taken_in(run: Callable[..., Sweep], drawn: list[int]) -> None:
    run("guidance=1,3")
    more = run("guidance=2")
    assert len(drawn) == 3 and [point.values["guidance"] for point in more.points] == [1, 2, 3]
    every = run("guidance=1,2,3", "threshold=dynamic,none")
    assert len(drawn) == 6  # "dynamic" is the model's own
    assert every.over == {"guidance": [1, 2, 3], "threshold": ["dynamic", "none"]}
    assert timeless(every)["points"] != timeless(more)["points"]
    whole = run("guidance=1,2,3", "threshold=dynamic,none", out="whole")
    for one, other in zip(every.points, whole.points, strict=True):
        named = one.model_copy(update={"name": other.name, "seconds": other.seconds})
        assert named == other


def test_what_was_asked_for_and_never_drawn_leaves_no_trace(
    run: Callable[..., Sweep], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Redness, "__call__", interrupted)
        run("guidance=1,3,9", "threshold=static,none")
    found = run("guidance=1,3", "threshold=static", side=8)
    assert found.over == {"guidance": [1, 3], "threshold": ["static"]}
    assert found.real is not None and found.real.width == 8  # looked at again


def interrupted(*_: object) -> list[Score]:
    raise KeyboardInterrupt


def test_a_damaged_file_of_features_is_made_again(
    run: Callable[..., Sweep], tmp_path: Path
) -> None:
    found = run("guidance=1")
    (tmp_path / "out/real.safetensors").write_bytes(b"nothing")
    look = Thumbnails()
    assert run("guidance=1", features=look) == found and look.looked == 10


def test_progress_is_of_the_whole(run: Callable[..., Sweep], model: Path, real: Path,
                                  tmp_path: Path) -> None:  # fmt: skip
    calls: dict[str, list[tuple[int, int]]] = {}

    @contextmanager
    def watch(title: str, unit: str) -> Iterator[Callable[[int, int], None]]:
        yield lambda done, total: calls.setdefault(title, []).append((done, total))

    run("guidance=3")
    sweep(make_plan(model, real, tmp_path / "out", "guidance=1,3"), watch)
    assert [*calls] == ["2 points"] and {total for _, total in calls["2 points"]} == {45}
    done = [done for done, _ in calls["2 points"]]
    assert done == [30, 45, 45]  # the only block of what lacks; the end


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompts": [Prompt("red disc")]}, "another set of prompts: choose another folder"),
        ({"seed": 1}, "another seed"),
        ({"samples": 2}, "another number of samples"),
        ({"side": 8}, "another side"),
        ({"alignments": {"blueness": Redness()}}, "another alignment"),
    ],
)
def test_a_folder_is_of_one_sweep(
    run: Callable[..., Sweep], drawn: list[int], changes: dict[str, Any], message: str
) -> None:
    run("guidance=1")
    drawn.clear()
    with pytest.raises(ValueError, match=message):
        run("guidance=1", **({"samples": 2} if "prompts" in changes else {}) | changes)
    assert not drawn


def test_another_model_is_refused(
    run: Callable[..., Sweep], tiny: Cascade, tmp_path: Path, drawn: list[int]
) -> None:
    run("guidance=1")
    next(tiny.stages[0].trained().parameters()).data += 0.1
    model_folder.save(tiny, tmp_path / "tiny")
    drawn.clear()
    with pytest.raises(ValueError, match="holds a sweep with another model: choose another folder"):
        run("guidance=1")
    assert not drawn


def test_other_real_pictures_are_refused_or_looked_at(
    run: Callable[..., Sweep], tmp_path: Path
) -> None:
    """Refused where points stand; where none stands yet they take the place of the others."""
    keep = tmp_path / "keep.png"
    shutil.copy(tmp_path / "real/red-bar.png", keep)
    for picture in sorted((tmp_path / "real").glob("*.png"))[1:]:
        picture.unlink()
    with pytest.raises(ValueError, match="has 1 pictures that can be read: the distances need 2"):
        run("guidance=1")
    shutil.copy(keep, tmp_path / "real")
    assert run("guidance=1").points[0].distances[0].n_real == 2
    thing("blue disc").save(tmp_path / "real/keep.png")  # of the same name
    with pytest.raises(ValueError, match="another set of real pictures"):
        run("guidance=1")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"prompts": [Prompt("red disc")]},
            "1 pictures at each point, .*: give at least 2 prompts",
        ),
        ({"prompts": []}, "0 pictures at each point, .*: give at least 2 prompts"),
        ({"samples": 0}, "0 samples of each prompt: give 1 or more"),
        ({"prompts": [Prompt("red disc"), Prompt("blue bar")]}, "'blue bar' is not red"),
        ({"prompts": [Prompt("red red red red")] * 2}, "1 of 1 prompts are over the 3 tokens that"),
        ({"real": Path("nowhere")}, "nowhere does not exist"),
        ({"size": 20}, "size 20 is no stage of tiny: choose one of 16, 32, 64"),
    ],
)
def test_what_cannot_be_measured_is_not_begun(
    run: Callable[..., Sweep], tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        run("guidance=1", **changes)
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


def test_a_folder_of_other_things_is_left_alone(run: Callable[..., Sweep], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.tex").touch()
    with pytest.raises(ValueError, match=r"holds thesis.tex, and no sweep: choose another folder"):
        run("guidance=1")
    (tmp_path / "out/sweep.json").write_text("{}")
    with pytest.raises(ValueError, match=r"sweep.json is damaged, or another version's"):
        run("guidance=1")


def test_too_few_pictures_are_told_once_and_before_anything_is_drawn(
    run: Callable[..., Sweep], drawn: list[int]
) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run("guidance=1,3")
    assert [str(each.message).partition(".")[0] for each in caught] == ["5 pictures are few"]
    drawn.clear()
    with warnings.catch_warnings(), pytest.raises(UserWarning, match="5 pictures are few"):
        warnings.simplefilter("error")
        run("guidance=1,3", out="other")
    assert not drawn
