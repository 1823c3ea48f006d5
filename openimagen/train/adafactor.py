"""Adafactor (Shazeer & Stern, 2018) with optax's defaults, as the paper trained its base model.

torch's own caps the step at 1 / sqrt(t) and takes squares under 1e-7 for 1e-7, which gradients of a
large network are; transformers' factors a convolution over its 3 x 3 taps, which saves nothing.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

DECAY = 0.8  # at step t the running mean of squares keeps 1 - t^-0.8 of itself
LEAST_SQUARE = 1e-30
LEAST_SCALE = 1e-3  # of a weight, so that one that starts at zero can leave it
LEAST_FACTORED = 128  # smaller weights keep all their squares


class Adafactor(torch.optim.Optimizer):
    """Steps in proportion to a weight's own size; of the squares it keeps rows and columns only."""

    def __init__(
        self, parameters: Iterable[nn.Parameter], lr: float, weight_decay: float = 0.0
    ) -> None:
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move every weight that has a gradient."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    update = whitened(weight.grad, self.state[weight])
                    update /= rms(update).clamp(min=1)  # section 6: clipped at 1
                    weight.mul_(1 - group["lr"] * group["weight_decay"])
                    weight.sub_(update * (group["lr"] * rms(weight).clamp(min=LEAST_SCALE)))


def whitened(gradient: Tensor, state: dict[str, Any]) -> Tensor:
    """The gradient over the root of its running mean square (algorithms 4 and 5)."""
    squares, dims = gradient.square() + LEAST_SQUARE, factored_dims(gradient.shape)
    if dims is None:
        return gradient * averaged(state, squares=squares)["squares"].rsqrt()
    rows, columns = (squares.mean(dim, keepdim=True) for dim in dims)
    kept = averaged(state, rows=rows, columns=columns)
    rows = kept["rows"] / kept["rows"].mean(dims[1], keepdim=True)
    return gradient * rows.rsqrt() * kept["columns"].rsqrt()


def averaged(state: dict[str, Any], **values: Tensor) -> dict[str, Any]:
    """Take values into their running means."""
    if not state:
        state["step"] = torch.tensor(0.0)
        state |= {name: torch.zeros_like(value) for name, value in values.items()}
    state["step"] += 1
    for name, value in values.items():
        state[name].lerp_(value, state["step"].item() ** -DECAY)
    return state


def factored_dims(shape: Sequence[int]) -> tuple[int, int] | None:
    """The two longest dimensions, if both are long."""
    if len(shape) < 2:
        return None
    *_, second, first = sorted(range(len(shape)), key=shape.__getitem__)
    return (first, second) if shape[second] >= LEAST_FACTORED else None


def kept_of(shape: torch.Size) -> int:
    """How many numbers are kept of a weight's squares."""
    dims = factored_dims(shape)
    return shape.numel() if dims is None else sum(shape.numel() // shape[dim] for dim in dims)


def rms(tensor: Tensor) -> Tensor:
    """Root mean square of all entries."""
    return tensor.square().mean().sqrt()
