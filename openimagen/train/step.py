"""One training step, as the paper says it: noise the picture, drop some texts, ask the network."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from openimagen.config import StageConfig, TrainConfig
from openimagen.data.images import to_float
from openimagen.diffusion import (
    add_noise,
    augmentation_log_snr,
    diffusion_loss,
    log_snr_at,
    preconditioning,
)
from openimagen.text import TextEmbedding
from openimagen.train.noise import ExampleNoise


class BatchShare(NamedTuple):
    """Numbers, counted over the run, of a batch's examples and of this rank's among them."""

    batch: range
    mine: range


@dataclass(frozen=True)
class Noised:
    """What one step needs beside the network: made once for a rank's share, used in parts."""

    x: Float[Tensor, "b 3 h w"]
    eps: Float[Tensor, "b 3 h w"]
    t: Float[Tensor, "b"]
    log_snr: Float[Tensor, "b"]
    text: TextEmbedding
    lowres: Float[Tensor, "b 3 h_low w_low"] | None = None
    aug_log_snr: Float[Tensor, "b"] | None = None
    keeps_pooled: Bool[Tensor, "b"] | None = None  # as `UNet.forward` takes it

    def part(self, number: int, parts: int) -> "Noised":
        """The `number`-th of `parts` slices of the batch."""
        return self.map(lambda tensor: tensor.tensor_split(parts)[number])

    def map(self, change: Callable[[Tensor], Tensor]) -> "Noised":
        """The same of every tensor."""

        def changed(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else change(tensor)

        return Noised(
            change(self.x),
            change(self.eps),
            change(self.t),
            change(self.log_snr),
            TextEmbedding(change(self.text.tokens), change(self.text.mask)),
            changed(self.lowres),
            changed(self.aug_log_snr),
            changed(self.keeps_pooled),
        )

    def tensors(self) -> list[Tensor]:
        """All that there are, in the order of the fields."""
        perhaps = (self.lowres, self.aug_log_snr, self.keeps_pooled)
        there = [tensor for tensor in perhaps if tensor is not None]
        return [self.x, self.eps, self.t, self.log_snr, *self.text, *there]


def prepare(
    stage: StageConfig,
    train: TrainConfig,
    image: UInt8[Tensor, "b 3 h w"],
    text: TextEmbedding,
    scale: int,
    share: BatchShare,
    below: UInt8[Tensor, "b 3 h_low w_low"] | None = None,
) -> Noised:
    """Draw noise levels, noise, dropped texts and, for super-resolution, the noised picture below.

    `scale` is how much larger the stage's pictures are than those below; 1 for the base. If those
    `below` are not given, they are the pictures made smaller.
    What an example gets is decided by the seed, its number and its batch alone, not by how the
    batch is shared nor by the device.
    """
    device, (batch, mine) = text.tokens.device, share
    x, here = to_float(image.to(device)), slice(mine.start - batch.start, mine.stop - batch.start)
    noise = ExampleNoise(train.seed, mine, device)
    levels = torch.Generator().manual_seed(seed_of(train.seed, batch.start))

    def uniform() -> Float[Tensor, "b"]:
        return torch.rand(len(batch), generator=levels)[here].to(device)

    # one quantile per picture, spread evenly over the batch: less variance, same distribution
    place = torch.randperm(len(batch), generator=levels)[here].to(device)
    t = (uniform() + place) / len(batch)
    log_snr = log_snr_at(stage.diffusion.schedule, t)
    text = text.drop(uniform() < train.text_drop)
    keeps = uniform() >= train.pool_drop if train.pool_drop else None
    if not stage.unet.lowres:
        return Noised(x, noise.draw(*x.shape[1:]), t, log_snr, text, keeps_pooled=keeps)
    lowres = avg_pool2d(x, scale) if below is None else to_float(below.to(device))
    aug_log_snr = augmentation_log_snr(stage.diffusion, uniform())  # a level per picture
    lowres = add_noise(lowres, noise.draw(*lowres.shape[1:]), aug_log_snr)
    return Noised(x, noise.draw(*x.shape[1:]), t, log_snr, text, lowres, aug_log_snr, keeps)


def seed_of(*numbers: int) -> int:
    """One seed out of several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])


def loss_of(net: nn.Module, stage: StageConfig, noised: Noised) -> Float[Tensor, "b"]:
    """Weighted error of each picture of the batch."""
    z = add_noise(noised.x, noised.eps, noised.log_snr)
    c_in = preconditioning(stage.diffusion, noised.log_snr).c_in
    z = (c_in * z).contiguous(memory_format=torch.channels_last)
    below = noised.lowres, noised.aug_log_snr
    output = net(z, noised.log_snr, noised.text, *below, noised.keeps_pooled)
    return diffusion_loss(stage.diffusion, output, noised.x, noised.eps, noised.log_snr)


def learning_rate(train: TrainConfig, images: int) -> float:
    """Rises over the warm-up, stays, falls to 0 over the last `cooldown` of the run."""
    warmup = min(1.0, images / max(train.warmup_images, 1))
    cooldown = train.cooldown * train.images
    left = (train.images - images) / cooldown if cooldown else 1.0
    return train.learning_rate * min(warmup, left, 1.0)
