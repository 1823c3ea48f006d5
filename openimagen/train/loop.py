"""The loop around the step: one stage, from images seen so far to the end of its run."""

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from openimagen.data.dataset import Batch, Examples, loader
from openimagen.text import Encoder
from openimagen.train import parallel
from openimagen.train.checkpoint import Writer
from openimagen.train.journal import Journal
from openimagen.train.previews import write_batch, write_preview
from openimagen.train.probe import doubt_of, probe, probe_pairs
from openimagen.train.step import Noised, learning_rate, loss_of, prepare
from openimagen.train.trainee import Trainee
from openimagen.train.watch import QUARTERS, noise_sums

LOG_STEPS, LOG_LINES = 50, 20  # a log line every 50 steps, sooner if a run has less than 20 then
PATIENCE = 10  # steps in a row that may be skipped
TOGETHER = 1.0  # seconds in which several signals ask for the same


class Interrupted(Exception):
    """The run was asked to stop; its checkpoint is written."""


class Diverged(Exception):
    """Step after step had to be skipped; the last checkpoint is as it was."""


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
    pairs = probe_pairs(dataset)
    with (
        Journal(out, name, trainee.images, train.images, parallel.is_first()) as journal,
        stop_on_signal() as signals,
        Writer(out / "checkpoints" / name, train.keep) as writer,
    ):
        for batch in batches:
            before = trainee.images
            if not before:
                write_batch(name, batch, out / "previews")
            take_step(trainee, batch, encoder, journal)
            if shows := passed(trainee, before, train.preview_images):
                write_preview(trainee, dataset, encoder, out / "previews")
            if shows or passed(trainee, before, log_images):
                record(trainee, journal, probe(trainee, pairs, encoder) if shows else {})
            stopped = parallel.any_rank(bool(signals) or writer.has_failed)
            if passed(trainee, before, train.checkpoint_images) or stopped:
                at_checkpoint()  # before: a stage that is done is not asked again
                writer.save(trainee.state(batches.state_dict()), trainee.images)
            if stopped:
                raise Interrupted(f"{name} stopped at {trainee.images} images; --resume goes on")


def passed(trainee: Trainee, before: int, every: int) -> bool:
    """Whether the clock has passed a multiple of `every` images since `before`, or the end."""
    return trainee.is_done or before // every != trainee.images // every


def take_step(trainee: Trainee, batch: Batch, encoder: Encoder, journal: Journal) -> None:
    """One step, and a note if it had to be skipped. Diverged if too many were, one by one."""
    usual, first = trainee.watch.usual, trainee.images
    loss, gradient = train_step(trainee, batch, encoder)
    journal.advance(trainee.images)
    if not trainee.watch.skipped:
        return
    said = f"loss {loss:.4g}, gradient {gradient:.4g} where {usual:.4g} is usual"
    which = f"pictures {first} to {trainee.images - 1} of the run"
    journal.note(trainee.images, f"step skipped: {said}; {which}")
    if trainee.watch.skipped == PATIENCE:
        name, lower = trainee.config.name, trainee.train.learning_rate / 3
        raise Diverged(
            f"{name}: {PATIENCE} steps in a row had to be skipped ({said}): go on from the last "
            f"checkpoint with --resume --set train.{name}.learning_rate={lower:.1g}"
        )


def record(trainee: Trainee, journal: Journal, probed: Mapping[str, float]) -> None:
    """Write a log line: means over the steps since the last one, and what a probe gave."""
    rate = learning_rate(trainee.train, trainee.images)
    journal.record(trainee.images, **trainee.watch.means(), lr=rate, **probed)
    if doubt := doubt_of(trainee, probed):
        journal.note(trainee.images, doubt)


# --- the step -------------------------------------------------------------------------------------


def train_step(trainee: Trainee, batch: Batch, encoder: Encoder) -> tuple[float, float]:
    """One optimiser step; returns the mean loss and the norm of the gradient before clipping.

    `batch` is this rank's share of the step's examples; loss and norm are of all. If either is no
    finite number, or the gradient a spike, the step is skipped: the images are seen, no weight
    moves.
    """
    train, net, share = trainee.train, trainee.net, trainee.next_batch()
    assert len(batch.captions) == len(share.mine)
    text = encoder(batch.captions).to(trainee.device, torch.float32)
    if train.compile:  # once, for one length
        text = text.pad(encoder.max_tokens)
    noised = prepare(trainee.config, train, batch.image, text, trainee.scale, share, batch.below)
    by_noise = parallel.summed(add_gradients(trainee, noised, len(share.batch)))
    norm = parallel.clip(net, train.clip)
    figures = by_noise[0].sum().item() / len(share.batch), norm.item()

    trainee.images += len(share.batch)
    is_sound = trainee.watch.is_sound(*figures)
    if is_sound:
        for group in trainee.optimizer.param_groups:
            group["lr"] = learning_rate(train, trainee.images)
        trainee.optimizer.step()
        trainee.ema.update(net, trainee.images, len(share.batch))
    trainee.optimizer.zero_grad(set_to_none=True)
    trainee.watch.count(*figures, by_noise, is_sound)
    return figures


def add_gradients(trainee: Trainee, noised: Noised, batch: int) -> Tensor:
    """Back-propagate what `noised` adds to the mean loss of `batch` examples, part by part.

    Returns this rank's losses by noise level, `noise_sums`. The gradient is of all ranks', who
    exchange theirs once, in the last part.
    """
    ranks = parallel.ranks()
    by_noise = torch.zeros(2, QUARTERS, device=trainee.device)
    parts = min(trainee.train.accumulate, batch // ranks)  # as many on each rank
    work = partial(back_propagate, trainee, ranks / batch)  # ranks' gradients are averaged
    for number in range(parts):
        part, is_last = noised.part(number, parts), number == parts - 1
        with parallel.exchanging(trainee.model, is_last):
            losses = trainee.graph(work, part) if trainee.graph else work(part)
        by_noise += noise_sums(losses, part.t)
    return by_noise


def back_propagate(trainee: Trainee, weight: float, noised: Noised) -> Tensor:
    """Add the gradient of `weight` times the sum of the losses; returns the losses."""
    is_bf16 = trainee.train.precision == "bfloat16"
    # no cache: no weight is cast twice, and a graph must not keep what is cast outside it
    with torch.autocast(trainee.device.type, torch.bfloat16, enabled=is_bf16, cache_enabled=False):
        losses = loss_of(trainee.model, trainee.config, noised)
    (losses.sum() * weight).backward()  # type: ignore[no-untyped-call]
    return losses.detach()


# --- signals --------------------------------------------------------------------------------------


@contextmanager
def stop_on_signal() -> Iterator[list[int]]:
    """Collect SIGTERM and SIGINT instead of dying: the list is true once one has come.

    Another one is obeyed at once, but for those that come with the first: a terminal and Slurm send
    theirs to all processes, and torchrun passes on what it gets. One that nothing was made of is
    obeyed at the end. Outside the main thread, nothing is collected.
    """
    caught: list[int] = []
    first = math.inf  # when it came
    is_main = threading.current_thread() is threading.main_thread()
    before: dict[int, Any] = {
        number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT) if is_main
    }

    def catch(number: int, frame: object) -> None:
        nonlocal first
        first = min(first, time.monotonic())
        if not caught:
            caught.append(number)
        elif time.monotonic() - first > TOGETHER:
            signal.signal(number, before[number])
            signal.raise_signal(number)

    try:
        for number in before:
            signal.signal(number, catch)
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for number in caught:  # too late for the loop, as in its last save
        signal.raise_signal(number)
