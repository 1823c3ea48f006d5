"""A study folder is checked before anybody votes; a written one can be read."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.ImageCms import ImageCmsProfile, createProfile
from PIL.PngImagePlugin import PngInfo
from simulated_raters import entries, make_study, picture

from openimagen.evaluate.study.design import load_study
from openimagen.evaluate.study.folder import Entry, write_study

Change = Callable[[dict[str, Any]], Any]


def change(folder: Path, how: Change) -> None:
    study = json.loads((folder / "study.json").read_text())
    how(study)
    (folder / "study.json").write_text(json.dumps(study))


def test_what_was_written_is_read(tmp_path: Path) -> None:
    study = make_study(tmp_path, texts=4, controls=3, per_rater=2)
    assert [item.text for item in study.items] == [f"text {n}" for n in range(4)]
    assert (study.side, study.per_rater, len(study.controls)) == (16, 2, 3)
    for item in study.items:
        for model, files in enumerate(item.sets):
            for number, file in enumerate(files):
                with Image.open(tmp_path / file) as image:
                    expected = picture(model, int(item.text.split()[1]), number)
                    assert image.tobytes() == expected.tobytes()


def test_controls_show_one_model_s_pictures_of_two_texts(tmp_path: Path) -> None:
    study = make_study(tmp_path, texts=4, controls=4)
    owners = {files: item for item in study.items for files in item.sets}
    for number, control in enumerate(study.controls):
        right, wrong = (owners[files] for files in control.sets)
        assert right.text == control.text != wrong.text
        assert right.category != wrong.category
        models = {owners[files].sets.index(files) for files in control.sets}
        assert models == {number % 2}  # so that the models' own merits do not help


def test_pictures_lose_what_a_file_says_about_itself(tmp_path: Path) -> None:
    remarks = PngInfo()
    remarks.add_text("model", "ours")
    for model in (0, 1):
        profile = ImageCmsProfile(createProfile("sRGB")).tobytes() + b"ours"  # as cameras write
        picture(model, 0).save(tmp_path / f"{model}.png", pnginfo=remarks, icc_profile=profile)
    entry = Entry("text 0", "Colors", [tmp_path / "0.png"], [tmp_path / "1.png"])
    study = write_study(tmp_path / "study", "drawbench", ("ours", "x"), [entry], controls=0)
    for file in study.files:
        blob = (tmp_path / "study" / file).read_bytes()
        assert b"ours" not in blob and b"iCCP" not in blob


@pytest.mark.parametrize("other", [Image.new("RGB", (32, 32)), Image.new("RGB", (16, 20))])
def test_mixed_sizes_need_a_stated_side(tmp_path: Path, other: Image.Image) -> None:
    both = [Entry("a", "Colors", [picture(0, 0)], [other])]
    with pytest.raises(ValueError, match="in one study: state the side"):
        write_study(tmp_path, "drawbench", ("x", "y"), both, controls=0)
    assert not (tmp_path / "study.json").exists()
    study = write_study(tmp_path, "drawbench", ("x", "y"), both, controls=0, side=24)
    for file in study.files:
        with Image.open(tmp_path / file) as image:
            assert image.size == (24, 24)


def test_votes_are_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "votes.sqlite").touch()
    with pytest.raises(ValueError, match="holds votes on a study: choose another folder"):
        make_study(tmp_path)


def test_controls_need_two_texts(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="ask for none, controls=0"):
        write_study(tmp_path, "drawbench", ("x", "y"), entries(1))


def test_no_texts_no_study(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one text"):
        write_study(tmp_path, "drawbench", ("x", "y"), [])


WRONG: dict[str, tuple[Change, str]] = {
    "unknown key": (lambda s: s.update(colour=1), "colour: Extra inputs are not permitted"),
    "kind": (lambda s: s.update(kind="taste"), "kind: Input should be"),
    "format": (lambda s: s.update(format=2), "format: Input should be 1"),
    "title tells": (lambda s: s.update(title="Is OURS better?"), "tells the raters of ours"),
    "one name": (lambda s: s.update(models=["A", "a"]), "both models are called A"),
    "name": (lambda s: s.update(models=["a", "indifferent"]), "no model can be called"),
    "no items": (lambda s: s.update(items=[]), "items: Tuple should have at least 1 item"),
    "twice": (lambda s: s["items"][1].update(id="p0000"), "two items are called p0000"),
    "id": (lambda s: s["items"][1].update(id="a/b"), "items.1.id: String should match"),
    "nine": (lambda s: s["items"][0]["sets"][0].extend("abcdefg"), "at most 8 items"),
    "uneven": (lambda s: s["items"][0]["sets"][0].pop(), "p0000: the sets differ in size"),
    "answer": (lambda s: s["controls"][0].update(accept=["yes"]), "alignment has no answer 'yes'"),
    "other kind": (
        lambda s: s["controls"][0].update(question="realism"),
        "a drawbench study does not ask realism",
    ),
    "sets": (lambda s: s["controls"][0]["sets"].pop(), "alignment shows 2 sets"),
    "outside": (
        lambda s: s["items"][0]["sets"][0].__setitem__(0, "../secret.png"),
        "pictures must lie in the folder",
    ),
    "absolute": (
        lambda s: s["items"][0]["sets"][0].__setitem__(0, "/etc/passwd"),
        "pictures must lie in the folder",
    ),
    "lost": (
        lambda s: s["items"][0]["sets"][0].__setitem__(0, "pictures/x.png"),
        "lacks pictures/x.png",
    ),
    "no picture": (
        lambda s: s["items"][0]["sets"][0].__setitem__(0, "study.json"),
        "study.json is no picture",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_study_is_named(tmp_path: Path, wrong: str) -> None:
    make_study(tmp_path)
    how, message = WRONG[wrong]
    change(tmp_path, how)
    with pytest.raises(ValueError) as error:
        load_study(tmp_path)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_no_study_no_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has no study\.json: make one with"):
        load_study(tmp_path)
    (tmp_path / "study.json").write_text("{")
    with pytest.raises(ValueError, match="Invalid JSON"):
        load_study(tmp_path)


def test_a_realism_study_shows_one_picture_a_side(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="shows one picture a side"):
        write_study(tmp_path, "realism", ("ours", "real"), entries(2), controls=0)
