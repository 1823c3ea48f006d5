"""The loop around the step: one stage, from images seen so far to the end of its run."""

import math
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from openimagen.config import StageConfig
from openimagen.data.dataset import Batch, Examples, loader
from openimagen.text import Encoder
from openimagen.train import parallel
from openimagen.train.checkpoint import Writer
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
    encoder: Encoder,
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
    place = parallel.rank(), parallel.ranks(), trainee.data
    batches = loader(dataset, trainee.images, train.images, train.batch, workers, *place)
    with (
        Journal(out, name, trainee.images, train.images, parallel.is_first()) as journal,
        stop_on_signal() as signals,
        Writer(out / "checkpoints" / name, train.keep) as writer,
    ):
        for batch in batches:
            before = trainee.images
            figures = train_step(trainee, batch, encoder, loss_of)
            journal.advance(trainee.images)
            if trainee.skipped:
                journal.note(trainee.images, "step skipped: loss {}, gradient {}".format(*figures))
            if trainee.skipped == PATIENCE:
                raise Diverged(f"{name}: loss or gradient is no number, {PATIENCE} times in a row")
            if passed(trainee, before, log_images):
                record(trainee, journal)
            if passed(trainee, before, train.preview_images):
                write_preview(trainee, dataset, encoder, out / "previews")
            stopped = parallel.any_rank(bool(signals) or writer.has_failed)
            if passed(trainee, before, train.checkpoint_images) or stopped:
                writer.save(trainee.state(batches.state_dict()), trainee.images)
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
    trainee: Trainee, batch: Batch, encoder: Encoder, loss_of: LossOf = loss_of
) -> tuple[float, float]:
    """One optimiser step; returns the mean loss and the norm of the gradient before clipping.

    `batch` is this rank's share of the step's examples; loss and norm are of all. If either is no
    finite number the step is skipped: the images are seen, no weight moves.
    """
    train, net, share = trainee.train, trainee.net, trainee.next_batch()
    assert len(batch.captions) == len(share.mine)
    text = encoder(batch.captions).to(trainee.device, torch.float32)
    noised = prepare(trainee.config, train, batch.image, text, trainee.scale, share)
    loss = parallel.summed(add_gradients(trainee, noised, len(share.batch), loss_of))
    norm = parallel.clip(net, train.clip)
    figures = loss.item(), norm.item()

    trainee.images += len(share.batch)
    is_finite = all(map(math.isfinite, figures))
    if is_finite:
        for group in trainee.optimizer.param_groups:
            group["lr"] = learning_rate(train, trainee.images)
        trainee.optimizer.step()
        trainee.ema.update(net, trainee.images, len(share.batch))
    trainee.optimizer.zero_grad(set_to_none=True)
    trainee.count(figures, is_finite)
    return figures


def add_gradients(trainee: Trainee, noised: Noised, batch: int, loss_of: LossOf) -> Tensor:
    """Back-propagate what `noised` adds to the mean loss of `batch` examples, part by part.

    Returns it. The gradient is of all ranks', who exchange theirs once, in the last part.
    """
    train, ranks = trainee.train, parallel.ranks()
    is_bf16 = train.precision == "bfloat16"
    loss = torch.zeros((), device=trainee.device)
    parts = min(train.accumulate, batch // ranks)  # as many on each rank
    for number in range(parts):
        part, is_last = noised.part(number, parts), number == parts - 1
        with parallel.exchanging(trainee.model, is_last):
            with torch.autocast(trainee.device.type, torch.bfloat16, enabled=is_bf16):
                added = loss_of(trainee.model, trainee.config, part).sum() / batch
            (added * ranks).backward()  # type: ignore[no-untyped-call]  # the ranks are averaged
        loss += added.detach()
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
