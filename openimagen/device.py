"""Which device to work on."""

import torch


def find_device(name: str | None = None) -> torch.device:
    """The named device, or the best one here: CUDA, Apple's MPS, the CPU."""
    if name is not None:
        try:
            device = torch.device(name)
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError) as error:
            raise ValueError(f"device {name} cannot be used here; try --device cpu") from error
        return device
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
