"""How much memory a stage takes in training, told from its numbers before anything is made."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks

from openimagen.config import StageConfig, TrainConfig
from openimagen.text import TextEmbedding
from openimagen.train.adafactor import kept_of
from openimagen.train.lora import adapt
from openimagen.train.parallel import blocks_of
from openimagen.train.trainee import muon_matrices
from openimagen.unet import UNet

FLOAT = 4  # bytes: weights, gradients, moments and averages are float32
BESIDE = 64 * 2**20  # of libraries at work
COMING_AND_GOING = 1.5  # what is kept and what comes and goes, over what is kept: as measured


@dataclass(frozen=True)
class Memory:
    """What one process needs, in bytes."""

    parameters: int  # their number
    weights: int  # with their gradients, the optimiser's moments, the average
    copy: int  # of all that but the gradients, while a checkpoint is written
    once: int  # kept for the way back, whatever the batch: weights in bfloat16
    picture: int  # for each picture of the batch
    kept: int  # for each picture of a part of the batch, for the way back

    def peak(self, share: int, part: int) -> int:
        """At `share` pictures of each batch, computed `part` by `part`."""
        fixed = self.weights + self.copy + self.once + BESIDE
        return int(fixed + share * self.picture + part * COMING_AND_GOING * self.kept)


def memory_of(
    stage: StageConfig, train: TrainConfig, scale: int, tokens: int, ranks: int, on_cpu: bool
) -> Memory:
    """Estimate for one of several ranks; captions have up to `tokens` tokens.

    The network is run on tensors without contents, and what it keeps is added up.
    """
    with FakeTensorMode():
        net = UNet(stage.unet)
        one, two = (_kept(net, stage, train, scale, tokens, pictures) for pictures in (1, 2))
    if train.lora is not None:  # adds too little to what is kept to be worth a pass of its own
        with torch.device("meta"):
            adapt(net := UNet(stage.unet), train.lora)
    every, learnt = _count(net, False), _count(net, True)
    moments = _moments(net, train)
    shares = ranks if train.parallel == "fsdp" else 1
    kept = FLOAT * (2 * every + moments) // shares  # weights, average, moments
    return Memory(
        parameters=every,
        weights=kept + FLOAT * learnt // shares,
        copy=kept if on_cpu else 0,  # of a GPU it goes to main memory
        once=max(0, 2 * one - two) // shares,
        picture=4 * FLOAT * 3 * (train.crop or stage.side) ** 2,  # pixels, noise, and both mixed
        kept=two - one,
    )


def check_memory(
    stage: StageConfig, train: TrainConfig, memory: Memory, ranks: int, free: int | None
) -> str:
    """A sentence on what the stage will take. ValueError, with the setting to change, if too much.

    `free`: bytes that each process may have; None where that is not known.
    """
    share = -(-train.batch // ranks)
    needs = memory.peak(share, -(-share // train.accumulate))
    size = f"{memory.parameters / 1e6:.1f}M parameters"
    said = f"{stage.name}: {size}, about {_size(needs)} of memory at its peak"
    if free is None or needs <= free:
        return said if free is None else f"{said}, {_size(free)} are free"
    key = f"train.{stage.name}"
    each = COMING_AND_GOING * memory.kept
    if room := max(0, int((free - memory.peak(share, 0)) // each)):
        fix = f"{key}.accumulate={-(-share // room)}"
    elif memory.peak(1, 1) <= free:  # but not the pictures of a whole batch, whatever its parts
        fix = f"{key}.batch={ranks * int((free - memory.peak(0, 0)) // (memory.picture + each))}"
    elif not train.checkpoint_activations:
        fix = f"{key}.checkpoint_activations=true"
    elif ranks > 1 and train.parallel == "ddp":
        fix = f"{key}.parallel=fsdp"
    else:
        fix = f"model.stages.{stage.name}.unet.width to a smaller one"
    raise ValueError(f"{said}, but {_size(free)} are free: --set {fix}")


# --- a pass that computes nothing -----------------------------------------------------------------


class Kept:
    """What a pass keeps for the way back: bytes of each storage, by the block that keeps it."""

    def __init__(self, net: UNet) -> None:
        self.block: nn.Module | None = None  # that is running
        self.inputs: dict[nn.Module, int] = {}
        self._sizes: dict[nn.Module | None, int] = {}
        self._storages = [weight.untyped_storage() for weight in net.parameters()]
        self._known = {storage._cdata for storage in self._storages}

    def add(self, tensor: Tensor) -> Tensor:
        """Take down a tensor that is kept, unless it is a weight or is kept already."""
        storage = tensor.untyped_storage()
        if storage._cdata not in self._known:
            self._known.add(storage._cdata)
            self._storages.append(storage)  # or another could come to stand where it stood
            self._sizes[self.block] = self._sizes.get(self.block, 0) + storage.nbytes()
        return tensor

    def enter(self, block: nn.Module, inputs: tuple[Any, ...]) -> None:
        """A block begins, with these inputs."""
        self.block = block
        self.inputs[block] = inputs[0].nbytes

    def leave(self, *_: object) -> None:
        """It has ended."""
        self.block = None

    def total(self, again: bool) -> int:
        """Bytes in all; if blocks are computed `again`, their inputs and the largest block."""
        outside = self._sizes.get(None, 0)
        inside = [size for block, size in self._sizes.items() if block is not None]
        return outside + (2 * (sum(self.inputs.values()) + max(inside)) if again else sum(inside))


def _kept(
    net: UNet, stage: StageConfig, train: TrainConfig, scale: int, tokens: int, batch: int
) -> int:
    """Bytes that a step on `batch` pictures keeps beside the weights, and its inputs."""
    side, config, kept = train.crop or stage.side, stage.unet, Kept(net)
    mask = torch.ones(batch, tokens, dtype=torch.bool)
    text = TextEmbedding(torch.empty(batch, tokens, config.text_width), mask)
    z, log_snr = torch.empty(batch, 3, side, side), torch.empty(batch)
    below = torch.empty(batch, 3, side // scale, side // scale) if config.lowres else None
    hooks = [
        hook
        for block in blocks_of(net)
        for hook in (
            block.register_forward_pre_hook(kept.enter),
            block.register_forward_hook(kept.leave),
        )
    ]
    is_bf16 = train.precision == "bfloat16"
    mixed = torch.autocast("cpu", torch.bfloat16, enabled=is_bf16)
    with saved_tensors_hooks(kept.add, lambda tensor: tensor), mixed:
        net(z, log_snr, text, below, None if below is None else log_snr)
    for hook in hooks:
        hook.remove()
    return kept.total(train.checkpoint_activations) + text.tokens.nbytes


def _count(net: UNet, learnt: bool) -> int:
    return sum(w.numel() for w in net.parameters() if w.requires_grad or not learnt)


def _moments(net: UNet, train: TrainConfig) -> int:
    """Numbers that the optimiser keeps: Adam two a weight, Muon one for a matrix's."""
    if train.optimizer == "adafactor":
        return sum(kept_of(weight.shape) for weight in net.parameters() if weight.requires_grad)
    matrices = muon_matrices(net) if train.optimizer == "muon" else []
    return 2 * _count(net, True) - sum(weight.numel() for weight in matrices)


def _size(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"
