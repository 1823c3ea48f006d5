"""One stage in training: all that a checkpoint holds."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)

from openimagen.config import StageConfig, TrainConfig
from openimagen.train import checkpoint
from openimagen.train.adafactor import Adafactor
from openimagen.train.ema import EMA
from openimagen.train.graph import GradientGraph
from openimagen.train.lora import merged
from openimagen.train.muon import Muon
from openimagen.train.parallel import (
    gathered,
    is_sharded,
    part_of,
    rank,
    ranks,
    shard,
    spread,
)
from openimagen.train.step import BatchShare
from openimagen.train.watch import Watch
from openimagen.unet import UNet


@dataclass
class Trainee:
    """Network, average, optimiser, and the clock: images seen by all ranks."""

    config: StageConfig
    train: TrainConfig
    scale: int  # how much larger than the stage below; 1 for the base
    net: UNet
    device: torch.device
    images: int = 0
    data: dict[str, Any] | None = None  # where a loader was: this rank's, or the first of others'
    model: nn.Module = field(init=False)  # what a step calls: `net`, perhaps spread over ranks
    graph: GradientGraph | None = field(init=False)  # of a compiled network on one GPU
    ema: EMA = field(init=False)
    watch: Watch = field(init=False)
    optimizer: torch.optim.Optimizer = field(init=False)

    def __post_init__(self) -> None:
        net = self.net.train().to(self.device)
        self.net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.ema = EMA(self.net, self.train.ema_images)
        self.watch = Watch(self.train.spike)
        self.model = spread(self.net, self.train)
        self.graph = GradientGraph(self.net) if self.is_recorded else None
        if is_sharded(self.train):
            shard(self.ema.net)
        self.optimizer = make_optimizer(self.net, self.train)

    @property
    def is_recorded(self) -> bool:
        """Whether a step is one batch through a compiled network, on one GPU."""
        train, whole = self.train, self.train.accumulate == 1 and ranks() == 1
        is_plain = whole and not train.checkpoint_activations
        return train.compile and self.device.type == "cuda" and is_plain

    @property
    def is_done(self) -> bool:
        """Whether it has seen all the images it should."""
        return self.images >= self.train.images

    def drawing_net(self) -> UNet | None:
        """The averaged network, whole and without adapters, on the first rank: what is exported."""
        net = gathered(self.ema.net, self.train.lora)
        return net if net is None or self.train.lora is None else merged(net)

    def next_batch(self) -> BatchShare:
        """Which examples of the run the next step is about."""
        stop = min(self.images + self.train.batch, self.train.images)
        batch = range(self.images, stop)
        return BatchShare(batch, part_of(batch))

    def load(self, path: Path) -> None:
        """Go on from a checkpoint, of any number of ranks."""
        state, names = self.state(), checkpoint.names(path)  # shares the weights, read in place
        loaders = [name.removeprefix("data.") for name in names if name.startswith("data.")]
        ours = [name for name in loaders if name == f"{rank()} of {ranks()}"]
        for name in ours or [name for name in loaders if name.startswith("0 of ")]:
            state["data"] = {name: b""}
        checkpoint.load(path, state)
        set_optimizer_state_dict(self.net, self.optimizer, state["optimizer"])
        self.images = int(state["images"])
        for place in state.get("data", {}).values():
            self.data = json.loads(place)

    def state(self, data: dict[str, Any] | None = None) -> dict[str, Any]:
        """All that a checkpoint holds; `data` is where the loader of this rank is, if it says."""
        loaders = {f"{rank()} of {ranks()}": json.dumps(data).encode()} if data else None
        return ({"data": loaders} if loaders else {}) | {
            "net": self.net.state_dict(),
            "ema": self.ema.net.state_dict(),
            "optimizer": get_optimizer_state_dict(self.net, self.optimizer),
            "images": torch.tensor(self.images),
            "watch": self.watch.state_dict(),
        }


def muon_matrices(net: UNet) -> list[nn.Parameter]:
    """What Muon steps itself: no vectors, nor the stem and the last layer."""
    edges = {*net.stem.parameters(), *net.last.parameters()}
    inner = [weight for weight in net.parameters() if weight.requires_grad and weight not in edges]
    return [weight for weight in inner if weight.ndim > 1 and len(weight) > 1]


def make_optimizer(net: UNet, train: TrainConfig) -> torch.optim.Optimizer:
    """AdamW; Adafactor as the paper's base model used it; or Muon."""
    weights = [weight for weight in net.parameters() if weight.requires_grad]
    if train.optimizer == "muon":
        matrices = muon_matrices(net)
        others = [weight for weight in weights if weight not in {*matrices}]
        return Muon(matrices, others, train.learning_rate, train.betas, train.weight_decay)
    if train.optimizer == "adafactor":
        return Adafactor(weights, train.learning_rate, train.weight_decay)
    return torch.optim.AdamW(
        weights,
        train.learning_rate,
        train.betas,
        weight_decay=train.weight_decay,
        fused=True,
    )
