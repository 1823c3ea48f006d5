"""Models and folders of pictures through `evaluate alignment`, from their options to the table."""

import json
import re
from pathlib import Path

import pytest
from PIL import Image
from text.tiny_models import save_tokenizer
from things import SHAPES, THINGS, icon, noise, thing, write_style
from typer.testing import CliRunner, Result

from openimagen import model_folder
from openimagen.cascade import Cascade, Stage
from openimagen.cli import app
from openimagen.data.images import load
from openimagen.data.scene_prompts import scene_prompts
from openimagen.data.scenes import Scene, Thing, compose
from openimagen.evaluate.examined import read_drawn
from openimagen.evaluate.exams import load_exams
from openimagen.evaluate.prompts import Prompt
from openimagen.recipes.tiny import recipe
from openimagen.unet import UNet


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The base of the recipe tiny with random weights, so that its noise shows."""
    config = recipe().model
    config = config.model_copy(update={"stages": config.stages[:1]})
    folder = tmp_path_factory.mktemp("model")
    stages = [Stage(stage, UNet(stage.unet)) for stage in config.stages]
    for number, weight in enumerate(stages[0].trained().parameters()):
        weight.data = 0.1 * noise(*weight.shape, seed=number)
    model_folder.save(Cascade(config, stages), folder)
    return folder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Styles flat and outlined, each without a thing that the other has; and icons."""
    root = tmp_path_factory.mktemp("corpus")
    write_style(root / "flat", "flat", lacking="red bar")
    write_style(root / "outlined", "outlined", lacking="blue ring")
    (root / "icons").mkdir()
    for shape in SHAPES:
        icon(shape).save(root / "icons" / f"{shape}.png")
        (root / "icons" / f"{shape}.txt").write_text(shape)
    return root


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import CLIPConfig, CLIPModel

    folder = tmp_path_factory.mktemp("clip")
    small = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1,
             "num_attention_heads": 2}  # fmt: skip
    text = {**small, "vocab_size": 40, "max_position_embeddings": 12, "bos_token_id": 2,
            "eos_token_id": 0}  # fmt: skip
    vision = {**small, "image_size": 28, "patch_size": 14}
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)
    CLIPModel(config).save_pretrained(folder)
    save_tokenizer(folder, "<start>", "<end>", "<end>")
    return folder


def run(*words: object) -> Result:
    return CliRunner().invoke(app, ["evaluate", "alignment", *map(str, words)])


def write_scenes(folder: Path) -> Path:
    """Composed scenes as a model would have drawn them, one of them wrong."""
    folder.mkdir()
    icons, rows = {shape: icon(shape) for shape in SHAPES}, []
    for number, scene in enumerate(scene_prompts([*SHAPES], 2)):
        picture = compose(scene, icons, 64) if number else Image.new("RGB", (64, 64))
        picture.save(folder / f"{number}.png")
        rows.append(scene.row() | {"file_name": f"{number}.png", "text": scene.caption})
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def test_a_broken_line_beside_pictures_is_left_out(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "0.png")
    row = {"file_name": "0.png", "text": "a\u2028cat", "category": "animals"}
    text = json.dumps(row, ensure_ascii=False)
    (tmp_path / "metadata.jsonl").write_text(f"not json\n{text}\n")
    (prompt,) = read_drawn(tmp_path).prompts
    assert (prompt.text, prompt.category) == ("a cat", "animals")


# --- by a model -----------------------------------------------------------------------------------


def test_a_model_draws_once_and_is_measured_by_several(
    model: Path, corpus: Path, clip: Path, tmp_path: Path
) -> None:
    out, sheet = tmp_path / "out", tmp_path / "sheets" / "sheet.png"
    words = [model, "--prototypes", corpus / "flat", "--ceiling", corpus / "outlined", "--names", 2,
             "--clip", clip, "--steps", 1, "--samples", 2, "--out", out]  # fmt: skip
    told = run(*words, "--sheet", sheet)
    assert told.exit_code == 0, told.stderr
    rows = told.stdout.splitlines()
    assert rows[1].split() == ["score", "value", "95%", "interval", "ceiling", "chance", "prompts"]
    assert re.fullmatch(
        r"R@1 \(EffLite2\) +[\d.]+  \[[\d., ]+\] +[\d.]+ +0\.500 +2", rows[2].rstrip()
    )
    assert rows[4].startswith("CLIP score (CLIP-16/14-28)")
    assert rows[-1] == f"{sheet}  sheet" and load(sheet).height > 128
    drawn = {file: file.stat().st_mtime_ns for file in out.rglob("*.png")}
    assert len(drawn) == 8 and len(list((out / "retrieval").glob("*.png"))) == 4
    figures = json.loads(run(*words, "--json").stdout)
    assert {file: file.stat().st_mtime_ns for file in out.rglob("*.png")} == drawn
    retrieval, clip_score = figures["exams"]
    assert (figures["side"], retrieval["pictures"], retrieval["scores"][0]["prompts"]) == (64, 4, 2)
    assert retrieval["scores"][1]["value"] == retrieval["scores"][1]["chance"] == 1
    assert clip_score["name"] == "clip" and clip_score["faults"] == []
    again = json.loads(run(out / "retrieval", "--prototypes", corpus / "flat", "--ceiling",
                           corpus / "outlined", "--json").stdout)  # fmt: skip
    assert again["exams"] == [retrieval]


def test_drawn_scenes_say_what_they_are(model: Path, corpus: Path, tmp_path: Path) -> None:
    """By the file that asked for them, and by what lies beside the pictures."""
    file = tmp_path / "scenes.jsonl"
    rows = [scene.row() for scene in scene_prompts([*SHAPES], 1)]
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    words = ["--scenes", corpus / "icons", "--json"]
    out = tmp_path / "out"
    drawn = json.loads(run(model, *words, "--prompts", file, "--steps", 1, "--out", out).stdout)
    again = json.loads(run(out / "composition", *words).stdout)
    assert again["exams"] == drawn["exams"]
    names = [score["name"] for score in drawn["exams"][0]["scores"]]
    assert any(name.startswith("counting") for name in names)


def test_things_that_must_not_be_there_have_icons_too(corpus: Path) -> None:
    content = {
        "include": [{"class": "disc", "count": 1}],
        "exclude": [{"class": "cross", "count": 1}],
    }
    (exam,) = load_exams(
        scenes=corpus / "icons", prompts=[Prompt("a disc and no cross", "", content)]
    )
    disc = {shape: icon(shape) for shape in ("disc", "cross")}
    alone = compose(Scene("", "", (Thing("disc"),)), disc, 64)
    both = compose(Scene("", "", (Thing("disc"), Thing("cross"))), disc, 64)
    found = [exam.alignment([each], exam.prompts)[0].value for each in (alone, both)]
    assert found == [1, 0]


def test_a_model_draws_scenes_of_what_both_styles_have(model: Path, corpus: Path) -> None:
    asked = load_exams(scenes=corpus / "icons", prompts=[
        Prompt("two discs", "counting", {"include": [{"class": "disc", "count": 2}]})
    ])  # fmt: skip
    assert [exam.name for exam in asked] == ["composition"]
    with pytest.raises(ValueError, match="has no icon of airplane, avocado, backpack"):
        load_exams(scenes=corpus / "icons")


# --- by pictures ----------------------------------------------------------------------------------


def test_a_folder_of_scenes_says_what_it_holds(corpus: Path, tmp_path: Path) -> None:
    scenes, sheet = write_scenes(tmp_path / "scenes"), tmp_path / "sheet.png"
    found = run(scenes, "--scenes", corpus / "icons", "--json", "--sheet", sheet)
    assert found.exit_code == 0, found.stderr
    (exam,) = json.loads(found.stdout)["exams"]
    assert exam["scores"][0]["value"] == pytest.approx(11 / 12)
    assert [fault["prompt"] for fault in exam["faults"]] == [scene_prompts([*SHAPES], 2)[0].caption]
    assert found.stderr == f"{sheet}  sheet\n" and load(sheet).width > 128


def test_a_folder_by_a_prompt_file(corpus: Path, tmp_path: Path) -> None:
    """Pictures that have captions only, and a file of GenEval's that says what is in them."""
    scenes = write_scenes(tmp_path / "scenes")
    rows = [json.loads(line) for line in (scenes / "metadata.jsonl").read_text().splitlines()]
    plain = [{"file_name": row["file_name"], "text": row["text"]} for row in rows]
    (scenes / "metadata.jsonl").write_text("\n".join(map(json.dumps, plain)))
    file = tmp_path / "prompts.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in rows[1:5]))
    refused = run(scenes, "--scenes", corpus / "icons")
    assert refused.exit_code == 2 and "does not say what to include" in refused.stderr
    found = json.loads(
        run(scenes, "--scenes", corpus / "icons", "--prompts", file, "--json").stdout
    )
    assert (found["exams"][0]["pictures"], found["exams"][0]["scores"][0]["value"]) == (4, 1)
    file.write_text(json.dumps({"prompt": "a cat"}))
    assert "has no picture of \"a cat\" (1 of 1 prompts lack)" in run(
        scenes, "--clip", "x", "--prompts", file
    ).stderr  # fmt: skip


def test_the_whole_gallery_has_the_names_that_were_not_asked_for(
    corpus: Path, tmp_path: Path
) -> None:
    few = write_style(tmp_path / "few", "flat", names=THINGS[2:4])
    words = [few, "--prototypes", corpus / "flat", "--json"]
    chances = [
        json.loads(run(*words, *more).stdout)["exams"][0]["scores"][0]["chance"]
        for more in ([], ["--whole-gallery"])
    ]
    assert chances == [1 / 2, 1 / 9]


# --- what is refused ------------------------------------------------------------------------------


def test_a_wrong_request_is_one_line(model: Path, corpus: Path, tmp_path: Path) -> None:
    flat = ["--prototypes", corpus / "flat"]
    cats, empty = tmp_path / "cats", tmp_path / "empty"
    cats.mkdir(), empty.mkdir()
    thing(THINGS[0]).save(cats / "cat.png")
    (cats / "cat.txt").write_text("a cat")
    (tmp_path / "prompts.txt").write_text("a cat\nred disc\n")
    asked = ["--prompts", tmp_path / "prompts.txt"]
    for words, complaint in (
        ((model,), "give --prototypes FOLDER, --scenes FOLDER or --clip WEIGHTS"),
        ((tmp_path / "none", *flat), "else give a model folder"),
        ((empty, *flat), "has no captioned picture"),
        ((model, "--prototypes", tmp_path / "none"), "none is no folder"),
        ((model, *flat, "--ceiling", corpus / "outlined"),
         "200 names wanted, the galleries have 8 in common: ask for fewer"),
        ((model, *flat, "--size", 100), "size 100 is no stage"),
        ((model, *flat, *asked), "no picture of 'a cat' (1 of 2 prompts lack)"),
        ((cats, *flat), "no picture of 'a cat' (1 of 1 prompts lack)"),
        ((model, "--scenes", corpus / "icons", *asked), '"a cat" does not say what to include'),
        ((model, "--scenes", corpus / "flat"), "has no icon of"),
        ((model, "--clip", corpus), "--clip needs texts: give --prompts FILE"),
        ((model, "--clip", corpus, *asked), "lacks config.json"),
        ((model, *flat, "--prompts", tmp_path / "none.txt"), "none.txt does not exist"),
        ((model, *flat, "--names", 2, "--sheet", tmp_path / "a.txt"), "a.txt is no name of a pic"),
        ((model, "--clip", corpus, *asked, "--sheet", tmp_path / "a.png"), "CLIP score has no sh"),
    ):  # fmt: skip
        result = run(*words, "--device", "cpu")
        assert result.exit_code == 2 and not result.stdout, words
        assert complaint in result.stderr and result.stderr.count("\n") == 1, result.stderr


def test_clip_score_alone_has_no_sheet(clip: Path, tmp_path: Path) -> None:
    few = write_style(tmp_path / "few", "flat", names=THINGS[2:4])
    result = run(few, "--clip", clip, "--sheet", tmp_path / "sheet.png")
    assert result.exit_code == 2 and "CLIP score has no sheet" in result.stderr
