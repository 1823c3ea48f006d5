"""Is it copying? How near drawn pictures come to those that the model was trained on.

A picture is a near-copy if it lies nearer to a training picture than that one lies to any other
training picture (it is not "authentic": Alaa et al., 2022, section 3.3), or if it is that picture:
one that is there twice has another at no distance. Fresh draws from where the training pictures
came from are near-copies in up to half of the cases, by chance; copies in all.
So the share is read against that of real pictures that were not trained on.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from openimagen.evaluate.bootstrap import share_interval

BLOCK = 1024  # rows at once
SAME = 1e-6  # 1 - cosine below which two are one picture: rounding differs from batch to batch


@dataclass(frozen=True)
class Nearest:
    """For each picture its nearest training picture, how far that is, whether it is a near-copy."""

    numbers: Int[Tensor, "n"]
    distances: Float[Tensor, "n"]  # 1 - cosine
    is_copy: Bool[Tensor, "n"]


@dataclass(frozen=True)
class Copying:
    """Share of near-copies with its 95% bootstrap interval, and how near training pictures are."""

    features: str
    pictures: int
    training: int
    share: float
    low: float
    high: float
    distances: tuple[float, float, float]  # to the nearest, 1 - cosine: quartiles


def nearest(pictures: Float[Tensor, "n d"], training: Float[Tensor, "m d"]) -> Nearest:
    """The nearest training pictures, by the cosine of their features.

    Raises ValueError for fewer than two training pictures: none is then near another.
    """
    if len(training) < 2:
        raise ValueError(f"{len(training)} training picture has no other: give at least 2")
    drawn, known = (normalize(rows.double(), dim=1) for rows in (pictures, training))
    distances, numbers = _two_nearest(drawn, known)
    among = _two_nearest(known[numbers[:, 0]], known)[0][:, 1]  # past the picture itself
    return Nearest(numbers[:, 0], distances[:, 0], distances[:, 0] < among.clamp(min=SAME))


def copying(found: Nearest, training: int, features: str) -> Copying:
    """The figures of what `nearest` found."""
    hits = found.is_copy.double().tolist()
    share = share_interval(hits, [str(number) for number in range(len(hits))])
    quartiles = found.distances.quantile(torch.tensor([0.25, 0.5, 0.75]).double())
    low, middle, high = (float(each) for each in quartiles)
    return Copying(features, len(hits), training, *share, (low, middle, high))


def _two_nearest(
    rows: Float[Tensor, "n d"], known: Float[Tensor, "m d"]
) -> tuple[Float[Tensor, "n 2"], Int[Tensor, "n 2"]]:
    """1 - cosine to the two nearest of `known`, and which these are."""
    found = [(block @ known.T).topk(2) for block in torch.split(rows, BLOCK)]
    return 1 - torch.cat([each.values for each in found]), torch.cat(
        [each.indices for each in found]
    )
