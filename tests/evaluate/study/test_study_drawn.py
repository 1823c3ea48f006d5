"""Studies drawn from the command line: two models, pictures from elsewhere, or real ones."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from simulated_raters import open_booth
from starlette.testclient import TestClient
from typer.testing import CliRunner, Result

from openimagen.cascade import Cascade
from openimagen.cli import app
from openimagen.data.decode import load, square
from openimagen.evaluate.captioned import read_captioned, read_coco
from openimagen.evaluate.drawbench import find_gallery, find_pairs
from openimagen.evaluate.prompts import Prompt, read_prompts
from openimagen.evaluate.study.design import load_study
from openimagen.evaluate.study.server import build

TABLE = "prompt,category\na red boat,Colors\ntwo boats,Counting\na blue boat,Colors\na boat,Plain\n"
Draw = Callable[..., Result]


def run(*words: object) -> Result:
    words = ("evaluate", *words, "--device", "cpu")
    return CliRunner().invoke(app, [*map(str, words)], prog_name="openimagen")


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    (tmp_path / "prompts.csv").write_text(TABLE)
    return tmp_path / "prompts.csv"


@pytest.fixture
def draw(prompts: Path, tiny_folder: Path) -> Draw:
    """`evaluate drawbench` with the tiny model, two pictures a prompt of 16 pixels."""

    def drawbench(*words: object) -> Result:
        fixed = ["--prompts", prompts, "--samples", 2, "--size", 16, "--steps", 1]
        return run("drawbench", tiny_folder, *fixed, *words)

    return drawbench


def pixels(files: list[Path]) -> list[bytes]:
    return [load(file).tobytes() for file in files]


# --- two models -----------------------------------------------------------------------------------


def test_two_models_make_a_study(draw: Draw, tiny_folder: Path, tmp_path: Path) -> None:
    other = shutil.copytree(tiny_folder, tmp_path / "other")
    (other / "model.json").write_text((other / "model.json").read_text() + "\n")
    done = draw("--against", other, "--names", "ours, theirs", "--out", tmp_path / "study")
    assert done.exit_code == 0, done.stderr
    assert "4 texts, 2 pictures each, ours against theirs" in done.stdout
    study = load_study(tmp_path / "study")
    assert (study.kind, study.models, study.side) == ("drawbench", ("ours", "theirs"), 16)
    assert [item.category for item in study.items] == ["Colors", "Counting", "Colors", "Plain"]
    assert [item.text for item in study.items][1:3] == ["two boats", "a blue boat"]
    assert len(study.controls) == 8
    for number, item in enumerate(study.items):
        for side, files in zip(("first", "second"), item.sets, strict=True):
            drawn = [tmp_path / f"study/drawings/{side}/{2 * number + n:06}.png" for n in (0, 1)]
            assert pixels([tmp_path / "study" / file for file in files]) == pixels(drawn)


def test_raters_cannot_reach_the_drawings(draw: Draw, tmp_path: Path, tiny_folder: Path) -> None:
    draw("--against", tiny_folder, "--names", "ours,theirs", "--out", tmp_path / "study")
    booth = open_booth(tmp_path / "study")
    assert all(file.startswith("pictures/") for file in booth.study.files)
    client = TestClient(build(booth))
    for path in ("drawings/first/000000.png", "page/../drawings/first/drawing.json", "study.json"):
        assert client.get(f"/{path}").status_code in (401, 404)
        assert client.get("/page/" + path.replace("/", "%2F")).status_code == 404


def test_an_interrupted_one_goes_on(draw: Draw, tmp_path: Path) -> None:
    words = ("--against", tmp_path / "alone/drawings/first", "--names", "a,b")
    assert draw("--out", tmp_path / "alone").exit_code == 0
    assert draw(*words, "--out", tmp_path / "whole").exit_code == 0
    assert draw(*words, "--out", tmp_path / "cut").exit_code == 0
    for file in ("study.json", "drawings/first/000001.png", "drawings/first/000006.png"):
        (tmp_path / "cut" / file).unlink()
    assert draw(*words, "--out", tmp_path / "cut").exit_code == 0
    for file in ("study.json", "drawings/first/000001.png", "drawings/first/000006.png"):
        whole, again = (tmp_path / name / file for name in ("whole", "cut"))
        assert whole.read_bytes() == again.read_bytes()


def test_the_rank_that_finds_all_drawn_writes_the_study(
    draw: Draw, tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--samples", 5, "--against", tiny_folder, "--names", "a,b")  # 20 pictures a side
    draw(*words, "--out", tmp_path / "one")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    first = draw(*words, "--out", tmp_path / "two", "--json")
    assert first.exit_code == 0 and json.loads(first.stdout)["missing"] == 24
    assert not (tmp_path / "two/study.json").exists()
    monkeypatch.setenv("RANK", "0")
    assert json.loads(draw(*words, "--out", tmp_path / "two", "--json").stdout)["missing"] == 0
    one, two = (tmp_path / name / "study.json" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


# --- one model, and pictures from elsewhere -------------------------------------------------------


def test_one_model_alone_leaves_pictures_and_sheets(draw: Draw, tmp_path: Path) -> None:
    done = draw("--out", tmp_path / "alone")
    assert done.exit_code == 0 and "see drawings/first and sheets" in done.stdout
    assert not (tmp_path / "alone/study.json").exists()
    sheets = sorted(file.name for file in (tmp_path / "alone/sheets").iterdir())
    assert sheets == ["Colors.png", "Counting.png", "Plain.png"]
    with Image.open(tmp_path / "alone/sheets/Colors.png") as sheet:
        assert sheet.height > sheet.width > 256  # two rows of two
    rows = read_prompts(tmp_path / "alone/drawings/first/metadata.jsonl")
    assert [row.category for row in rows[:3]] == ["Colors", "Colors", "Counting"]


def test_pictures_from_elsewhere_go_by_their_captions(tmp_path: Path) -> None:
    for number, caption in enumerate(["two  boats", "a boat", "two boats", "a boat", "two boats"]):
        Image.new("RGB", (16, 16), (number, 0, 0)).save(tmp_path / f"{number}.png")
        (tmp_path / f"{number}.txt").write_text(caption)
    prompts = [Prompt("a boat"), Prompt("two boats")]
    gallery = find_gallery(tmp_path, prompts, 2)
    assert [[file.name for file in gallery.files(n)] for n in (0, 1)] == [
        ["1.png", "3.png"],
        ["0.png", "2.png"],
    ]
    told = 'has 1 pictures with the caption "two boats", 2 are needed: give as many, or other'
    with pytest.raises(ValueError, match=told):  # the second time it is asked for
        find_gallery(tmp_path, [*prompts, Prompt("two boats")], 2)


def test_categories_and_limit_choose_prompts(draw: Draw, tmp_path: Path) -> None:
    for words, texts in (
        (("--categories", "plain, Colors"), ["a red boat", "a blue boat", "a boat"]),
        (("--limit", 1), ["a red boat", "two boats", "a boat"]),
        (("--categories", "Colors", "--limit", 1), ["a red boat"]),
    ):
        out = tmp_path / "-".join(map(str, words))
        assert draw(*words, "--out", out).exit_code == 0
        rows = read_prompts(out / "drawings/first/metadata.jsonl")
        assert list(dict.fromkeys(row.text for row in rows)) == texts


# --- wrong requests -------------------------------------------------------------------------------


def test_a_wrong_request_is_one_line_before_anything_is_drawn(
    draw: Draw, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert draw("--out", tmp_path / "small").exit_code == 0
    theirs, ours = tmp_path / "small/drawings/first", ("--names", "a,b")
    (tmp_path / "run/export").mkdir(parents=True)
    (tmp_path / "run/export/model.json").touch()
    (tmp_path / "empty").mkdir()
    voted = tmp_path / "voted"
    voted.mkdir()
    (voted / "votes.sqlite").touch()
    monkeypatch.setattr(Cascade, "sample", lambda *_, **__: pytest.fail("it drew"))
    for words, complaint in (
        (("--against", tiny_folder, "--names", "same,Same"), "both models are called same"),
        (("--against", theirs, "--names", "better,worse"), "the title tells the raters of better"),
        (("--against", theirs, "--names", "one"), "--names one: write two names, as in ours,"),
        (("--against", theirs, *ours, "--samples", 3), 'has 2 pictures with the caption "a red'),
        (("--against", theirs, *ours, "--size", 32), "pictures are 16x16 and 32x32: say --side 16"),
        (("--against", theirs, *ours, "--side", 4000), "this makes no study: side: Input should"),
        (("--against", theirs, *ours, "--out", voted), "voted holds votes on a study: choose"),
        (("--against", theirs, *ours, "--size", 48), "size 48 is no stage of tiny: choose one of"),
        (("--against", tmp_path / "run"), "run is no model folder: it is a run, its model is"),
        (("--against", tmp_path / "empty"), "empty has no captioned picture: put name.txt beside"),
        (("--against", "nosuch"), "no model nosuch: embedded models are emoji"),
        (("--steps", "1,2,3,4"), "steps: 4 values for 1 stages"),
        (("--steps", "many"), "--steps many: write one number, or one per stage"),
        (("--categories", "Hats"), "no prompt is of 'hats': categories are Colors, Counting, Pl"),
        (("--categories", ""), "no prompt is of '': categories are Colors, Counting, Plain"),
        (("--against", "theirs/"), "no model theirs/: embedded models are emoji; else give a mod"),
        (("--prompts", tmp_path / "none.csv"), "none.csv does not exist: give a .txt, .csv"),
    ):
        done = draw("--out", tmp_path / "out", *words)
        (line,) = done.stderr.splitlines()
        assert complaint in line and done.exit_code == 2, words
        assert not (tmp_path / "out").exists()


# --- beside real pictures -------------------------------------------------------------------------


def test_coco_is_read_as_it_is_published(coco: Path) -> None:
    data = read_captioned(coco)
    assert data == read_coco(coco) and len(data) == 10
    assert [name[-6:-4] for name in data.names] == [f"{n:02}" for n in range(1, 11)]
    assert data.captions[0] == ("boat 1/0", "boat 1/1")
    (coco / data.names[4]).unlink()
    with pytest.raises(ValueError, match=r"05.jpg and 0 more are not there: unpack val2014"):
        read_coco(coco)
    listed = coco / "annotations/captions_val2014.json"
    for damage in ("{", "[]", '{"images": [{}]}', '{"images": []}'):
        listed.write_text(damage)
        with pytest.raises(ValueError, match=r"captions_val2014.json is not COCO's: .*again"):
            read_coco(coco)
    with pytest.raises(ValueError, match=r"lacks annotations/captions_val2014.json: unpack"):
        read_coco(coco / "val2014")


def test_real_pictures_come_by_lot_once_each(coco: Path) -> None:
    four = find_pairs(coco, 4, seed=1)
    assert find_pairs(coco, 10, seed=1)[:4] == four != find_pairs(coco, 4, seed=2)
    assert len({file for file, _ in four}) == 4
    for file, text in four:
        assert int(text.split()[1].partition("/")[0]) == int(file.stem[-12:])
    with pytest.raises(ValueError, match="has 10 pictures, 11 are asked for: say --pairs 10"):
        find_pairs(coco, 11, seed=1)
    four[1][0].write_bytes(four[1][0].read_bytes()[:200])
    with pytest.warns(UserWarning, match=r"left out: .*\.jpg: "):
        assert find_pairs(coco, 3, seed=1) == [four[0], *four[2:]]


def test_realism_shows_a_drawn_picture_and_the_real_one(
    coco: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    words = ["--pairs", 5, "--per-rater", 3, "--size", 16, "--steps", 1, "--name", "ours"]
    done = run("realism", tiny_folder, "--real", coco, "--out", tmp_path / "study", *words)
    assert done.exit_code == 0, done.stderr
    study = load_study(tmp_path / "study")
    assert (study.kind, study.models, study.per_rater) == ("realism", ("ours", "real"), 3)
    pairs = find_pairs(coco, 5, 0)
    assert [item.text for item in study.items] == [text for _, text in pairs]
    for number, (item, (file, _)) in enumerate(zip(study.items, pairs, strict=True)):
        drawn = load(tmp_path / f"study/drawings/first/{number:06}.png").tobytes()
        shown = pixels([tmp_path / "study" / files[0] for files in item.sets])
        assert shown == [drawn, square(load(file), 16).tobytes()]
