"""Exponential moving average of the weights: what is shown, exported and sampled from."""

import copy
import math

import torch

from openimagen.unet import UNet


class EMA:
    """Average of a network over about the last `length` images it saw.

    Never over more than the last tenth of the run so far, so that a short run is not held back by
    its random start.
    """

    def __init__(self, net: UNet, length: int) -> None:
        self.length = length
        self.net = copy.deepcopy(net).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, net: UNet, images: int, batch: int) -> None:
        """Move towards `net`, which has seen `images` images, the last `batch` of them just now."""
        length = min(self.length, max(images / 10, batch))
        decay = math.exp(-batch / length)
        torch._foreach_lerp_(list(self.net.parameters()), list(net.parameters()), 1 - decay)
