"""The bias probe on pictures of known tones, and through the command."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from openimagen.cascade import Cascade
from openimagen.cli import app
from openimagen.evaluate.bias import Bias, built_in, probe
from openimagen.evaluate.bias_sheet import bias_sheet
from openimagen.evaluate.drawing import Drawing, Model
from openimagen.evaluate.prompts import Prompt
from openimagen.evaluate.skin import MONK

YELLOW = "ffc83d"
COOK, JUDGE = Prompt("a cook", "profession"), Prompt("a judge", "profession")
PROMPTS = [COOK, JUDGE, Prompt("a cat", "other")]


def figure(colour: str) -> Image.Image:
    image = Image.new("RGB", (64, 64), "white")
    ImageDraw.Draw(image).ellipse((8, 8, 56, 56), f"#{colour}")
    return image


def probed(tiny: Cascade, folder: Path, colours: Sequence[str]) -> tuple[Bias, Drawing]:
    """Four pictures of each prompt, as if they had been drawn before."""
    model = Model("tiny", "1234", tiny)
    drawing = Drawing(model, PROMPTS, folder / "pictures", samples=4)
    drawing.prepare()
    for number, colour in enumerate(colours):
        figure(colour).save(drawing.file(number))
    return probe(model, folder, PROMPTS, seeds=4)


def test_tones_are_told_by_prompt_and_by_category(tiny: Cascade, tmp_path: Path) -> None:
    light, dark = MONK[1], MONK[7]
    bias, _ = probed(tiny, tmp_path, [*4 * [light], *4 * [dark], *4 * [YELLOW]])
    cook, judge, cat = bias.prompts
    assert cook.tone == pytest.approx((2, 2, 2), abs=0.3)
    assert judge.tone == pytest.approx((8, 8, 8), abs=0.3)
    assert cook.tones == (0, 4, 0, 0, 0, 0, 0, 0, 0, 0)
    assert (cat.with_skin, cat.pictures, cat.tone) == (0, 4, None)
    assert cook.lightness[0] > judge.lightness[0] + 20
    profession, other = bias.categories
    assert profession.tone is not None
    assert profession.tone[0] == pytest.approx(5, abs=0.3)
    assert other.tone is None


def test_a_category_varies_with_its_prompts_not_with_their_pictures(
    tiny: Cascade, tmp_path: Path
) -> None:
    """Two prompts, each always alike: that is two observations, however many pictures."""
    bias, _ = probed(tiny, tmp_path, [*4 * [MONK[1]], *4 * [MONK[7]], *4 * [YELLOW]])
    tone = bias.categories[0].tone
    assert tone is not None
    assert tone[1:] == pytest.approx((2, 8), abs=0.3)


def test_interval_of_a_prompt_covers_its_pictures(tiny: Cascade, tmp_path: Path) -> None:
    mixed = [MONK[1], MONK[1], MONK[7], MONK[7]]
    bias, _ = probed(tiny, tmp_path, [*mixed, *mixed, *mixed])
    tone = bias.prompts[0].tone
    assert tone is not None
    assert 2 <= tone[1] < 4 < tone[0] < 6 < tone[2] <= 8.3


def test_sheet_has_a_bar_for_every_tone_that_came_up(tiny: Cascade, tmp_path: Path) -> None:
    all_light, mixed = 4 * [MONK[1]], [MONK[1], MONK[1], MONK[7], MONK[7]]
    bias, drawing = probed(tiny, tmp_path, [*all_light, *mixed, *4 * [YELLOW]])
    sheet = bias_sheet(bias, drawing)
    blue = (70, 90, 120)
    row = sheet.height // len(PROMPTS)
    strips = [sheet.crop((0, n * row, sheet.width, (n + 1) * row)) for n in range(len(PROMPTS))]
    full, halves, none = (list(strip.get_flattened_data()).count(blue) for strip in strips)
    assert full > 0
    assert halves == pytest.approx(full, rel=0.1)
    assert none == 0


def test_one_text_in_two_categories_has_a_row_of_its_own_in_each(
    tiny: Cascade, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    twice = [Prompt("a cook", "profession"), Prompt("a cook", "place")]
    monkeypatch.setitem(globals(), "PROMPTS", twice)
    bias, drawing = probed(tiny, tmp_path, [*4 * [MONK[1]], *4 * [YELLOW]])
    sheet = bias_sheet(bias, drawing)
    row = sheet.height // len(twice)
    light, none = (sheet.crop((0, n * row, sheet.width, (n + 1) * row)) for n in range(len(twice)))
    counts = [list(strip.get_flattened_data()).count((70, 90, 120)) for strip in (light, none)]
    assert counts[0] > 0 and counts[1] == 0


def test_one_seed_is_refused(tiny: Cascade, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="1 seed a prompt shows no spread: give at least 2"):
        probe(Model("tiny", "1234", tiny), tmp_path, PROMPTS, seeds=1)


def test_built_in_prompts_are_people() -> None:
    prompts = built_in()
    assert len({prompt.text for prompt in prompts}) == len(prompts) == 31
    assert {prompt.category for prompt in prompts} == {"person", "profession", "adjective"}
    assert "an engineer" in [prompt.text for prompt in prompts]


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        app([str(word) for word in words])
    return int(ended.value.code or 0)


def test_command_writes_sheet_and_table_and_draws_once(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts, out = tmp_path / "people.csv", tmp_path / "bias"
    prompts.write_text("prompt,category\na cook,profession\na kind person,adjective\n")
    words = ["evaluate", "bias", tiny_folder, "--out", out, "--prompts", prompts, "--seeds", 2]
    assert run(*words, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in found["prompts"]] == ["a cook", "a kind person"]
    assert json.loads((out / "bias.json").read_text()) == found
    assert Image.open(out / "bias.png").height > 100
    pictures = sorted((out / "pictures").glob("*.png"))
    times = [picture.stat().st_mtime_ns for picture in pictures]
    assert run(*words) == 0
    assert "all: profession" in capsys.readouterr().out
    assert [picture.stat().st_mtime_ns for picture in pictures] == times
