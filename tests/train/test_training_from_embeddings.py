"""Training with captions embedded ahead of time: the same run, and the encoder is never loaded."""

import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest

from openimagen import model_folder
from openimagen.config import Recipe, TextConfig
from openimagen.embed import embed
from openimagen.embeddings import prompts_of
from openimagen.recipes import override
from openimagen.text import TextEncoder
from openimagen.train.run import train


def results(out: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """The curve of a run and the hashes of its weights."""
    lines = [*map(json.loads, (out / "log.jsonl").read_text().splitlines())]
    curve = [{key: line[key] for key in ("stage", "images", "loss", "gradient")} for line in lines]
    weights = model_folder.read_model_file(out / "export").weights
    return curve, [file.sha256 for file in weights.values()]


@pytest.fixture
def data(folder: Path, tmp_path: Path) -> Path:
    """The pictures, to put embeddings beside."""
    return Path(shutil.copytree(folder, tmp_path / "data"))


@pytest.fixture
def text(recipe: Recipe) -> TextConfig:
    """The encoder of the recipe, whose stand-in takes 8 tokens."""
    return recipe.model.text


def test_it_is_the_same_run_to_the_bit(
    recipe: Recipe, data: Path, text: TextConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(recipe, data, tmp_path / "loaded", device="cpu")
    embed(data, text)
    monkeypatch.delattr(TextEncoder, "load")
    train(recipe, data, tmp_path / "embedded", device="cpu")
    assert results(tmp_path / "embedded") == results(tmp_path / "loaded")


def test_captions_that_are_not_there_are_refused_and_nothing_is_written(
    recipe: Recipe, data: Path, text: TextConfig, tmp_path: Path
) -> None:
    embed(data, text)
    (data / "red-disc.txt").write_text("a scarlet disc")
    (data / "blue-disc.txt").write_text("an azure disc")
    with pytest.raises(ValueError, match=r"lacks 2 of 6 captions, as .*: run `openimagen data emb"):
        train(recipe, data, tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()
    other = override(recipe, ["model.text.encoder=t5-small"])
    with pytest.raises(ValueError, match=r"encoder minilm:8, the recipe's is t5-small:64: run `"):
        train(other, data, tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


def test_the_recipe_s_own_prompts_are_embedded_too(
    recipe: Recipe, data: Path, text: TextConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = train(recipe, data, tmp_path / "first", device="cpu")
    prior = '{"prompts": ["a red thing"], "pictures": 2}'
    plan = override(recipe, [f"train.sr32.prior={prior}"])
    plan = override(plan, ['train.base.preview_prompts=["a green thing"]'])
    assert prompts_of(plan, plan.train) == ["a green thing", "a red thing"]
    embed(data, text)
    with pytest.raises(
        ValueError, match=r'as "a green thing": run `openimagen data embed .* --rec'
    ):
        train(plan, data, tmp_path / "run", init=first, device="cpu")
    with pytest.raises(ValueError, match='lacks 1 of 7 captions, as "a red thing"'):
        train(plan, data, tmp_path / "run", stage="sr32", init=first, device="cpu")
    embed(data, text, prompts_of(plan, plan.train))
    monkeypatch.delattr(TextEncoder, "load")
    train(plan, data, tmp_path / "run", init=first, device="cpu")
    assert len([*(tmp_path / "run/prior/sr32").glob("*.png")]) == 2


def test_shards_are_held_to_it_as_they_come(
    recipe: Recipe, data: Path, text: TextConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards, files = tmp_path / "shards", sorted(data.iterdir())
    shards.mkdir()
    with tarfile.open(shards / "00000.tar", "w") as tar:
        for file in files[:8]:
            tar.add(file, file.name)
    embed(shards, text)
    with tarfile.open(shards / "00001.tar", "w") as tar:
        for file in files[8:]:
            tar.add(file, file.name)
    load = TextEncoder.load
    monkeypatch.delattr(TextEncoder, "load")
    with pytest.raises(ValueError, match=r'captions, as "a red [a-z]+": run `openimagen data') as e:
        train(recipe, shards, tmp_path / "run", device="cpu", workers=0)
    assert "\n" not in str(e.value)
    monkeypatch.setattr(TextEncoder, "load", load, raising=False)
    assert embed(shards, text).encoded == 2
    monkeypatch.delattr(TextEncoder, "load")
    train(recipe, shards, tmp_path / "run", device="cpu", workers=0, resume=True)
    model_folder.load(tmp_path / "run/export")
