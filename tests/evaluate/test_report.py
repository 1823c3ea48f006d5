"""A report of a tiny model, whole: what it measures agrees with the measures themselves."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from things import THINGS, thing

from openimagen.cli import app
from openimagen.evaluate.drawing import load_model
from openimagen.evaluate.features import EffLite2
from openimagen.evaluate.prompts import Prompt
from openimagen.evaluate.quality import quality
from openimagen.evaluate.report.result import Report, read_report
from openimagen.evaluate.report.run import Request, report
from openimagen.evaluate.report.table import BEGIN, END

pytestmark = pytest.mark.filterwarnings("ignore:.*too few|.*pictures")


def styled(folder: Path, style: str, names: Sequence[str] = THINGS) -> Path:
    """A captioned folder of things."""
    folder.mkdir()
    for name in names:
        thing(name, style).save(folder / f"{name.replace(' ', '-')}.png")
        (folder / f"{name.replace(' ', '-')}.txt").write_text(name)
    return folder


@pytest.fixture
def asked(tiny_folder: Path, tmp_path: Path) -> Request:
    return Request(
        model=load_model(str(tiny_folder)),
        out=tmp_path / "report",
        data=styled(tmp_path / "flat", "flat"),
        unseen=styled(tmp_path / "outlined", "outlined"),
        names=8,
        guidance=(1.0, 2.0),
        timed=False,
    )


def test_report_says_what_the_measures_say_and_draws_nothing_twice(asked: Request) -> None:
    found, page = report(asked)
    check_figures(found, asked)
    assert read_report(asked.out) == found
    assert page.read_text().count("<figure") == 8 + 8  # pictures, and nearest training pictures
    drawn = [each for each in asked.out.rglob("*.png") if each.parent.name != "sweep"]
    assert len(drawn) == 8 + 2 * 8 + 8
    lost = drawn[3]
    contents, others = lost.read_bytes(), [each for each in drawn if each.parent != lost.parent]
    times = [each.stat().st_mtime_ns for each in others]
    lost.unlink()
    assert report(asked)[0] == found
    assert lost.read_bytes() == contents
    assert [each.stat().st_mtime_ns for each in others] == times


def check_figures(found: Report, asked: Request) -> None:
    """They are what the measures give by themselves."""
    assert asked.data is not None
    rows = {figure.name: figure for figure in found.figures}
    alone = quality(asked.data, asked.out / "pictures/retrieval", EffLite2(), side=16)
    for distance in alone.distances:
        if distance.name in rows:  # all but CMMD
            assert rows[distance.name].value == pytest.approx(distance.value, rel=1e-6)
    assert {"R@1 (EffLite2)", "FD-EffLite2", "KID-EffLite2", "Coverage-EffLite2"} <= set(rows)
    assert rows["R@1 (EffLite2)"].chance == pytest.approx(1 / 8)
    assert all(figure.real is not None for figure in found.figures)
    assert found.copying is not None
    assert found.copying.training == len(THINGS)
    assert found.sweep is not None
    weights = [point["values"]["guidance"] for point in found.sweep["points"]]
    assert weights == [1.0, 2.0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"names": 2}, "2 texts: the distances need 7 pictures or more"),
        ({"size": 17}, "size 17 is no stage of tiny: choose one of 16, 32, 64"),
        ({"unseen": "few", "prompts": [Prompt(name) for name in THINGS]},
         "few has 3 pictures of the 10 texts: the distances need 7"),
    ],
)  # fmt: skip
def test_what_cannot_be_measured_is_told_before_anything_is_drawn(
    asked: Request, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    few = styled(tmp_path / "few", "outlined", THINGS[:3])
    if "unseen" in changes:
        changes = {**changes, "unseen": few}
    with pytest.raises(ValueError, match=message):
        report(replace(asked, **changes))
    assert not asked.out.exists()


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        app([str(word) for word in words])
    return int(ended.value.code or 0)


def test_a_model_alone_is_reported_with_what_lacks(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", "report", tiny_folder, "--out", tmp_path / "out", "--no-speed"]
    assert run(*words, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["figures"], len(found["grid"])) == ([], 12)
    assert found["left_out"][0][1] == "Give the pictures that it was trained on: --data FOLDER"
    assert "Not measured: speed" in (tmp_path / "out/report.html").read_text()


def test_a_card_without_a_place_is_refused_before_any_work(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card = tmp_path / "card.md"
    card.write_text("# A model\n")
    out = tmp_path / "out"
    assert run("evaluate", "report", tiny_folder, "--out", out, "--card", card) == 2
    assert f"write {BEGIN} and {END} into it" in capsys.readouterr().err
    assert not out.exists()
