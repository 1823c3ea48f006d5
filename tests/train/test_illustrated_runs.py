"""Runs whose examples are composed of icons."""

import json
from pathlib import Path

import pytest
from PIL import Image

from openimagen.config import Recipe
from openimagen.data.illustrations import read_illustrations
from openimagen.recipes import override
from openimagen.train.run import train
from tests.data.corpus import write_corpus


@pytest.fixture(scope="module")
def icons(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("icons"), side=64)


@pytest.fixture
def illustrated(recipe: Recipe) -> Recipe:
    return override(recipe, ["train.base.illustrations.scenes=0.5"])


def test_a_run_goes_on_to_the_bit_and_reports_its_icons(
    illustrated: Recipe, icons: Path, tmp_path: Path
) -> None:
    def losses(out: Path) -> list[float]:
        lines = map(json.loads, (out / "log.jsonl").read_text().splitlines())
        return [line["loss"] for line in lines if line["stage"] == "base" and line["images"] > 12]

    train(illustrated, icons, tmp_path / "whole", stage="base", device="cpu")
    first = override(illustrated, ["train.base.images=12", "train.base.cooldown=0"])
    rest = override(illustrated, ["train.base.cooldown=0"])
    train(first, icons, tmp_path / "parts", stage="base", device="cpu")
    killed = tmp_path / "parts/.config.json.0a1b2c3d.partial"
    killed.touch()
    train(rest, icons, tmp_path / "parts", stage="base", device="cpu", resume=True)
    assert not killed.exists()
    train(rest, icons, tmp_path / "at-once", stage="base", device="cpu")
    assert losses(tmp_path / "parts") == losses(tmp_path / "at-once")
    report = json.loads((tmp_path / "whole/data_report.json").read_text())
    unseen = sum(icon.is_unseen for icon in read_illustrations(icons))
    assert (report["pictures"], report["held_out"]) == (126 - unseen, unseen) and unseen > 0
    assert report["skipped"] == 0


def test_icons_too_small_for_a_stage_are_said_and_are_not_other_data(
    illustrated: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    icons = write_corpus(tmp_path / "icons")
    small = list((icons / "noto").glob("*.png"))
    for path in small:
        Image.open(path).resize((16, 16)).save(path)
    both = override(illustrated, ["train.sr32.illustrations.scenes=0.5"])
    train(both, icons, tmp_path / "run", device="cpu")
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("data")]
    assert len(said) == 2 and said[1].endswith(f", {len(small)} too small left out")


def test_pictures_that_are_no_icons_are_refused(
    illustrated: Recipe, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="has no icons: make them with `openimagen data icons"):
        train(illustrated, folder, tmp_path / "run", stage="base", device="cpu")
    assert not (tmp_path / "run").exists()
