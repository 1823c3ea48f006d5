"""What a run notices of its own steps: means for the log, loss by noise level, and spikes."""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import one_hot

QUARTERS = 4  # of the noise schedule, t from 0 (picture) to 1 (noise)
MEMORY = 0.99  # of the usual gradient: about a hundred steps
LEARNING = 100  # steps that it takes to know it


class Watch:
    """Sums over the steps since the last log line, and how long gradients usually are.

    `most`: a gradient so many times as long as usual is a spike; None: there are none.
    """

    def __init__(self, most: float | None) -> None:
        self.most = most
        self.tally = torch.zeros(4, dtype=torch.float64)  # loss, norm, steps taken, skipped
        self.by_noise = torch.zeros(2, QUARTERS, dtype=torch.float64)  # losses, and pictures
        self.norms = torch.zeros(2, dtype=torch.float64)  # decaying sum, and steps behind it
        self._row = torch.zeros((), dtype=torch.int64)  # steps skipped, one after the other

    def state_dict(self) -> dict[str, Tensor]:
        """All of it, as a checkpoint keeps it; read in place."""
        sums = {"tally": self.tally, "by_noise": self.by_noise}
        return {**sums, "norms": self.norms, "row": self._row}

    @property
    def skipped(self) -> int:
        """Steps in a row that were skipped, up to the last one."""
        return int(self._row)

    @property
    def usual(self) -> float:
        """The decaying mean of the norms of gradients; not a number before the first."""
        total, steps = self.norms.tolist()
        return total / (1 - MEMORY**steps) if steps else math.nan

    def is_sound(self, loss: float, norm: float) -> bool:
        """Whether a step may be taken: both are numbers, and the gradient is no spike."""
        if not (math.isfinite(loss) and math.isfinite(norm)):
            return False
        return norm <= self._limit()

    def count(self, loss: float, norm: float, by_noise: Tensor, taken: bool) -> None:
        """Add a step; of one that was not taken, only that. `by_noise` is `noise_sums`'s."""
        self._row.fill_(0 if taken else self.skipped + 1)
        if taken:
            self.tally += torch.tensor([loss, norm, 1, 0], dtype=torch.float64)
            self.by_noise += by_noise.cpu()
        else:
            self.tally[3] += 1
        if math.isfinite(norm):  # a spike moves it a little, so that a new level becomes usual
            self.norms[0] = MEMORY * self.norms[0] + (1 - MEMORY) * min(norm, self._limit())
            self.norms[1] += 1

    def means(self) -> dict[str, float]:
        """Figures for a log line, of the steps since the last one; the sums begin again."""
        loss, norm, taken, skipped = self.tally.tolist()
        figures = {"loss": loss / taken, "gradient": norm / taken} if taken else {}
        for quarter, (total, pictures) in enumerate(self.by_noise.T.tolist()):
            if pictures:
                figures[f"loss_noise_{quarter + 1}_of_{QUARTERS}"] = total / pictures
        self.tally.zero_()
        self.by_noise.zero_()
        return {**figures, "skipped": skipped}

    def _limit(self) -> float:
        known = self.most is not None and self.norms[1] >= LEARNING
        return self.most * self.usual if known and self.most else math.inf


def noise_sums(losses: Float[Tensor, "b"], t: Float[Tensor, "b"]) -> Float[Tensor, "2 quarters"]:
    """Sum of the losses, and number of pictures, in each quarter of the noise schedule."""
    quarter = (QUARTERS * t).long().clamp(max=QUARTERS - 1)
    belongs = one_hot(quarter, QUARTERS).to(losses.dtype)  # [b quarters]
    return torch.stack([losses @ belongs, belongs.sum(dim=0)])
