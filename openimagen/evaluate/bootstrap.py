"""Bootstrap intervals: how else a figure could have come out, had other pictures been drawn."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from jaxtyping import Float
from torch import Tensor

RESAMPLES = 2000
BLOCK = 2**20  # numbers drawn at once


def draws(
    count: int, rng: np.random.Generator, resamples: int = RESAMPLES
) -> Iterator[npt.NDArray[np.int64]]:
    """Resamples of `count` things, drawn with replacement: their numbers, [b count] at a time."""
    rows = max(1, BLOCK // count)
    for start in range(0, resamples, rows):
        yield rng.integers(count, size=(min(rows, resamples - start), count))


def interval(replicates: npt.NDArray[np.float64]) -> tuple[float, float]:
    """The 95% interval of the figures of resamples: their 2.5th and 97.5th percentile."""
    low, high = np.percentile(replicates, [2.5, 97.5])
    return float(low), float(high)


@dataclass(frozen=True)
class Estimate:
    """A figure of real and fake pictures, and what each picture does to it.

    A picture's influence is the derivative of the figure in the picture's weight, in a sample whose
    weights sum to 1 (Hampel, 1974). Those of either side sum to 0.
    """

    value: float
    real: Float[Tensor, "n"]  # influences
    fake: Float[Tensor, "m"]

    def interval(self, seed: int = 0) -> tuple[float, float]:
        """95% bootstrap interval over pictures, each side resampled by itself.

        The figure of a resample is the first-order one: value + mean influence of its pictures. So
        a picture drawn twice is one that counts double, never two pictures that look alike, which
        would pull in every distance, and the replicates lie round the value. What is covered is
        what the estimator gives on average for this many pictures, its bias included: of a hundred
        intervals at 60 to 1000 simulated pictures 87 to 100 did.
        """
        rngs = np.random.default_rng(seed).spawn(2)
        moves = [_means(side, rng) for side, rng in zip((self.real, self.fake), rngs, strict=True)]
        return interval(self.value + moves[0] + moves[1])


def _means(influences: Float[Tensor, "n"], rng: np.random.Generator) -> npt.NDArray[np.float64]:
    rows = influences.double().cpu().numpy()
    return np.concatenate([rows[drawn].mean(1) for drawn in draws(len(rows), rng)])
