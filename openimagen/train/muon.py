"""Muon (Jordan, 2024): momentum made orthogonal, so that every direction of a matrix moves alike.

Matrices are the weights of linear layers and convolutions, a row for each output; all else, and
the layers that pixels enter and leave by, goes by Adam.
"""

from collections.abc import Iterable

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
            rate, betas = group["lr"], group["betas"]
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                weight.mul_(1 - rate * group["weight_decay"])
                if group["is_matrix"]:
                    weight.sub_(self._orthogonal(weight), alpha=rate)
                else:
                    weight.sub_(self._adam(weight, *betas), alpha=rate)

    def _orthogonal(self, weight: nn.Parameter) -> Tensor:
        state, gradient = self.state[weight], weight.grad
        assert gradient is not None
        if not state:
            state["momentum"] = torch.zeros_like(weight)
        momentum = state["momentum"].lerp_(gradient, 1 - MOMENTUM)
        ahead = gradient.lerp(momentum, MOMENTUM)  # Nesterov's
        matrix = orthogonal(ahead.flatten(1))
        rows, columns = matrix.shape
        return (GAIN * max(1.0, rows / columns) ** 0.5 * matrix).view(weight.shape)

    def _adam(self, weight: nn.Parameter, beta1: float, beta2: float) -> Tensor:
        state, gradient = self.state[weight], weight.grad
        assert gradient is not None
        if not state:
            state["step"] = torch.tensor(0.0)
            state["mean"], state["square"] = torch.zeros_like(weight), torch.zeros_like(weight)
        state["step"] += 1
        count = state["step"].item()
        mean = state["mean"].lerp_(gradient, 1 - beta1) / (1 - beta1**count)
        square = state["square"].lerp_(gradient.square(), 1 - beta2) / (1 - beta2**count)
        return mean / (square.sqrt() + EPS)


def orthogonal(matrix: Float[Tensor, "m n"]) -> Float[Tensor, "m n"]:
    """U V^T of a matrix U S V^T, nearly: Newton-Schulz iterations, S only comes near 1.

    In bfloat16 where the device has it. Of zeros, zeros.
    """
    a, b, c = QUINTIC
    x = matrix.bfloat16() if has_bfloat16(matrix.device) else matrix
    is_tall = x.shape[0] > x.shape[1]
    x = x.T if is_tall else x
    x = x / (x.norm() + EPS)
    for _ in range(STEPS):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return (x.T if is_tall else x).to(matrix.dtype)
