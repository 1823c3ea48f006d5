"""One stage in training: all that a checkpoint holds."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)

from openimagen.config import StageConfig, TrainConfig
from openimagen.train import checkpoint
from openimagen.train.adafactor import Adafactor
from openimagen.train.ema import EMA
from openimagen.train.lora import merged
from openimagen.unet import UNet


def new_tally() -> Tensor:
    """Sums since the last log line: loss, norm of the gradient, steps taken, steps skipped."""
    return torch.zeros(4, dtype=torch.float64)


@dataclass
class Trainee:
    """Network, average, optimiser, and the clock: images seen."""

    config: StageConfig
    train: TrainConfig
    scale: int  # how much larger than the stage below; 1 for the base
    net: UNet
    device: torch.device
    images: int = 0
    tally: Tensor = field(default_factory=new_tally)
    skipped: int = 0  # steps, in a row
    ema: EMA = field(init=False)
    optimizer: torch.optim.Optimizer = field(init=False)

    def __post_init__(self) -> None:
        net = self.net.train().to(self.device)
        self.net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.ema = EMA(self.net, self.train.ema_images)
        self.optimizer = make_optimizer(self.net, self.train)

    @property
    def is_done(self) -> bool:
        """Whether it has seen all the images it should."""
        return self.images >= self.train.images

    def drawing_net(self) -> UNet:
        """The averaged network, without adapters: what is exported."""
        return self.ema.net if self.train.lora is None else merged(self.ema.net)

    def count(self, figures: tuple[float, float], taken: bool) -> None:
        """Add a step, its loss and gradient, to the tally."""
        self.skipped = 0 if taken else self.skipped + 1
        self.tally += torch.tensor([*figures, 1, 0] if taken else [0, 0, 0, 1], dtype=torch.float64)

    def save(self, folder: Path) -> None:
        """Write a checkpoint."""
        checkpoint.save(folder, self._state(), self.images, self.train.keep)

    def load(self, path: Path) -> None:
        """Go on from a checkpoint."""
        state = self._state()  # shares the weights, which are read in place
        checkpoint.load(path, state)
        set_optimizer_state_dict(self.net, self.optimizer, state["optimizer"])
        self.images = int(state["images"])
        self.tally = state["tally"]

    def _state(self) -> dict[str, Any]:
        return {
            "net": self.net.state_dict(),
            "ema": self.ema.net.state_dict(),
            "optimizer": get_optimizer_state_dict(self.net, self.optimizer),
            "images": torch.tensor(self.images),
            "tally": self.tally,
        }


def make_optimizer(net: nn.Module, train: TrainConfig) -> torch.optim.Optimizer:
    """AdamW, or Adafactor as the paper's base model used it."""
    weights = [weight for weight in net.parameters() if weight.requires_grad]
    if train.optimizer == "adafactor":
        return Adafactor(weights, train.learning_rate, train.weight_decay)
    return torch.optim.AdamW(
        weights,
        train.learning_rate,
        train.betas,
        weight_decay=train.weight_decay,
        fused=True,
    )
