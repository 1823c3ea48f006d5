"""Gaussian noise for training, where it is used: an example's own, on any device the same.

A counter is hashed instead of a state carried on (Salmon et al., 2011, "Parallel random numbers: as
easy as 1, 2, 3"), so that a batch is drawn at once, and a GPU waits for nothing.
"""

import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor

# SplitMix64's (Steele et al., 2014), as signed numbers; products wrap around
GOLDEN = 0x9E3779B97F4A7C15 - 2**64
FIRST, SECOND = 0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64
HALF = 32  # bits


class ExampleNoise:
    """Standard normal noise with a stream for each example, a function of (seed, number) alone."""

    def __init__(self, seed: int, numbers: range, device: torch.device) -> None:
        start = _hashed(torch.tensor(seed % 2**63, device=device))
        self._keys = _hashed(start + torch.tensor([*numbers], dtype=torch.int64, device=device))
        self._drawn = 0  # words of each stream

    def draw(self, *shape: int) -> Float[Tensor, "b ..."]:
        """Next noise of this shape for each example, [b *shape], float32."""
        pairs = -(-math.prod(shape) // 2)
        counters = torch.arange(self._drawn, self._drawn + pairs, device=self._keys.device)
        self._drawn += pairs
        words = _hashed(self._keys[:, None] + counters * GOLDEN)  # [b pairs]
        # Box & Muller (1958): a radius and an angle make two of them
        radius = _shifted(words, HALF).float().add_(0.5).div_(2.0**HALF)  # in (0, 1]
        angle = words.bitwise_and_(2**HALF - 1).float().mul_(2 * math.pi / 2**HALF)
        radius.log_().mul_(-2).sqrt_()
        noise = torch.stack([radius * angle.cos(), radius * angle.sin_()], dim=-1).flatten(1)
        return noise[:, : math.prod(shape)].reshape(len(self._keys), *shape)


def _hashed(numbers: Int64[Tensor, "*n"]) -> Int64[Tensor, "*n"]:
    """SplitMix64's finish: every bit of the result hangs on every bit of the number."""
    numbers = numbers ^ _shifted(numbers, 30)
    for factor, bits in ((FIRST, 27), (SECOND, 31)):
        numbers *= factor
        numbers ^= _shifted(numbers, bits)
    return numbers


def _shifted(numbers: Int64[Tensor, "*n"], bits: int) -> Int64[Tensor, "*n"]:
    """To the right, zeros coming in."""
    return (numbers >> bits).bitwise_and_(2 ** (64 - bits) - 1)
