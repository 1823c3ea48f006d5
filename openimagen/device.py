"""Which device to work on, what it can, and how much memory is free."""

import re
from pathlib import Path

import torch

MEMINFO = Path("/proc/meminfo")  # Linux's
CGROUP = Path("/sys/fs/cgroup")  # and a container's own limit


def find_device(name: str | None = None) -> torch.device:
    """The named device, or the best one here: CUDA, Apple's MPS, the CPU."""
    if name is not None:
        try:
            device = torch.device(name)
            torch.empty(0, device=device).cpu()
        except (RuntimeError, AssertionError, NotImplementedError) as error:
            raise ValueError(f"device {name} cannot be used here; try --device cpu") from error
        return device
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies in bfloat16 itself; where that is imitated, it is slower."""
    if device.type == "cuda":
        with torch.cuda.device(device):
            return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    can = torch.cpu.get_capabilities()
    return any(can.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))  # "bf16": ARM


def free_memory(device: torch.device) -> int | None:
    """Bytes that can still be taken on a device; None where the system does not say."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type != "cpu" or not MEMINFO.exists():
        return None
    found = re.search(r"MemAvailable:\s*(\d+) kB", MEMINFO.read_text())
    free = [1024 * int(found[1])] if found else []
    limit, used = (CGROUP / f"memory.{name}" for name in ("max", "current"))
    if limit.exists() and (most := limit.read_text().strip()) != "max":
        free.append(max(0, int(most) - int(used.read_text())))
    return min(free, default=None)
