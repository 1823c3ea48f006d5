"""The commands that draw, edit and raise pictures, and the one that tells what a picture says."""

import json
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFilter
from typer.testing import CliRunner, Result

from openimagen import pictures
from openimagen.cli import app
from openimagen.door import Door, Safety
from openimagen.safety import watermark
from openimagen.safety.nudity import NudityFilter


def run(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words], prog_name="openimagen")


# --- drawing ------------------------------------------------------------------------------------


def test_every_flag_of_generate_reaches_the_drawing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[tuple[object, ...]] = []
    drawn = pictures.Drawn("fox-3.png", "fox", 3, 64, 64, "mine", 0.5, None, "strip.png")

    def draw(*request: object) -> list[pictures.Drawn]:
        asked.append(request[:4])
        return [drawn]

    monkeypatch.setattr(pictures, "draw", draw)
    words = ["generate", "fox", "cat", "--model", "mine", "-n", "2", "--seed", "3", "--size", "64"]
    words += ["--steps", "9,5", "--guidance", "2.5", "--negative", "grey", "--sampler", "heun"]
    words += ["--out", str(tmp_path), "--trace", "strip.png", "--device", "cpu", "--transparent"]
    words += ["--without", "picture-filter", "--without", "watermark", "--lists", "own.txt"]
    result = run(*words)
    request = pictures.Request(
        ["fox", "cat"], 2, 3, 64, [9, 5], [2.5], "grey", "heun", True, Path("strip.png")
    )
    safety = Safety(picture_filter=False, watermark=False, lists=(Path("own.txt"),))
    request = replace(request, safety=safety)
    assert asked == [("mine", request, tmp_path, "cpu")]
    assert result.stdout == "fox-3.png  64x64  seed 3\nstrip.png  trace\n"
    told = json.loads(run(*words, "--json").stdout)
    assert told == [
        vars(pictures.Drawn("fox-3.png", "fox", 3, 64, 64, "mine", 0.5, None, "strip.png"))
    ]


def test_a_withheld_picture_and_its_trace_are_told_of_and_not_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(NudityFilter, "score", lambda self, image: float(image.size == (64, 64)))
    monkeypatch.chdir(tmp_path)
    words = ["generate", "fox", "--size", 64, "--steps", 1, "--trace", "strip.png", "--out", "out"]
    result = run(*words)
    assert (result.exit_code, result.stdout) == (1, "")
    assert '"fox", seed 0: the picture filter found it indecent' in result.stderr
    assert "strip.png was not written: it would show what the picture filter w" in result.stderr
    assert [*tmp_path.rglob("*.png")] == []


# --- pictures from pictures -----------------------------------------------------------------------


@pytest.fixture
def apple(tmp_path: Path) -> Path:
    """A round red thing on white."""
    picture = Image.new("RGB", (64, 64), "white")
    ImageDraw.Draw(picture).ellipse((12, 12, 52, 52), fill=(220, 30, 40))
    picture.save(tmp_path / "apple.png")
    return tmp_path / "apple.png"


def test_upscale_raises_and_verify_reads_what_came_of_it(apple: Path, tmp_path: Path) -> None:
    raised = run("upscale", apple, "--size", 256, "--out", tmp_path / "large.png")
    assert (raised.exit_code, raised.stderr) == (0, "")
    assert raised.stdout == f"{tmp_path / 'large.png'}  256x256  seed 0\n"
    told = run("verify", tmp_path / "large.png")
    assert told.exit_code == 0
    assert "watermark: marked by openimagen (emoji): drawn or changed by it\n" in told.stdout
    assert "credentials: untrusted" in told.stdout and "edited by openimagen" in told.stdout
    facts = json.loads(run("verify", tmp_path / "large.png", "--json").stdout)
    assert facts["watermark"]["model"] == facts["credentials"]["model"] == "emoji"
    plain = run("verify", apple)
    assert plain.stdout.startswith("watermark: none found\ncredentials: none\n")


def test_verify_fails_for_what_was_changed(apple: Path, tmp_path: Path) -> None:
    run("upscale", apple, "--size", 256, "--out", tmp_path / "large.jpg")
    data = bytearray((tmp_path / "large.jpg").read_bytes())
    data[-200] ^= 1  # among the pixels
    (tmp_path / "changed.jpg").write_bytes(data)
    told = run("verify", tmp_path / "changed.jpg")
    assert told.exit_code == 1 and "credentials: tampered" in told.stdout
    assert "the picture was changed after it was signed" in told.stdout


@pytest.mark.parametrize("damage", ["a bit", "the half", "the beginning"])
def test_verify_says_tampered_of_a_signed_picture_that_cannot_be_decoded(
    apple: Path, tmp_path: Path, damage: str
) -> None:
    run("upscale", apple, "--size", 256, "--out", tmp_path / "large.png")
    data = bytearray((tmp_path / "large.png").read_bytes())
    pixels = data.index(b"IDAT") + 4  # how they are packed comes first
    at = {"a bit": pixels, "the half": 0, "the beginning": 20}[damage]  # the size
    data[at] ^= damage != "the half"
    changed = tmp_path / "changed.png"
    changed.write_bytes(data[: len(data) // 2] if damage == "the half" else data)
    told = run("verify", changed)
    assert (told.exit_code, told.stderr) == (1, "")
    assert "watermark: not looked for, as the picture cannot be decoded\n" in told.stdout
    assert "credentials: tampered\n" in told.stdout
    assert "the picture cannot be decoded: " in told.stdout
    facts = json.loads(run("verify", changed, "--json").stdout)
    assert (facts["watermark"], facts["credentials"]["status"]) == (None, "tampered")


def test_a_damaged_picture_that_was_not_signed_is_no_picture(apple: Path, tmp_path: Path) -> None:
    data = apple.read_bytes()
    (tmp_path / "cut.png").write_bytes(data[: len(data) // 2])
    told = run("verify", tmp_path / "cut.png")
    assert (told.exit_code, told.stdout) == (2, "") and told.stderr.count("\n") == 1


def test_verify_knows_the_mark_of_a_model_that_it_is_given(
    tiny_folder: Path, tmp_path: Path
) -> None:
    door = Door("tiny", Safety(picture_filter=False))
    picture = door.mark(Image.radial_gradient("L").convert("RGB"), 7)
    (tmp_path / "tiny.png").write_bytes(door.encode(picture, "png"))
    told = run("verify", tmp_path / "tiny.png")
    number = watermark.model_number("tiny")
    words = f"marked by openimagen (model number {number}, which is not known here): drawn or ch"
    assert words in told.stdout
    told = run("verify", tmp_path / "tiny.png", "--model", tiny_folder)
    assert "watermark: marked by openimagen (tiny): drawn or changed by it\n" in told.stdout
    wrong = run("verify", tmp_path / "tiny.png", "--model", tmp_path / "none")
    assert wrong.exit_code == 2 and wrong.stderr.count("\n") == 1


def test_edit_draws_inside_the_mask_alone(apple: Path, tmp_path: Path) -> None:
    mask = Image.new("RGBA", (64, 64), "black")
    mask.paste((0, 0, 0, 0), (0, 0, 32, 64))  # transparent: to be drawn
    mask.save(tmp_path / "mask.png")
    words = ["edit", apple, "star", "--mask", tmp_path / "mask.png", "--size", 64]
    result = run(*words, "--out", tmp_path / "out.png", "--without", "watermark")
    assert result.exit_code == 0, result.stderr
    ours, theirs = (np.asarray(Image.open(path)) for path in (tmp_path / "out.png", apple))
    assert (ours[:, 32:] == theirs[:, 32:]).all() and (ours[:, :32] != theirs[:, :32]).any()


def test_known_pixels_are_exact_but_for_the_watermark(tmp_path: Path) -> None:
    """At 256 pixels with the whole door on: six levels at most, and that it is the mark's."""
    picture = Image.effect_noise((256, 256), 60).convert("RGB").filter(ImageFilter.BoxBlur(3))
    picture.save(tmp_path / "photo.png")
    mask = Image.new("L", (256, 256), 0)
    mask.paste(255, (0, 0, 128, 256))  # white: to be drawn
    mask.save(tmp_path / "mask.png")
    words = ["edit", tmp_path / "photo.png", "star", "--mask", tmp_path / "mask.png"]
    words += ["--size", 256, "--steps", 1, "--out"]
    assert run(*words, tmp_path / "marked.png").exit_code == 0
    assert run(*words, tmp_path / "plain.png", "--without", "watermark").exit_code == 0
    names = ("photo", "marked", "plain")
    photo, marked, plain = (
        np.asarray(Image.open(tmp_path / f"{n}.png")).astype(int) for n in names
    )
    assert (plain[:, 128:] == photo[:, 128:]).all() and (plain[:, :128] != photo[:, :128]).any()
    assert 0 < abs(marked - photo)[:, 128:].max() <= 6
    assert abs(marked - plain).max() <= 6
    assert "marked by openimagen (emoji)" in run("verify", tmp_path / "marked.png").stdout


def test_a_variation_is_named_after_its_picture(apple: Path, tmp_path: Path) -> None:
    result = run("edit", apple, "--size", 64, "-n", 2, "--strength", 0.8, "--out", tmp_path / "o")
    assert result.exit_code == 0, result.stderr
    assert {path.name for path in (tmp_path / "o").iterdir()} == {
        "apple-edited-0.png",
        "apple-edited-1.png",
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["edit", "none.png", "fox"], "none.png"),
        (["edit", "APPLE", "fox", "--strength", "2"], "strength is 2.0"),
        (["edit", "APPLE", "fox", "--mask", "APPLE", "--size", "100"], "size 100 is no stage"),
        (["upscale", "APPLE", "--size", "64"], "has a side of 64 already"),
        (["verify", "none.png"], "none.png"),
        (["generate", "fox", "--without", "the-door"], "--without the-door: there is"),
        (["generate", "fox", "--lists", "none.txt"], "none.txt"),
        (["generate", "a nude woman"], ""),
        (["generate", "fox", "--negative", "a nude woman", "--guidance", "0"], "give 1 or more"),
    ],
)
def test_what_is_wrong_with_pictures_is_said_in_one_line(
    apple: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*[str(apple) if word == "APPLE" else word for word in words])
    assert result.exit_code == 2 and message in result.stderr
    assert result.stderr.count("\n") == 1 and result.stdout == ""
    assert {path.name for path in tmp_path.iterdir()} == {"apple.png"}


# --- no memory ------------------------------------------------------------------------------------


def test_no_memory_left_is_one_line_and_status_1(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch's own words for it, of a CPU by asking it for too much; other errors are faults."""
    gpu = "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 79 GiB."
    with pytest.raises(RuntimeError) as cpu:
        torch.empty(2**50)
    for error, wanted in (
        (torch.OutOfMemoryError(gpu), "2.50 GiB"),
        (cpu.value, f"{4 * 2**50} bytes"),
    ):
        monkeypatch.setattr(pictures, "draw", Mock(side_effect=error))
        result = run("generate", "a fox")
        assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
        assert f"out of memory, {wanted} more were wanted: " in result.stderr
    monkeypatch.setattr(pictures, "draw", Mock(side_effect=RuntimeError("a fault")))
    assert isinstance(run("generate", "a fox").exception, RuntimeError)
