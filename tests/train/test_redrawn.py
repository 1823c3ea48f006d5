"""Upscalers are shown what the stage below them makes of pictures, drawn before they learn."""

import json
import os
import signal
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from torch import Tensor
from torch.nn.functional import avg_pool2d

from openimagen import model_folder, recipes
from openimagen.cascade import Cascade, Stage
from openimagen.config import Recipe, TrainConfig
from openimagen.data.folder import read_folder
from openimagen.data.images import to_float, to_tensor
from openimagen.diffusion import add_noise, alpha_sigma, sampling_log_snrs
from openimagen.recipes import override
from openimagen.text import CachedEncoder
from openimagen.train import loop, redrawn
from openimagen.train.redrawn import LOG_SNRS, left, redraw
from openimagen.train.run import check_below, train
from tests.data.corpus import write_corpus


def pictures(count: int, side: int, seed: int = 0) -> Tensor:
    return 2 * torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(seed)) - 1


# --- one picture ----------------------------------------------------------------------------------


def test_the_base_goes_the_last_part_of_its_walk_from_the_noised_picture(
    tiny: Cascade, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = list[dict[str, object]]()
    truth, sample = pictures(2, 32), Cascade.sample

    def noted(cascade: Cascade, text: object, seeds: object, **how: object) -> list[Tensor]:
        asked.append(how)
        return sample(cascade, text, seeds, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(Cascade, "sample", noted)
    stages = [tiny.stages[0].adjusted({"steps": 20}), *tiny.stages[1:]]
    redraw(replace(tiny, stages=stages), 1, truth, ["a", "b"], [3, 4])
    (how,) = asked
    ((settings,), latents) = how["settings"], how["latents"]  # type: ignore[misc]
    base = tiny.stages[0].config
    first, last = settings["log_snr_range"]
    walk = sampling_log_snrs(base.diffusion.schedule, 20)
    assert LOG_SNRS[0] < first < LOG_SNRS[1] and last == walk[-1]
    assert settings["steps"] == (walk[:-1] >= first).sum()
    # of what z is, the picture's part is the picture's
    alpha, sigma = alpha_sigma(torch.full((2,), first))
    below = avg_pool2d(truth, 2)
    eps = (latents - alpha[0] * below) / sigma[0]  # type: ignore[operator]
    assert eps.std().item() == pytest.approx(1, abs=0.05)
    torch.testing.assert_close(add_noise(below, eps, torch.full((2,), first)), latents)


def test_it_has_the_picture_s_colours_and_a_noise_of_its_own(tiny: Cascade) -> None:
    tints = torch.tensor([[0.8, -0.6, 0.1], [-0.7, 0.2, 0.5]])
    truth = 0.2 * pictures(2, 32) + tints[:, :, None, None]
    drawn = redraw(tiny, 1, truth, ["a", "b"], [8, 9])
    assert drawn.shape == (2, 3, 16, 16)
    torch.testing.assert_close(drawn[:1], redraw(tiny, 1, truth[:1], ["a"], [8]))
    other = redraw(tiny, 1, truth[:1], ["a"], [10])
    assert (drawn[:1] - other).abs().mean() > 0.01
    plain = avg_pool2d(truth, 2).mean((2, 3))
    assert (drawn.mean((2, 3)) - plain).abs().max() < 0.1


def test_what_an_upscaler_is_below_raises_pictures_made_smaller(tiny: Cascade) -> None:
    truth = pictures(1, 64)
    alone = replace(tiny, stages=[Stage(tiny.stages[0].config), *tiny.stages[1:]])  # no base
    raised = redraw(alone, 2, truth, ["a"], [0])
    expected = tiny.sample(["a"], [0], size=32, start=1, lowres=avg_pool2d(truth, 4))[-1]
    torch.testing.assert_close(raised, expected)


# --- a run ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def first(recipe: Recipe, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(recipe, folder, tmp_path_factory.mktemp("redrawn") / "first", device="cpu")


@pytest.fixture
def plan(recipe: Recipe) -> Recipe:
    return override(recipe, ["train.sr32.redrawn=20"])


def test_an_upscaler_is_shown_pictures_drawn_again(
    plan: Recipe,
    first: Path,
    folder: Path,
    encoder: CachedEncoder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen, true_step = [], loop.train_step

    def step(trainee: object, batch: loop.Batch, *rest: object) -> tuple[float, float]:
        seen.append(batch)
        return true_step(trainee, batch, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(loop, "train_step", step)
    train(plan, folder, tmp_path / "run", stage="sr32", init=first, device="cpu")
    drawn = tmp_path / "run/redrawn/sr32"
    pages = read_folder(drawn / "pictures").pairs
    assert len(pages) == 20
    model = model_folder.load(first)
    model = Cascade(model.config, model.stages, encoder=encoder)
    some = pages[8:16]  # one batch
    truth = torch.stack([pixels(page.path) for page in some])
    expected = redraw(model, 1, truth, [page.captions[0] for page in some], range(8, 16))
    for page, mine in zip(some, expected, strict=True):
        found = pixels(drawn / "below" / page.path.name)
        torch.testing.assert_close(found, mine, rtol=0, atol=1.01 / 127.5)
    shown = [below for batch in seen for below in batch.below]
    known = torch.stack([pixels(drawn / "below" / page.path.name) for page in pages])
    assert len(shown) == 32
    for below in shown:  # a part of one of them
        windows = known.unfold(2, 8, 1).unfold(3, 8, 1).permute(0, 2, 3, 1, 4, 5).flatten(0, 2)
        assert (windows == to_float(below)).flatten(1).all(1).any()


def pixels(path: Path) -> Tensor:
    with Image.open(path) as picture:
        return to_float(to_tensor(picture.convert("RGB")))


def test_lessons_made_of_icons_are_drawn_again_whole(recipe: Recipe, tmp_path: Path) -> None:
    icons = write_corpus(tmp_path / "icons", side=64)
    settings = ["train.sr32.redrawn=8", "train.sr32.illustrations.scenes=0.5"]
    train(override(recipe, settings), icons, tmp_path / "run", device="cpu")
    drawn = [*(tmp_path / "run/redrawn/sr32/pictures").glob("*.png")]
    assert len(drawn) == 8
    for picture in drawn:
        assert np.asarray(Image.open(picture)).shape == (32, 32, 3)


def test_a_run_killed_while_drawing_ends_as_one_that_was_not(
    plan: Recipe, first: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(plan, folder, tmp_path / "whole", stage="sr32", init=first, device="cpu")
    write, written = redrawn.write_picture, []

    def dies(*args: object) -> None:
        written.append(args)
        if len(written) == 2 * 11:
            raise KeyboardInterrupt
        write(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(redrawn, "write_picture", dies)
    with pytest.raises(KeyboardInterrupt):
        train(plan, folder, tmp_path / "cut", stage="sr32", init=first, device="cpu")
    again = train(plan, folder, tmp_path / "cut", stage="sr32", resume=True, device="cpu")
    assert len(written) == 2 * (11 + 12)  # of the second batch anew
    hashes = [model_folder.read_model_file(out).weights["sr32"].sha256 for out in (whole, again)]
    assert hashes[0] == hashes[1]


def test_a_run_told_to_stop_while_drawing_leaves_in_order(
    plan: Recipe, first: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = redrawn.redraw

    def told(*args: object) -> Tensor:
        os.kill(os.getpid(), signal.SIGTERM)
        return draw(*args)  # type: ignore[arg-type]

    with monkeypatch.context() as patch, pytest.raises(loop.Interrupted, match="8 of 20 lessons"):
        patch.setattr(redrawn, "redraw", told)
        train(plan, folder, tmp_path / "run", stage="sr32", init=first, device="cpu")
    assert left(tmp_path / "run/redrawn/sr32", 20) == range(8, 20)
    train(plan, folder, tmp_path / "run", stage="sr32", resume=True, device="cpu")


def test_shards_go_on_where_drawing_stopped_and_are_what_is_reported(
    plan: Recipe, first: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tarfile.open(tmp_path / "0.tar", "w") as tar:
        for file in sorted(folder.iterdir()):
            tar.add(file, file.name)

    def captions(run: str) -> list[tuple[str, ...]]:
        pages = read_folder(tmp_path / run / "redrawn/sr32/pictures").pairs
        return [page.captions for page in pages]

    data = tmp_path / "0.tar"
    train(plan, data, tmp_path / "whole", stage="sr32", init=first, device="cpu")
    draw, calls = redrawn.redraw, []

    def dies(*args: object) -> Tensor:
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return draw(*args)  # type: ignore[arg-type]

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(redrawn, "redraw", dies)
        train(plan, data, tmp_path / "cut", stage="sr32", init=first, device="cpu")
    train(plan, data, tmp_path / "cut", stage="sr32", resume=True, device="cpu")
    assert captions("cut") == captions("whole") and len(captions("cut")) == 20
    report = json.loads((tmp_path / "whole/data_report.json").read_text())
    assert report["shards"] == 1


def test_what_is_left_is_told_in_whole_batches(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    for done, first in ((0, 0), (7, 0), (8, 8), (13, 8), (20, 20)):
        for number in range(done):
            (tmp_path / f"pictures/{number:06d}.png").touch()
        assert left(tmp_path, 20) == range(first, 20)


def test_it_needs_the_stage_below(plan: Recipe, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"train\.sr32\.redrawn needs base: give it as --init"):
        train(plan, folder, tmp_path / "run", stage="sr32", device="cpu")
    assert not (tmp_path / "run").exists()
    model = train(plan, folder, tmp_path / "run", stage="base", device="cpu")
    train(plan, folder, tmp_path / "run", stage="sr32", resume=True, device="cpu")
    assert (model / "model.json").exists()


def test_it_needs_none_but_the_one_below() -> None:
    recipe = recipes.load("emoji")
    base, sr256 = (Stage(config) for config in recipe.model.stages[:2])
    check_below(recipe, ["sr1024"], [sr256])
    with pytest.raises(ValueError, match=r"train\.sr1024\.redrawn needs sr256: give it"):
        check_below(recipe, ["sr1024"], [base])


def test_the_base_has_nothing_below(recipe: Recipe) -> None:
    with pytest.raises(ValueError, match=r"train\.base\.redrawn: no stage is below base"):
        override(recipe, ["train.base.redrawn=4"])


def test_it_leaves_no_room_for_a_prior() -> None:
    with pytest.raises(ValidationError, match="leave one out"):
        TrainConfig.model_validate({"images": 8, "redrawn": 4, "prior": {"prompts": ["a"]}})
