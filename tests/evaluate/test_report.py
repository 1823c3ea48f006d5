"""A report of a tiny model, whole: what it measures agrees with the measures themselves."""

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from things import THINGS, thing
from torch.nn.functional import normalize

from openimagen.cli import app
from openimagen.data.images import load
from openimagen.evaluate.copying import nearest
from openimagen.evaluate.drawing import load_model
from openimagen.evaluate.features import EffLite2
from openimagen.evaluate.prompts import Prompt
from openimagen.evaluate.quality import at_side, quality
from openimagen.evaluate.report.request import Request
from openimagen.evaluate.report.result import Report, read_report
from openimagen.evaluate.report.run import report
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
    """Of the unseen pictures some are among those it was trained on."""
    unseen = styled(tmp_path / "outlined", "outlined", THINGS[3:])
    for name in THINGS[:3]:
        thing(name).save(unseen / f"{name.replace(' ', '-')}.png")
        (unseen / f"{name.replace(' ', '-')}.txt").write_text(name)
    return Request(
        model=load_model(str(tiny_folder)),
        out=tmp_path / "report",
        data=styled(tmp_path / "flat", "flat"),
        unseen=unseen,
        names=8,
        guidance=(1.0, 2.0),
    )


def test_report_says_what_the_measures_say_and_draws_nothing_twice(
    asked: Request, tmp_path: Path
) -> None:
    found, page = report(asked)
    check_figures(found, asked)
    check_neighbours(found, asked)
    check_real(found, asked, tmp_path / "same")
    assert read_report(asked.out) == found
    for stage in found.asked.stages:  # whose weights it was
        (file,) = Path(asked.model.name).glob(f"{stage.name}-*.safetensors")
        assert stage.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
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


def check_neighbours(found: Report, asked: Request) -> None:
    """The nearest come first; each is what its text and seed drew, so far from its picture."""
    assert asked.data is not None
    distances = [each.distance for each in found.neighbours]
    assert distances == sorted(distances)
    assert found.copying is not None
    assert distances[0] <= found.copying.distances[0]
    rows = (asked.out / "pictures/retrieval/metadata.jsonl").read_text().splitlines()
    drawn = {(row["text"], row["seed"]): row["file_name"] for row in map(json.loads, rows)}
    for each in found.neighbours:
        file = asked.out / "pictures/retrieval" / drawn[each.text, each.seed]
        pair = [at_side(load(path), 16) for path in (file, asked.data / each.training)]
        one, other = normalize(EffLite2()(pair).double(), dim=1)
        assert each.distance == pytest.approx(float(1 - one @ other), abs=1e-5)


def check_real(found: Report, asked: Request, folder: Path) -> None:
    """What stands beside the model's figures is of unseen pictures of the names it drew."""
    assert asked.data and asked.unseen
    rows = (asked.out / "pictures/retrieval/metadata.jsonl").read_text().splitlines()
    names = [json.loads(row)["text"] for row in rows]
    assert len(names) == len(THINGS) - 2
    folder.mkdir()
    for name in names:
        file = f"{name.replace(' ', '-')}.png"
        shutil.copy(asked.unseen / file, folder / file)
    alone = {each.name: each for each in quality(asked.data, folder, EffLite2(), side=16).distances}
    for figure in found.figures:
        if figure.name in alone:
            assert figure.real == pytest.approx(alone[figure.name].value, rel=1e-6)
    looks = [
        EffLite2()(at_side(load(file), 16) for file in sorted(path.glob("*.png")))
        for path in (folder, asked.data)
    ]
    assert found.figures[-1].real == nearest(*looks).is_copy.double().mean() > 0
    assert found.figures[-1].value != found.figures[-1].real


def test_a_size_that_no_stage_has_is_refused(asked: Request) -> None:
    with pytest.raises(ValueError, match="size 17 is no stage of tiny: choose one of 16, 32, 64"):
        report(replace(asked, size=17, data=None, unseen=None))
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


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"names": 3}, "3 prompts: the distances need at least 7: give more, as --names or"),
        ({"data": 4}, "known has 4 pictures: the distances need at least 7: give more as --data"),
        ({"unseen": 2}, "other has 2 pictures of the prompts: the distances need at least 7: give"),
    ],
)
def test_too_few_pictures_are_refused_before_anything_is_drawn(
    asked: Request, tmp_path: Path, changes: dict[str, int], complaint: str
) -> None:
    prompts = [Prompt(name) for name in THINGS[:8]]
    if "names" in changes:
        asked = replace(asked, names=changes["names"])
    if "data" in changes:
        names = 2 * THINGS[:4]
        few = styled(tmp_path / "known", "flat", names)
        asked = replace(asked, data=few, unseen=None, prompts=[Prompt(name) for name in names])
    if "unseen" in changes:
        other = styled(tmp_path / "other", "outlined", THINGS[:2])
        asked = replace(asked, unseen=other, prompts=prompts)
    with pytest.raises(ValueError, match=complaint):
        report(asked)
    assert not asked.out.exists()


def test_prompts_that_are_too_long_are_drawn_if_they_may_be_cut(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_long(*_: object) -> None:
        raise ValueError("leave them out, or say --cut")

    monkeypatch.setattr("openimagen.evaluate.drawing.check_fit", too_long)
    prompts = tmp_path / "long.txt"
    prompts.write_text("a red boat at sea")
    for command, *more in (("report", "--no-speed"), ("bias", "--seeds", 2, "--size", 16)):
        words = ["evaluate", command, tiny_folder, "--prompts", prompts, *more]
        assert run(*words, "--out", tmp_path / command) == 2
        assert run(*words, "--out", tmp_path / command, "--cut") == 0
    assert read_report(tmp_path / "report").asked.given
    assert "Texts as they were given" in (tmp_path / "report/report.html").read_text()
