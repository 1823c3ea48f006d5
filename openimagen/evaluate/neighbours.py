"""Is a picture among the others? Precision, recall, density and coverage, by nearest neighbours.

A set of pictures is taken for the union of balls, one round each picture, that reach to its k-th
nearest neighbour. Precision is the share of fake pictures inside the balls of the real ones, recall
the reverse (Kynkaanniemi et al., 2019, eq. 1-2). Density counts how many balls hold a fake picture;
coverage is the share of the real balls that hold any (Naeem et al., 2020, eq. 4-5).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from openimagen.evaluate.bootstrap import Estimate
from openimagen.evaluate.kernels import BLOCK, squared_distances


@dataclass(frozen=True)
class Balls:
    """Balls round pictures, with what they would be were one of the pictures not there."""

    centres: Float[Tensor, "n d"]
    radii: Float[Tensor, "n"]  # squared, as all distances here
    wider: Float[Tensor, "n"]  # to the neighbour after, for when one of the k is not there
    neighbours: Int[Tensor, "n k"]

    def lean_on(self, gains: Tensor) -> Tensor:
        """For each picture the sum of the gains [n ...] of those balls that end if it goes."""
        total = torch.zeros_like(gains)
        for column in self.neighbours.T:
            total.index_add_(0, column, gains)
        return total


@dataclass(frozen=True)
class Manifold:
    """Points against balls; in each estimate "real" are the balls and "fake" the points."""

    precision: Estimate
    density: Estimate
    coverage: Estimate


def manifold(centres: Float[Tensor, "n d"], points: Float[Tensor, "m d"], k: int) -> Manifold:
    """Share of points in balls, mean number of balls round a point over k, share of balls in use.

    n >= k + 2, m >= 2. Influences are the jackknife's: each picture is left out in turn, and its
    neighbours' balls then grow to their next neighbour. Never are pictures drawn twice: a picture
    and its double would be neighbours at no distance.
    """
    middle = centres.double().mean(0)  # for the least rounding
    balls, spots = _balls(centres.double() - middle, k), points.double() - middle
    n, m = len(centres), len(points)
    held, without, held_without = spots.new_empty(m), spots.new_zeros(n), spots.new_zeros(n)
    nearest = _Nearest.none(n, spots)
    step = max(1, BLOCK // n)
    for start in range(0, m, step):
        block = squared_distances(balls.centres, spots[start : start + step])  # [n b]
        inside = block <= balls.radii[:, None]
        counts = inside.sum(0, dtype=torch.int32)  # balls that hold each point
        held[start : start + step] = counts
        left = _counts_without(balls, block, inside, counts)  # [n b]
        without += left.sum(1)
        held_without += (left > 0).sum(1)
        nearest = nearest.update(block, start)
    return Manifold(
        precision=_of_points((held > 0).double(), held_without / m),
        density=_of_points(held / k, without / (k * m)),
        coverage=_coverage(balls, nearest, m),
    )


def _balls(pictures: Float[Tensor, "n d"], k: int) -> Balls:
    n = len(pictures)
    distances = pictures.new_empty(n, k + 1)
    numbers = torch.empty(n, k + 1, dtype=torch.int64, device=pictures.device)
    step = max(1, BLOCK // n)
    for start in range(0, n, step):
        block = squared_distances(pictures[start : start + step], pictures)
        block.diagonal(start).fill_(torch.inf)  # nobody is a neighbour of himself
        distances[start : start + step], numbers[start : start + step] = block.topk(
            k + 1, largest=False
        )
    # Equal pictures lie at distances of rounding, which must not part them.
    distances += 1e-12 * pictures.square().sum(1).max()
    return Balls(pictures, distances[:, k - 1], distances[:, k], numbers[:, :k])


def _counts_without(
    balls: Balls,
    distances: Float[Tensor, "n b"],
    inside: Bool[Tensor, "n b"],
    counts: Int[Tensor, "b"],
) -> Int[Tensor, "n b"]:
    """How many balls hold each point, were each centre in turn not there."""
    grown = (distances <= balls.wider[:, None]) & ~inside
    return counts - inside.int() + balls.lean_on(grown.int())


def _of_points(figures: Float[Tensor, "m"], without: Float[Tensor, "n"]) -> Estimate:
    """A mean over points, of which `without` is what is left without each centre."""
    return Estimate(
        float(figures.mean()),
        (len(without) - 1) * (without.mean() - without),
        figures - figures.mean(),
    )


@dataclass(frozen=True)
class _Nearest:
    """The two points that are nearest to each centre, of those seen."""

    distances: Float[Tensor, "n 2"]
    numbers: Int[Tensor, "n 2"]

    @classmethod
    def none(cls, n: int, like: Tensor) -> "_Nearest":
        return cls(
            like.new_full((n, 2), torch.inf),
            torch.zeros(n, 2, dtype=torch.int64, device=like.device),
        )

    def update(self, block: Float[Tensor, "n b"], start: int) -> "_Nearest":
        """With the points of a block too, whose first has number `start`."""
        near, columns = block.topk(min(2, block.shape[1]), largest=False)
        distances = torch.cat([self.distances, near], 1)
        kept, which = distances.topk(2, largest=False)
        return _Nearest(kept, torch.cat([self.numbers, start + columns], 1).gather(1, which))


def _coverage(balls: Balls, nearest: _Nearest, m: int) -> Estimate:
    n = len(balls.radii)
    first, second = nearest.distances.T
    covered = (first <= balls.radii).double()
    grown = (first <= balls.wider).double() - covered
    without = (covered.sum() - covered + balls.lean_on(grown)) / (n - 1)  # each centre
    alone = covered * (second > balls.radii)  # covered by its nearest point only
    lost = alone.new_zeros(m).index_add_(0, nearest.numbers[:, 0], alone) / n
    return Estimate(
        float(covered.mean()),
        (n - 1) * (without.mean() - without),
        (m - 1) * (lost - lost.mean()),
    )
