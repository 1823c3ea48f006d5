"""Prior preservation: every other picture is the model's own, drawn before it learns."""

import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from openimagen import model_folder
from openimagen.cascade import Cascade
from openimagen.config import Illustrations, Recipe
from openimagen.data.dataset import Batch
from openimagen.data.folder import read_folder
from openimagen.data.illustration_set import IllustrationSet
from openimagen.data.illustrations import read_illustrations
from openimagen.data.images import to_pil
from openimagen.data.picture_set import Alternating, PictureSet
from openimagen.recipes import override
from openimagen.text import CachedEncoder
from openimagen.train import loop, run
from openimagen.train.run import train
from openimagen.train.trainee import Trainee
from tests.data.corpus import write_corpus


@pytest.fixture(scope="module")
def first(recipe: Recipe, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(recipe, folder, tmp_path_factory.mktemp("prior") / "first", device="cpu")


@pytest.fixture
def plan(recipe: Recipe) -> Recipe:
    prior = '{"prompts": ["a red disc", "a blue square"], "pictures": 3}'
    return override(recipe, [f"train.sr32.prior={prior}"])


def test_the_model_draws_what_it_should_keep(
    plan: Recipe, first: Path, folder: Path, encoder: CachedEncoder, tmp_path: Path
) -> None:
    train(plan, folder, tmp_path / "run", stage="sr32", init=first, device="cpu")
    kept = read_folder(tmp_path / "run/prior/sr32").pairs
    assert [pair.captions for pair in kept] == [
        ("a red disc",),
        ("a blue square",),
        ("a red disc",),
    ]
    model = model_folder.load(first)
    model = Cascade(model.config, model.stages, encoder=encoder)
    for number, pair in enumerate(kept):
        drawn = to_pil(model.sample(list(pair.captions), [number], size=32)[-1][0])
        assert np.array_equal(np.asarray(Image.open(pair.path)), np.asarray(drawn))


def test_every_other_example_is_of_the_prior(folder: Path) -> None:
    own, others = PictureSet(read_folder(folder), 16), PictureSet(read_folder(folder), 16, seed=1)
    both = Alternating(own, others)
    for ticket in range(20):
        example = (own, others)[ticket % 2][ticket // 2]
        assert both[ticket].caption == example.caption
        assert (both[ticket].image == example.image).all()


@pytest.mark.parametrize("illustrated", [False, True])
def test_a_run_with_a_prior_is_measured_on_its_own_pictures(
    illustrated: bool, folder: Path, tmp_path: Path
) -> None:
    icons = read_illustrations(write_corpus(tmp_path / "icons")) if illustrated else []
    others = PictureSet(read_folder(folder), 16, seed=1)
    own, alone = (
        IllustrationSet(icons, Illustrations(scenes=0.0), 16)
        if illustrated
        else PictureSet(read_folder(folder), 16, hold_out=2)
        for _ in range(2)
    )
    both = Alternating(own, others)
    assert both.held_pictures == alone.held_pictures > 0
    for ours, theirs in ((both.first(6), alone.first(6)), (both.held_out(3), alone.held_out(3))):
        assert len(ours) == len(theirs) > 0
        for one, other in zip(ours, theirs, strict=True):
            assert one.caption == other.caption and torch.equal(one.image, other.image)


def test_shards_alternate_with_the_prior_too(
    recipe: Recipe, first: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tarfile.open(tmp_path / "0.tar", "w") as tar:
        for file in sorted(folder.iterdir()):
            tar.add(file, file.name)
    seen, true_step = list[str](), loop.train_step

    def step(trainee: Trainee, batch: Batch, *rest: object) -> tuple[float, float]:
        seen.extend(batch.captions)
        return true_step(trainee, batch, *rest)

    monkeypatch.setattr(loop, "train_step", step)
    plan = override(recipe, ['train.base.prior={"prompts": ["kept"], "pictures": 2}'])
    train(plan, tmp_path / "0.tar", tmp_path / "run", stage="base", init=first, device="cpu")
    assert len(seen) == 32 and {*seen[1::2]} == {"kept"} and "kept" not in seen[::2]


def test_a_run_killed_while_drawing_ends_as_one_that_was_not(
    plan: Recipe, first: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(plan, folder, tmp_path / "whole", stage="sr32", init=first, device="cpu")
    draw, drawn = Cascade.sample, []

    def dies(*args: object, **settings: object) -> object:
        drawn.append(args)
        if len(drawn) == 2:
            raise KeyboardInterrupt
        return draw(*args, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(Cascade, "sample", dies)
    with pytest.raises(KeyboardInterrupt):
        train(plan, folder, tmp_path / "cut", stage="sr32", init=first, device="cpu")
    again = train(plan, folder, tmp_path / "cut", stage="sr32", resume=True, device="cpu")
    assert len(drawn) == 4  # the first picture was kept
    hashes = [model_folder.read_model_file(out).weights["sr32"].sha256 for out in (whole, again)]
    assert hashes[0] == hashes[1]


def test_it_needs_a_model_that_can_draw(plan: Recipe, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"train\.sr32\.prior needs a trained model: give --init"):
        run.train(plan, folder, tmp_path / "run", stage="sr32", device="cpu")
