"""A whole run: what it refuses, what it leaves behind, and that killing it changes nothing."""

import json
import os
import shutil
import signal
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from left import weights_in
from PIL import Image

from openimagen import model_folder
from openimagen.cascade import Cascade
from openimagen.config import Recipe
from openimagen.data.dataset import Batch, PictureSet
from openimagen.data.folder import read_folder
from openimagen.data.sheet import GAP, SIDE
from openimagen.recipes import override
from openimagen.text import TextEncoder
from openimagen.train import loop
from openimagen.train.loop import Interrupted
from openimagen.train.run import check_room, make_trainee, train
from openimagen.train.trainee import Trainee


def curve(out: Path) -> list[tuple[Any, ...]]:
    lines = [*map(json.loads, (out / "log.jsonl").read_text().splitlines())]
    figures = [line for line in lines if "note" not in line]
    return [(line["stage"], line["images"], line["loss"], line["gradient"]) for line in figures]


@pytest.fixture
def done(finished: Path, tmp_path: Path) -> Path:
    """The same, to go on with."""
    return Path(shutil.copytree(finished, tmp_path / "done"))


# --- what it leaves behind ------------------------------------------------------------------------


def test_a_run_on_disk(finished: Path, recipe: Recipe) -> None:
    assert Recipe.model_validate_json((finished / "config.json").read_text()) == recipe
    names = sorted(path.name for path in (finished / "previews").iterdir())
    assert names == [
        f"{stage}-{name}.png" for stage in ("base", "sr32") for name in ("0000000032", "batch")
    ]
    for stage in ("base", "sr32"):
        kept = sorted(int(path.name) for path in (finished / "checkpoints" / stage).iterdir())
        assert kept == [12, 24, 32]
        assert [*(finished / "events" / stage).iterdir()]
    assert {stage for stage, *_ in curve(finished)} == {"base", "sr32"}
    assert not [*finished.rglob("*partial*")]


def test_the_precision_is_what_the_device_has(
    recipe: Recipe, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = override(recipe, ["train.base.precision=auto", "train.base.images=4"])
    for able in (True, False):
        monkeypatch.setattr("torch.cpu.get_capabilities", lambda able=able: {"avx512_bf16": able})
        train(recipe, folder, tmp_path / str(able), stage="base", device="cpu")
        written = Recipe.model_validate_json((tmp_path / str(able) / "config.json").read_text())
        assert written.train["base"].precision == ("bfloat16" if able else "float32")
        assert written.train["sr32"].precision == "float32"  # as the recipe says
    with pytest.raises(ValueError, match="precision was bfloat16, is float32"):
        train(recipe, folder, tmp_path / "True", stage="base", device="cpu", resume=True)


def test_a_network_for_another_encoder_is_refused(
    recipe: Recipe, folder: Path, tmp_path: Path
) -> None:
    recipe = override(recipe, ["model.stages.base.unet.text_width=100"])
    with pytest.raises(ValueError, match="text_width is 100: minilm gives 12"):
        train(recipe, folder, tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


def test_the_export_is_the_average_and_draws(
    finished: Path, recipe: Recipe, words: TextEncoder
) -> None:
    cascade = model_folder.load(finished / "export")
    ema = make_trainee(recipe, "base", finished, torch.device("cpu")).ema.net.state_dict()
    for name, weight in cascade.stages[0].trained().state_dict().items():
        assert torch.equal(weight, ema[name])
    cascade = Cascade(cascade.config, cascade.stages, encoder=words)
    small, large = cascade.sample(["a red disc", "a blue square"], [1, 2])
    assert (small.shape, large.shape) == ((2, 3, 16, 16), (2, 3, 32, 32))
    assert small.std() > 0.05 and torch.isfinite(large).all()


def test_broken_and_uncaptioned_pictures_are_named(
    recipe: Recipe, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for file in folder.iterdir():
        (data / file.name).write_bytes(file.read_bytes())
    (data / "red-disc.png").write_bytes(b"broken")
    (data / "blue-disc.txt").unlink()
    train(recipe, data, tmp_path / "run", stage="base", device="cpu")
    report = json.loads((tmp_path / "run/data_report.json").read_text())
    assert (report["path"], report["pictures"], report["captions"]) == (str(data), 4, 4)
    assert (report["format"], report["skipped"]) == ("folder", 2)
    assert report["reasons"] == {"no caption": 1, "no picture of a kind that is read": 1}
    assert {name: why[:10] for name, why in report["named"].items()} == {
        "blue-disc.png": "no caption",
        "red-disc.png": "no picture",
    }
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("data")]
    assert len(said) == 1 and said[0].startswith("data: 4 pictures, 4 captions; 2 skipped, see")


def test_a_run_that_goes_on_with_other_pictures_says_so(
    done: Path, recipe: Recipe, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    (other / "red-disc.png").unlink()
    (other / "red-disc.txt").unlink()
    longer = override(recipe, ["train.base.images=36"])
    train(longer, other, done, stage="base", resume=True, device="cpu")
    assert f"data: 5 pictures, 5 captions; the run had path {folder}, found 6\n" in (
        capsys.readouterr().err
    )


@pytest.fixture(scope="module")
def shards(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same pictures in two tar shards, the second cut in its last picture but one."""
    root = tmp_path_factory.mktemp("shards")
    files = sorted(folder.iterdir())
    for number in range(2):
        with tarfile.open(root / f"{number:05}.tar", "w") as tar:
            for file in files[6 * number : 6 * number + 6]:
                tar.add(file, file.name)
    with tarfile.open(root / "00001.tar") as tar:
        cut = tar.getmembers()[2].offset_data + 100
    with (root / "00001.tar").open("r+b") as last:
        last.truncate(cut)
    return root


def test_shards_are_trained_on_and_what_is_broken_is_named(
    recipe: Recipe, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    train(recipe, shards, out, device="cpu", workers=1)
    assert {line[:2] for line in curve(out)} >= {("base", 32), ("sr32", 32)}
    assert json.loads((out / "data_report.json").read_text()) == {
        "path": str(shards),
        "format": "tar",
        "shards": 2,
        "skipped": 1,
        "reasons": {"damaged after # samples": 1},
        "named": {"00001.tar": "damaged after 1 samples: the rest is missing"},
    }
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("data")]
    skipped = f"data: 2 shards, tar; 1 skipped, see {out}/data_report.json"
    assert said == ["data: 2 shards, tar", skipped]


def test_the_report_is_written_before_a_run_stops(
    recipe: Recipe, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> tuple[float, float]:
        os.kill(os.getpid(), signal.SIGTERM)
        return true_step(*_)

    true_step = loop.train_step
    monkeypatch.setattr(loop, "train_step", stop)
    with pytest.raises(Interrupted):
        train(recipe, shards, tmp_path / "run", device="cpu", workers=0)
    assert json.loads((tmp_path / "run/data_report.json").read_text())["skipped"] == 1


def test_a_run_that_will_not_fit_is_refused_before_anything_is_written(
    recipe: Recipe, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openimagen.train.run.free_memory", lambda device: 66 * 2**20)
    with pytest.raises(ValueError, match=r"base: 0\.1M.*, but 66 MiB are free: --set"):
        train(recipe, folder, tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


def test_every_stage_needs_room_beside_the_other_processes_of_its_machine(
    recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    free, cpu = 100 * 2**20, torch.device("cpu")
    monkeypatch.setattr("openimagen.train.run.free_memory", lambda device: free)
    names, large = ["base", "sr32"], override(recipe, ["train.sr32.batch=4000"])
    check_room(recipe, names, cpu)
    check_room(large, ["base"], cpu)
    with pytest.raises(ValueError, match=r"sr32: .*, but 100 MiB are free"):
        check_room(large, names, cpu)
    monkeypatch.setattr("openimagen.train.parallel.local_ranks", lambda: 4)
    with pytest.raises(ValueError, match=r"base: .*, but 25 MiB are free"):
        check_room(recipe, names, cpu)


def test_held_out_pictures_are_counted_and_measured_on(
    recipe: Recipe, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, out = override(recipe, ["train.base.hold_out=3"]), tmp_path / "run"
    train(recipe, folder, out, stage="base", device="cpu")
    report = json.loads((out / "data_report.json").read_text())
    assert (report["pictures"], report["held_out"]) == (4, 2)
    assert "data: 4 pictures, 4 captions, 2 pictures held out\n" in capsys.readouterr().err
    last = json.loads((out / "log.jsonl").read_text().splitlines()[-1])
    assert last["images"] == 32 and last["loss_held_out"] > 0
    for key in ("loss_seen", "loss_seen_no_text", "loss_held_out_no_text", "loss_noise_4_of_4"):
        assert last[key] > 0
    assert last["seconds_left"] == 0


def test_the_first_batch_is_shown_as_the_network_sees_it(
    finished: Path, recipe: Recipe, folder: Path
) -> None:
    """Four pictures of 16 pixels, eight times as large, with their captions below."""
    sheet = Image.open(finished / "previews/base-batch.png").convert("RGB")
    dataset = PictureSet(read_folder(folder), 16)
    assert sheet.width == 4 * (SIDE + GAP) + GAP
    for number, example in enumerate(dataset.batch(range(4)).image):
        left = GAP + number * (SIDE + GAP)
        shown = sheet.crop((left, GAP, left + SIDE, GAP + SIDE))
        pixels = np.asarray(shown)[4::8, 4::8].transpose(2, 0, 1)
        assert np.array_equal(pixels, example.numpy())


def test_a_run_that_went_wrong_can_go_on_more_gently(
    done: Path, recipe: Recipe, folder: Path
) -> None:
    changes = [f"train.base.{change}" for change in ("learning_rate=1e-4", "clip=0.5", "images=40")]
    train(override(recipe, changes), folder, done, resume=True, device="cpu")
    assert max(images for stage, images, *_ in curve(done) if stage == "base") == 40


# --- what it refuses ------------------------------------------------------------------------------


def test_wrong_requests_name_the_fix_and_write_nothing(
    recipe: Recipe, folder: Path, tmp_path: Path
) -> None:
    out, empty = tmp_path / "run", tmp_path / "empty"
    empty.mkdir()
    wrong: list[tuple[str, Callable[[], Path]]] = [
        ("use all or one of base, sr32", lambda: train(recipe, folder, out, stage="sr")),
        ("no usable pair", lambda: train(recipe, empty, out)),
        ("try --device cpu", lambda: train(recipe, folder, out, device="nonsense")),
        ("leave --resume out", lambda: train(recipe, folder, out, resume=True)),
        ("no model folder", lambda: train(recipe, folder, out, init=empty)),
        (
            r"--out \S+/run lies in --data \S+: name a folder elsewhere",
            lambda: train(recipe, tmp_path, out),
        ),
    ]
    for fix, request in wrong:
        with pytest.raises(ValueError, match=fix):
            request()
        assert not out.exists()
    out.write_text("")
    with pytest.raises(ValueError, match="is a file"):
        train(recipe, folder, out)
    (empty / "export").mkdir()
    with pytest.raises(ValueError, match="holds a model but no run: name another folder"):
        train(recipe, folder, empty)


def test_a_run_is_not_written_over_nor_continued_as_another(
    done: Path, recipe: Recipe, folder: Path
) -> None:
    with pytest.raises(ValueError, match="go on with --resume"):
        train(recipe, folder, done, device="cpu")
    other = override(recipe, ["train.sr32.batch=2", "model.stages.base.unet.width=8"])
    with pytest.raises(ValueError, match=r"base\.unet\.width was 16, is 8; train\.sr32\.batch was"):
        train(other, folder, done, resume=True, device="cpu")
    (done / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="damaged"):
        train(recipe, folder, done, resume=True, device="cpu")


# --- going on -------------------------------------------------------------------------------------


def test_a_finished_run_can_be_made_longer_but_not_repeated(
    done: Path, recipe: Recipe, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, log = weights_in(done / "export"), curve(done)
    dropped = done / "checkpoints/base/.000000000004.old"  # and then it was killed
    dropped.mkdir()
    shutil.copytree(done / "checkpoints/sr32/000000000012", done / "checkpoints/sr32/000000000008")
    train(recipe, folder, done, resume=True, device="cpu")
    assert (weights_in(done / "export"), curve(done)) == (before, log)
    assert "since it was begun" not in capsys.readouterr().err
    assert not dropped.exists()
    assert len([*(done / "checkpoints/sr32").iterdir()]) == 3
    when = ["train.base.checkpoint_images=8", "train.base.keep=1", "train.base.preview_images=8"]
    prompts = 'train.base.preview_prompts=["a red disc"]'
    longer = override(recipe, ["train.base.images=40", *when, prompts])
    train(longer, folder, done, resume=True, device="cpu")
    said = capsys.readouterr().err
    assert f"{done}: since it was begun, train.base.images was 32, is 40; train" in said
    after = weights_in(done / "export")
    assert after["sr32"] == before["sr32"] and after["base"] != before["base"]
    assert curve(done)[-1][:2] == ("base", 40)
    assert Recipe.model_validate_json((done / "config.json").read_text()) == longer


@pytest.mark.parametrize("fatal", [3, 9, 14])
def test_a_run_killed_anywhere_ends_as_one_that_was_not(
    finished: Path,
    recipe: Recipe,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fatal: int,
) -> None:
    """Of its 16 steps it dies in one: before a checkpoint of the base, of the second stage ..."""
    steps, true_step = iter(range(100)), loop.train_step

    def step(trainee: Trainee, batch: Batch, *rest: object) -> tuple[float, float]:
        if next(steps) == fatal:
            raise KeyboardInterrupt
        return true_step(trainee, batch, *rest)

    monkeypatch.setattr(loop, "train_step", step)
    out = tmp_path / "killed"
    with pytest.raises(KeyboardInterrupt):
        train(recipe, folder, out, device="cpu")
    torch.manual_seed(fatal)  # the global state is of no account
    train(recipe, folder, out, resume=True, device="cpu")
    assert weights_in(out / "export") == weights_in(finished / "export")
    assert curve(out) == curve(finished)
