"""Weights in eight bits: a whole number for each, and for each output a scale.

Large matrices and kernels only, rounded to 1/127 of their row's largest; the few others are in
bfloat16. Half the size of bfloat16; what is computed with them is computed in floats.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

LARGE = 4096  # numbers; below it, a scale for each row would not pay
MOST = 127
SCALE = ".scale"  # what a weight's name has after it where its scales are kept


def pack(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights by name, as they are stored: int8 with float32 scales [outputs], or bfloat16."""
    packed = dict[str, Tensor]()
    for name, weight in state.items():
        is_matrix = weight.ndim > 1 and len(weight) > 1  # position maps: all in one row
        if not is_matrix or weight.numel() < LARGE or not weight.isfinite().all():
            packed[name] = weight.bfloat16()
            continue
        rows = weight.detach().float().flatten(1)
        scale = rows.abs().amax(1).clamp(min=torch.finfo(torch.float32).tiny) / MOST
        packed[name] = (rows / scale[:, None]).round().to(torch.int8).reshape(weight.shape)
        packed[name + SCALE] = scale
    return packed


def unpack(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What `pack` made, or any other weights, in float32. KeyError for int8 without scales."""
    scales = {name + SCALE for name, tensor in stored.items() if tensor.dtype == torch.int8}
    state = dict[str, Tensor]()
    for name, tensor in stored.items():
        if name in scales:
            continue
        weight = tensor.float()
        if tensor.dtype == torch.int8:
            weight *= stored[name + SCALE].reshape(-1, *[1] * (tensor.ndim - 1))
        state[name] = weight
    return state
