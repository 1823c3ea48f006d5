"""The loop around the step: one stage, from images seen so far to the end of its run."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict

from openimagen.config import StageConfig, TrainConfig
from openimagen.data.dataset import Batch, PictureSet, loader
from openimagen.text import CachedEncoder
from openimagen.train import checkpoint
from openimagen.train.ema import EMA
from openimagen.train.journal import Journal
from openimagen.train.previews import write_preview
from openimagen.train.step import Noised, learning_rate, loss_of, prepare
from openimagen.unet import UNet

LOG_STEPS = 50  # between log lines
LossOf = Callable[[nn.Module, StageConfig, Noised], torch.Tensor]


class Interrupted(Exception):
    """The run was asked to stop; its checkpoint is written."""


@dataclass
class Trainee:
    """One stage in training: network, average, optimiser, and the clock."""

    config: StageConfig
    train: TrainConfig
    scale: int  # how much larger than the stage below; 1 for the base
    net: UNet
    device: torch.device
    images: int = 0
    ema: EMA = field(init=False)
    optimizer: torch.optim.Optimizer = field(init=False)

    def __post_init__(self) -> None:
        self.net = self.net.train().requires_grad_(True)
        self.net = self.net.to(self.device, memory_format=torch.channels_last)
        self.ema = EMA(self.net, self.train.ema_images)
        self.optimizer = make_optimizer(self.net, self.train)

    def save(self, folder: Path) -> None:
        """Write a checkpoint."""
        checkpoint.save(folder, self._state(), self.images, self.train.keep)

    def load(self, path: Path) -> None:
        """Go on from a checkpoint."""
        state = self._state()
        checkpoint.load(path, state)
        self.net.load_state_dict(state["net"])
        self.ema.net.load_state_dict(state["ema"])
        set_optimizer_state_dict(self.net, self.optimizer, state["optimizer"])
        self.images = int(state["images"])

    def _state(self) -> dict[str, object]:
        return {
            "net": self.net.state_dict(),
            "ema": self.ema.net.state_dict(),
            "optimizer": get_optimizer_state_dict(self.net, self.optimizer),
            "images": torch.tensor(self.images),
        }


def make_optimizer(net: nn.Module, train: TrainConfig) -> torch.optim.Optimizer:
    """AdamW, or Adafactor as the paper's base model used it."""
    if train.optimizer == "adafactor":
        from transformers import Adafactor

        return Adafactor(
            net.parameters(),
            lr=train.learning_rate,
            scale_parameter=True,
            relative_step=False,
            warmup_init=False,
            weight_decay=train.weight_decay,
        )
    return torch.optim.AdamW(
        net.parameters(), train.learning_rate, train.betas, weight_decay=train.weight_decay, fused=True
    )


def train_stage(
    trainee: Trainee, dataset: PictureSet, encoder: CachedEncoder, out: Path, workers: int = 0
) -> None:
    """Train until `train.images` have been seen; log, checkpoint and preview on the way.

    Raises Interrupted after saving if SIGTERM or Ctrl-C asked the run to stop.
    """
    train, name = trainee.train, trainee.config.name
    checkpoints = out / "checkpoints" / name
    batches = loader(dataset, trainee.images, train.images, train.batch, workers)
    step = torch.compile(loss_of) if train.compile else loss_of
    losses: list[torch.Tensor] = []
    with Journal(out, name, trainee.images, train.images) as journal, stop_on_signal() as stopped:
        for batch in batches:
            loss, gradient = train_step(trainee, batch, encoder, step)
            losses.append(loss)
            before, trainee.images = trainee.images, trainee.images + len(batch.captions)
            done = trainee.images >= train.images

            def passed(every: int, before: int = before, done: bool = done) -> bool:
                return done or before // every != trainee.images // every

            if passed(train.batch * LOG_STEPS):
                rate = learning_rate(train, trainee.images)
                mean = torch.stack(losses).mean().item()
                journal.record(trainee.images, loss=mean, gradient=gradient.item(), lr=rate)
                losses.clear()
            if passed(train.preview_images):
                write_preview(trainee, dataset, encoder, out / "previews")
            if passed(train.checkpoint_images) or stopped:
                trainee.save(checkpoints)
            if stopped:
                raise Interrupted(f"stopped at {trainee.images} images; --resume goes on from there")


def train_step(
    trainee: Trainee, batch: Batch, encoder: CachedEncoder, loss_of: LossOf
) -> tuple[torch.Tensor, torch.Tensor]:
    """One optimiser step; returns the mean loss and the norm of the gradient."""
    train, net = trainee.train, trainee.net
    seed = np.random.SeedSequence([train.seed, trainee.images]).generate_state(1)[0]
    generator = torch.Generator().manual_seed(int(seed))
    text = encoder(batch.captions).to(trainee.device, torch.float32)
    noised = prepare(trainee.config, train, batch.image, text, trainee.scale, generator)
    loss = torch.zeros((), device=trainee.device)
    bf16 = train.precision == "bfloat16"
    for number in range(train.accumulate):
        part = noised.part(number, train.accumulate)
        with torch.autocast(trainee.device.type, torch.bfloat16, enabled=bf16):
            share = loss_of(net, trainee.config, part).sum() / len(noised.x)
        share.backward()
        loss += share.detach()
    gradient = nn.utils.clip_grad_norm_(net.parameters(), train.clip or float("inf"))
    for group in trainee.optimizer.param_groups:
        group["lr"] = learning_rate(train, trainee.images + len(noised.x))
    trainee.optimizer.step()
    trainee.optimizer.zero_grad(set_to_none=True)
    trainee.ema.update(net, trainee.images + len(noised.x), len(noised.x))
    return loss, gradient


@contextmanager
def stop_on_signal() -> Iterator[list[int]]:
    """Collect SIGTERM and SIGINT instead of dying: the list is true once one has come."""
    caught: list[int] = []
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, lambda n, _: caught.append(n)) for number in numbers]
    try:
        yield caught
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
