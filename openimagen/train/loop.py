"""The loop around the step: one stage, from images seen so far to the end of its run."""

import math
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from openimagen.config import StageConfig
from openimagen.data.dataset import Batch, Examples, loader
from openimagen.text import CachedEncoder
from openimagen.train.journal import Journal
from openimagen.train.previews import write_preview
from openimagen.train.step import Noised, learning_rate, loss_of, prepare
from openimagen.train.trainee import Trainee, new_tally

LOG_STEPS, LOG_LINES = 50, 20  # a log line every 50 steps, sooner if a run has less than 20 then
PATIENCE = 10  # steps in a row that may be skipped
LossOf = Callable[[nn.Module, StageConfig, Noised], Tensor]


class Interrupted(Exception):
    """The run was asked to stop; its checkpoint is written."""


class Diverged(Exception):
    """Loss or gradient are no numbers any more; the last checkpoint is as it was."""


def train_stage(
    trainee: Trainee,
    dataset: Examples,
    encoder: CachedEncoder,
    out: Path,
    workers: int = 0,
    at_checkpoint: Callable[[], None] = lambda: None,
) -> None:
    """Train until `train.images` have been seen; log, checkpoint and preview on the way.

    Raises Interrupted after saving if SIGTERM or Ctrl-C asked the run to stop; Diverged if step
    after step had to be skipped.
    """
    train, name = trainee.train, trainee.config.name
    log_images = train.batch * max(1, min(LOG_STEPS, train.images // (train.batch * LOG_LINES)))
    batches = loader(dataset, trainee.images, train.images, train.batch, workers)
    loss = torch.compile(loss_of) if train.compile else loss_of
    with Journal(out, name, trainee.images, train.images) as journal, stop_on_signal() as stopped:
        for batch in batches:
            before = trainee.images
            figures = train_step(trainee, batch, encoder, loss)
            journal.advance(trainee.images)
            if trainee.skipped:
                journal.note(trainee.images, "step skipped: loss {}, gradient {}".format(*figures))
            if trainee.skipped == PATIENCE:
                raise Diverged(f"{name}: loss or gradient is no number, {PATIENCE} times in a row")
            if passed(trainee, before, log_images):
                record(trainee, journal)
            if passed(trainee, before, train.preview_images):
                write_preview(trainee, dataset, encoder, out / "previews")
            if passed(trainee, before, train.checkpoint_images) or stopped:
                trainee.save(out / "checkpoints" / name)
                at_checkpoint()
            if stopped:
                raise Interrupted(f"{name} stopped at {trainee.images} images; --resume goes on")


def passed(trainee: Trainee, before: int, every: int) -> bool:
    """Whether the clock has passed a multiple of `every` images since `before`, or the end."""
    return trainee.is_done or before // every != trainee.images // every


def record(trainee: Trainee, journal: Journal) -> None:
    """Write a log line: means over the steps since the last one."""
    loss, gradient, taken, skipped = trainee.tally.tolist()
    means = {"loss": loss / taken, "gradient": gradient / taken} if taken else {}
    rate = learning_rate(trainee.train, trainee.images)
    journal.record(trainee.images, **means, lr=rate, skipped=skipped)
    trainee.tally = new_tally()


# --- the step -------------------------------------------------------------------------------------


def train_step(
    trainee: Trainee, batch: Batch, encoder: CachedEncoder, loss_of: LossOf = loss_of
) -> tuple[float, float]:
    """One optimiser step; returns the mean loss and the norm of the gradient before clipping.

    If either is no finite number the step is skipped: the images are seen, no weight moves.
    """
    train, net = trainee.train, trainee.net
    seed = np.random.SeedSequence([train.seed, trainee.images]).generate_state(1)[0]
    generator = torch.Generator().manual_seed(int(seed))
    text = encoder(batch.captions).to(trainee.device, torch.float32)
    noised = prepare(trainee.config, train, batch.image, text, trainee.scale, generator)
    loss = add_gradients(trainee, noised, loss_of)
    norm = nn.utils.clip_grad_norm_(net.parameters(), train.clip or math.inf)
    figures = loss.item(), norm.item()

    trainee.images += len(noised.x)
    is_finite = all(map(math.isfinite, figures))
    if is_finite:
        for group in trainee.optimizer.param_groups:
            group["lr"] = learning_rate(train, trainee.images)
        trainee.optimizer.step()
        trainee.ema.update(net, trainee.images, len(noised.x))
    trainee.optimizer.zero_grad(set_to_none=True)
    trainee.count(figures, is_finite)
    return figures


def add_gradients(trainee: Trainee, noised: Noised, loss_of: LossOf) -> Tensor:
    """Back-propagate the mean loss of the batch, part by part; returns it."""
    train, batch = trainee.train, len(noised.x)
    loss = torch.zeros((), device=trainee.device)
    parts = min(train.accumulate, batch)
    for number in range(parts):
        part = noised.part(number, parts)
        is_bf16 = train.precision == "bfloat16"
        with torch.autocast(trainee.device.type, torch.bfloat16, enabled=is_bf16):
            share = loss_of(trainee.net, trainee.config, part).sum() / batch
        share.backward()  # type: ignore[no-untyped-call]
        loss += share.detach()
    return loss


# --- signals --------------------------------------------------------------------------------------


@contextmanager
def stop_on_signal() -> Iterator[list[int]]:
    """Collect SIGTERM and SIGINT instead of dying: the list is true once one has come.

    A second one of its kind is obeyed at once. Outside the main thread, nothing is collected.
    """
    caught: list[int] = []
    is_main = threading.current_thread() is threading.main_thread()
    before: dict[int, Any] = {
        number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT) if is_main
    }

    def catch(number: int, frame: object) -> None:
        caught.append(number)
        signal.signal(number, before[number])

    try:
        for number in before:
            signal.signal(number, catch)
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
