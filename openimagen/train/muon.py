"""Muon (Jordan, 2024): momentum made orthogonal, so that every direction of a matrix moves alike.

Matrices are the weights of linear layers and convolutions, a row for each output; all else, and
the U-Net's stem and last layer (`trainee.muon_matrices`), goes by Adam.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from openimagen.device import has_bfloat16

MOMENTUM = 0.95
GAIN = 10.0  # what a matrix's step turns a vector by, in learning rates: one serves both
QUINTIC = (3.4445, -4.7750, 2.0315)  # Jordan's: singular values come to lie in 0.7 to 1.2
STEPS = 5
EPS = 1e-8


class Muon(torch.optim.Optimizer):
    """`matrices` are at least two-dimensional; the first dimension is of outputs."""

    def __init__(
        self,
        matrices: Iterable[nn.Parameter],
        others: Iterable[nn.Parameter],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ) -> None:
        groups = [
            {"params": [*matrices], "is_matrix": True},
            {"params": [*others], "is_matrix": False},
        ]
        super().__init__(groups, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move every weight that has a gradient."""
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            if not weights:
                continue
            moves = self._orthogonal(weights) if group["is_matrix"] else self._adam(weights, group)
            torch._foreach_mul_(weights, 1 - group["lr"] * group["weight_decay"])
            torch._foreach_sub_(weights, moves, alpha=group["lr"])

    def _orthogonal(self, weights: Sequence[nn.Parameter]) -> list[Tensor]:
        """Matrices of one shape together: a GPU has little to do for each."""
        gradients, momenta = _gradients(weights), self._kept(weights, "momentum")
        torch._foreach_lerp_(momenta, gradients, 1 - MOMENTUM)
        ahead = [*torch._foreach_lerp(gradients, momenta, MOMENTUM)]  # Nesterov's
        alike = defaultdict[torch.Size, list[int]](list)
        for number, each in enumerate(ahead):
            alike[each.flatten(1).shape].append(number)
        for (rows, columns), numbers in alike.items():
            gain = GAIN * max(1.0, rows / columns) ** 0.5
            matrices = gain * orthogonal(torch.stack([ahead[n].flatten(1) for n in numbers]))
            for number, matrix in zip(numbers, matrices, strict=True):
                ahead[number] = matrix.view(ahead[number].shape)
        return ahead

    def _adam(self, weights: Sequence[nn.Parameter], group: dict[str, Any]) -> list[Tensor]:
        gradients, (beta1, beta2) = _gradients(weights), group["betas"]
        means, squares = self._kept(weights, "mean"), self._kept(weights, "square")
        counts = [self._counted(weight) for weight in weights]
        torch._foreach_lerp_(means, gradients, 1 - beta1)
        torch._foreach_lerp_(squares, torch._foreach_mul(gradients, gradients), 1 - beta2)
        roots = torch._foreach_div(squares, [1 - beta2**count for count in counts])
        torch._foreach_sqrt_(roots)
        torch._foreach_add_(roots, EPS)
        moves = torch._foreach_div(means, [1 - beta1**count for count in counts])
        torch._foreach_div_(moves, roots)
        return [*moves]

    def _kept(self, weights: Sequence[nn.Parameter], name: str) -> list[Tensor]:
        """What is kept of each weight; zeros at first."""
        for weight in weights:
            if name not in self.state[weight]:
                self.state[weight][name] = torch.zeros_like(weight)
        return [self.state[weight][name] for weight in weights]

    def _counted(self, weight: nn.Parameter) -> float:
        """Steps that a weight has taken, with this one."""
        step = self.state[weight].setdefault("step", torch.tensor(0.0))
        step += 1
        return step.item()


def _gradients(weights: Iterable[nn.Parameter]) -> list[Tensor]:
    return [weight.grad for weight in weights if weight.grad is not None]


def orthogonal(matrix: Float[Tensor, "*b m n"]) -> Float[Tensor, "*b m n"]:
    """U V^T of a matrix U S V^T, nearly: Newton-Schulz iterations, S only comes near 1.

    In bfloat16 where the device has it. Of zeros, zeros.
    """
    a, b, c = QUINTIC
    x = matrix.bfloat16() if has_bfloat16(matrix.device) else matrix
    is_tall = x.shape[-2] > x.shape[-1]
    x = x.mT if is_tall else x
    x = x / (torch.linalg.matrix_norm(x, keepdim=True) + EPS)
    for _ in range(STEPS):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return (x.mT if is_tall else x).to(matrix.dtype)
