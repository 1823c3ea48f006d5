"""Which devices of this machine draw: one worker each."""

import torch

from openimagen.device import find_device


def devices_of(device: str | None, replicas: int) -> list[str]:
    """Devices for so many workers: `device` itself, and from it on those of its kind.

    Several on a CPU share its cores. Raises ValueError for more GPUs than there are.
    """
    first = find_device(device)
    if first.type != "cuda":
        return [str(first)] * replicas
    start, there = first.index or 0, torch.cuda.device_count()
    if start + replicas > there:
        raise ValueError(
            f"{replicas} replicas from {first} on: there are {there} GPUs, ask for fewer"
        )
    return [f"cuda:{start + number}" for number in range(replicas)]
