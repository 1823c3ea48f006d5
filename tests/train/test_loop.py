"""One stage in training: what a step does, and that stopping and going on changes nothing."""

import copy
import json
import os
import re
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor, nn

from openimagen.config import StageConfig
from openimagen.data.dataset import Batch, PictureSet, loader
from openimagen.text import CachedEncoder
from openimagen.train import checkpoint, loop
from openimagen.train.loop import Diverged, Interrupted, add_gradients, train_stage, train_step
from openimagen.train.step import Noised, prepare
from openimagen.train.trainee import Trainee

NewTrainee = Callable[..., Trainee]


@pytest.fixture
def batch(dataset: PictureSet) -> Batch:
    return next(iter(loader(dataset, 0, 4, batch=4)))


def weights_of(net: nn.Module) -> Tensor:
    return torch.cat([weight.detach().flatten() for weight in net.parameters()])


def gradient_of(trainee: Trainee) -> Tensor:
    every = [weight.grad for weight in trainee.net.parameters()]
    return torch.cat([one.flatten() for one in every if one is not None])


def everything(trainee: Trainee) -> dict[str, Any]:
    """All that makes the next step what it is."""
    state = trainee.state()
    slots = {
        f"{name} {slot}": value
        for name, slots in state["optimizer"]["state"].items()
        for slot, value in slots.items()
    }
    nets = {"net": weights_of(trainee.net), "ema": weights_of(trainee.ema.net)}
    return nets | slots | {"images": state["images"]} | trainee.watch.state_dict()


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


# --- a step ---------------------------------------------------------------------------------------


def noised_of(trainee: Trainee, batch: Batch, encoder: CachedEncoder) -> Noised:
    text = encoder(batch.captions)
    return prepare(trainee.config, trainee.train, batch.image, text, 1, trainee.next_batch())


@pytest.mark.parametrize("parts", [2, 3, 4, 9])
def test_a_batch_in_parts_has_the_gradient_of_the_whole(
    new_trainee: NewTrainee, batch: Batch, encoder: CachedEncoder, parts: int
) -> None:
    whole, split = new_trainee(), new_trainee(accumulate=parts)
    losses = [add_gradients(each, noised_of(each, batch, encoder), 4) for each in (whole, split)]
    assert losses[0][1].tolist() == [1, 1, 1, 1]  # pictures by noise level
    assert torch.allclose(losses[1], losses[0], rtol=1e-6)
    assert torch.allclose(gradient_of(split), gradient_of(whole), rtol=1e-4, atol=1e-7)
    assert gradient_of(whole).norm() > 0.1


def test_every_step_has_randomness_of_its_own_that_the_seed_decides(
    new_trainee: NewTrainee, batch: Batch, encoder: CachedEncoder
) -> None:
    seen: list[Tensor] = []

    def spy(net: nn.Module, stage: StageConfig, noised: Noised) -> Tensor:
        seen.append(noised.eps)
        return true_loss(net, stage, noised)

    for seed in (0, 0, 1):
        trainee = new_trainee(seed=seed)
        with patch.object(loop, "loss_of", spy):
            for _ in range(2):
                train_step(trainee, batch, encoder)
    first, second = torch.stack(seen[::2]), torch.stack(seen[1::2])
    assert torch.equal(first[0], first[1]) and torch.equal(second[0], second[1])
    assert min((first - second).std().item(), (first[0] - first[2]).std().item()) > 1


@pytest.mark.parametrize("compiled", [True, False])
def test_a_compiled_network_is_shown_texts_of_one_length(
    new_trainee: NewTrainee, batch: Batch, encoder: CachedEncoder, compiled: bool
) -> None:
    lengths = list[int]()

    def spy(net: nn.Module, stage: StageConfig, noised: Noised) -> Tensor:
        lengths.append(noised.text.mask.shape[1])
        return noised.t * sum(weight.sum() for weight in net.parameters())  # compiles nothing

    with patch.object(loop, "loss_of", spy):
        train_step(new_trainee(compile=compiled), batch, encoder)
    longest = encoder(batch.captions).mask.shape[1]
    assert lengths == [encoder.max_tokens if compiled else longest] and longest < encoder.max_tokens


def test_clipping_bounds_what_reaches_the_weights(
    new_trainee: NewTrainee, batch: Batch, encoder: CachedEncoder
) -> None:
    moved = []
    for clip in (0.01, None):
        trainee = new_trainee(clip=clip, learning_rate=1.0, warmup_images=0, cooldown=0)
        trainee.optimizer = torch.optim.SGD(trainee.net.parameters())
        before = weights_of(trainee.net)
        _, norm = train_step(trainee, batch, encoder)
        moved.append((weights_of(trainee.net) - before).norm().item())
    assert moved == pytest.approx([0.01, norm], rel=1e-3)
    assert norm > 0.1


def test_the_step_goes_at_the_rate_of_its_clock(
    new_trainee: NewTrainee, batch: Batch, encoder: CachedEncoder
) -> None:
    trainee = new_trainee(warmup_images=20)
    train_step(trainee, batch, encoder)
    assert trainee.images == 4
    assert trainee.optimizer.param_groups[0]["lr"] == pytest.approx(3e-3 * 4 / 20)


def test_the_optimiser_is_as_the_recipe_says(new_trainee: NewTrainee) -> None:
    group = new_trainee(betas=(0.5, 0.7), weight_decay=0.3).optimizer.param_groups[0]
    assert (*group["betas"], group["weight_decay"]) == (0.5, 0.7, 0.3)


def test_bfloat16_is_for_the_arithmetic_alone(
    new_trainee: NewTrainee, batch: Batch, encoder: CachedEncoder
) -> None:
    seen: list[torch.dtype] = []
    losses = []
    for precision in ("float32", "bfloat16"):
        trainee = new_trainee(precision=precision)
        trainee.net.stem.register_forward_hook(lambda *about: seen.append(about[-1].dtype))
        for _ in range(3):
            loss, _ = train_step(trainee, batch, encoder)
        losses.append(loss)
        slots = (slot for slots in trainee.optimizer.state.values() for slot in slots.values())
        kept = [*trainee.net.parameters(), *trainee.ema.net.parameters(), *slots]
        assert {each.dtype for each in kept} == {torch.float32}
    assert seen == [torch.float32] * 3 + [torch.bfloat16] * 3
    assert losses[1] == pytest.approx(losses[0], rel=0.05) and losses[0] != losses[1]


def test_two_pictures_are_learnt_by_heart(
    new_trainee: NewTrainee, dataset: PictureSet, encoder: CachedEncoder
) -> None:
    trainee = new_trainee(images=10**6, batch=8, learning_rate=1e-2, text_drop=0)
    image, captions, *_ = next(loader(dataset, 0, 2, batch=2))
    batch = Batch(image.repeat(4, 1, 1, 1), captions * 4)
    losses = [train_step(trainee, batch, encoder)[0] for _ in range(80)]
    assert sum(losses[:3]) > 5 * sum(losses[-3:])


# --- numbers that are none ------------------------------------------------------------------------


def poisoned(*, steps: range, with_: float = float("nan")) -> Callable[..., Tensor]:
    """A loss that turns into no number at some of its calls."""
    calls = iter(range(10**6))

    def loss_of(net: nn.Module, stage: StageConfig, noised: Noised) -> Tensor:
        loss = true_loss(net, stage, noised)
        return loss * with_ if next(calls) in steps else loss

    return loss_of


true_loss = loop.loss_of


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_step_without_a_number_moves_nothing(
    new_trainee: NewTrainee, batch: Batch, encoder: CachedEncoder, value: float
) -> None:
    trainee = new_trainee()
    train_step(trainee, batch, encoder)
    before = copy.deepcopy(everything(trainee))
    with patch.object(loop, "loss_of", poisoned(steps=range(1), with_=value)):
        train_step(trainee, batch, encoder)
    after = everything(trainee)
    assert (trainee.images, trainee.watch.skipped) == (8, 1)
    assert (after["tally"] - before["tally"]).tolist() == [0, 0, 0, 1]
    kept = before.keys() - {"images", "tally", "norms", "row"}
    assert same({key: before[key] for key in kept}, {key: after[key] for key in kept})
    train_step(trainee, batch, encoder)
    assert trainee.watch.skipped == 0
    assert not torch.equal(everything(trainee)["net"], after["net"])


def test_a_skipped_step_is_counted_and_noted(
    new_trainee: NewTrainee,
    dataset: PictureSet,
    encoder: CachedEncoder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(loop, "loss_of", poisoned(steps=range(2, 5)))
    train_stage(new_trainee(batch=1, images=8), dataset, encoder, tmp_path)
    lines = [*map(json.loads, (tmp_path / "log.jsonl").read_text().splitlines())]
    noted = [line["images"] for line in lines if "step skipped" in line.get("note", "")]
    assert noted == [3, 4, 5]
    assert [line["skipped"] for line in lines if "note" not in line] == [0, 0, 1, 1, 1, 0, 0, 0]
    assert all("loss" not in line for line in lines if line.get("skipped"))
    assert "base at 3 images: step skipped: loss nan, gradient" in capsys.readouterr().err


def test_a_spike_is_skipped_and_named(
    new_trainee: NewTrainee,
    dataset: PictureSet,
    encoder: CachedEncoder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The loss of step 105, times a hundred."""
    monkeypatch.setattr(loop, "loss_of", poisoned(steps=range(105, 106), with_=100.0))
    trainee = new_trainee(batch=1, images=110, learning_rate=0.0)
    train_stage(trainee, dataset, encoder, tmp_path)
    lines = [*map(json.loads, (tmp_path / "log.jsonl").read_text().splitlines())]
    (note,) = [line for line in lines if "step skipped" in line.get("note", "")]
    assert note["images"] == 106 and "pictures 105 to 105 of the run" in note["note"]
    gradient, usual = map(
        float, re.findall(r"gradient (\S+) where (\S+) is usual", note["note"])[0]
    )
    assert gradient > 10 * usual > 0
    assert sum(line.get("skipped", 0) for line in lines) == 1


def test_a_run_of_skipped_steps_ends_it_and_leaves_the_checkpoint(
    new_trainee: NewTrainee,
    dataset: PictureSet,
    encoder: CachedEncoder,
    tmp_path: Path,
) -> None:
    trainee = new_trainee(images=100, batch=1, checkpoint_images=15)
    with patch.object(loop, "loss_of", poisoned(steps=range(18, 99))):
        advice = r"base: 10 steps in a row .* --resume --set train.base.learning_rate=0.001"
        with pytest.raises(Diverged, match=advice):
            train_stage(trainee, dataset, encoder, tmp_path)
    assert trainee.images == 28
    path = checkpoint.latest(tmp_path / "checkpoints/base")
    assert path is not None and int(path.name) == 15
    again = new_trainee(images=16, batch=1)
    again.load(path)
    train_stage(again, dataset, encoder, tmp_path)
    assert (
        again.watch.tally.tolist() == [0, 0, 0, 0] and torch.isfinite(weights_of(again.net)).all()
    )


# --- stopping and going on ------------------------------------------------------------------------


class Killed(BaseException):
    """As SIGKILL would: nothing more is written."""


def at_step(step: int, act: Callable[[], None]) -> Callable[..., Tensor]:
    calls = iter(range(10**6))

    def loss_of(net: nn.Module, stage: StageConfig, noised: Noised) -> Tensor:
        if next(calls) == step:
            act()
        return true_loss(net, stage, noised)

    return loss_of


def kill() -> None:
    raise Killed


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def curve(out: Path) -> list[dict[str, Any]]:
    lines = map(json.loads, (out / "log.jsonl").read_text().splitlines())
    clock = {"time", "images_per_second", "seconds_left"}
    return [{key: line[key] for key in line.keys() - clock} for line in lines]


@pytest.mark.parametrize("optimizer", ["adamw", "adafactor"])
@pytest.mark.parametrize("stop", [kill, terminate])
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not(
    new_trainee: NewTrainee,
    dataset: PictureSet,
    encoder: CachedEncoder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    optimizer: str,
    stop: Callable[[], None],
) -> None:
    """Log lines are two steps apart here, checkpoints three, and it stops in the fifth step."""
    monkeypatch.setattr(loop, "LOG_LINES", 4)
    whole = new_trainee(optimizer=optimizer)
    train_stage(whole, dataset, encoder, tmp_path / "whole")

    out, stopped = tmp_path / "parts", new_trainee(optimizer=optimizer)
    with monkeypatch.context() as patch, pytest.raises((Killed, Interrupted)):
        patch.setattr(loop, "loss_of", at_step(4, stop))
        train_stage(stopped, dataset, encoder, out)
    path = checkpoint.latest(out / "checkpoints/base")
    assert path is not None and int(path.name) == (12 if stop is kill else 20)

    resumed = new_trainee(optimizer=optimizer, seed=0)
    nn.init.ones_(next(resumed.net.parameters()))  # to be overwritten
    resumed.load(path)
    train_stage(resumed, dataset, encoder, out)
    assert same(everything(resumed), everything(whole))
    assert curve(out) == curve(tmp_path / "whole")
    assert [line["images"] for line in curve(out) if "loss" in line] == [8, 16, 24, 32]
    assert {"loss_seen", "loss_noise_1_of_4"} <= curve(out)[3].keys()


def test_what_is_reported_at_a_checkpoint_is_there_before_it(
    new_trainee: NewTrainee,
    dataset: PictureSet,
    encoder: CachedEncoder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Killed in between, a run reports again."""
    seen: list[object] = []
    monkeypatch.setattr(checkpoint.Writer, "save", lambda _, __, images: seen.append(images))
    train_stage(
        new_trainee(), dataset, encoder, tmp_path, at_checkpoint=lambda: seen.append("report")
    )
    assert seen == ["report", 12, "report", 24, "report", 32]


def test_signals_that_come_together_are_one_and_handlers_come_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = signal.default_int_handler  # a background shell has its children ignore SIGINT
    signal.signal(signal.SIGINT, before)
    now = [50.0]
    monkeypatch.setattr(loop.time, "monotonic", lambda: now[0])
    with pytest.raises(Interrupted), loop.stop_on_signal() as stopped:
        assert not stopped
        for _ in range(3):  # the terminal's, torchrun's ...
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGTERM)
            assert stopped == [signal.SIGINT]
            now[0] += loop.TOGETHER / 3
        now[0] += loop.TOGETHER / 3
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        raise Interrupted
    assert signal.getsignal(signal.SIGINT) is before


def test_a_signal_during_the_last_save_is_obeyed_after_it(
    new_trainee: NewTrainee, dataset: PictureSet, encoder: CachedEncoder, tmp_path: Path
) -> None:
    trainee, latest = new_trainee(), []

    def at_checkpoint() -> None:
        if trainee.is_done:
            terminate()

    def obey(*_: object) -> None:
        latest.append(checkpoint.latest(tmp_path / "checkpoints/base"))

    before = signal.signal(signal.SIGTERM, obey)
    try:
        train_stage(trainee, dataset, encoder, tmp_path, at_checkpoint=at_checkpoint)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert latest == [tmp_path / "checkpoints/base/000000000032"]


def test_training_works_outside_the_main_thread() -> None:
    seen: list[list[int]] = []

    def work() -> None:
        with loop.stop_on_signal() as stopped:
            seen.append(stopped)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [[]]
