"""Mean and covariance of features that come in batches, on one rank or many, in one go or several.

Sums are of deviations, never of squares, whose difference would be rounding (Chan et al., 1983).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass
class Moments:
    """Count, mean and scatter of the features seen so far, in float64."""

    count: int
    mean: Float[Tensor, "d"]
    scatter: Float[Tensor, "d d"]  # sum of (x - mean)(x - mean)^T

    @classmethod
    def empty(cls, width: int) -> "Moments":
        """Of nothing yet, for features of a width."""
        zeros = torch.zeros(width, width, dtype=torch.float64)
        return cls(0, zeros.new_zeros(width), zeros)

    @classmethod
    def of(cls, batches: Iterable[Float[Tensor, "_ _"]]) -> "Moments":
        """Of batches of features [b d], each dropped once seen. ValueError if there are none."""
        moments: Moments | None = None
        for batch in batches:
            moments = moments or cls.empty(batch.shape[1])
            moments.add(batch)
        if moments is None:
            raise ValueError("no features came: give at least one batch")
        return moments

    def add(self, features: Float[Tensor, "b d"]) -> None:
        """Take in a batch. ValueError if its width is another or a number is not finite."""
        if not features.isfinite().all():
            raise ValueError("features are not finite: are the pictures?")
        if not len(features):
            return
        rows = features.double().to(self.mean.device)
        mean = rows.mean(0)
        self._shift(len(rows), mean)
        self.scatter.addmm_((rows - mean).T, rows - mean)

    def merge(self, other: "Moments") -> None:
        """Take in what another has seen. ValueError if it is of another width."""
        if other.count:
            self._shift(other.count, other.mean)
            self.scatter += other.scatter

    def _shift(self, added: int, mean: Float[Tensor, "e"]) -> None:
        """What so many with another mean change, but for their own scatter."""
        if mean.shape != self.mean.shape:
            raise ValueError(
                f"features of {len(mean)} and {len(self.mean)} numbers: use one network"
            )
        count = self.count + added
        apart = mean - self.mean
        self.scatter.addr_(apart, apart, alpha=self.count * added / count)
        self.mean += apart * (added / count)
        self.count = count

    @property
    def covariance(self) -> Float[Tensor, "d d"]:
        """Unbiased. ValueError for fewer than two pictures."""
        if self.count < 2:
            raise ValueError(f"{self.count} pictures have no covariance: give at least 2")
        return self.scatter / (self.count - 1)

    def state_dict(self) -> dict[str, Tensor]:
        """Tensors to save, send to another rank and go on from."""
        return {"count": torch.tensor(self.count), "mean": self.mean, "scatter": self.scatter}

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor]) -> "Moments":
        """The inverse of `state_dict`; the tensors are copied."""
        return cls(int(state["count"]), state["mean"].clone(), state["scatter"].clone())
