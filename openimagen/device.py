"""Which device to work on, what it can, and how much memory is free."""

import re
from pathlib import Path

import torch

MEMINFO = Path("/proc/meminfo")  # Linux's
CGROUP = Path("/sys/fs/cgroup")  # and the limits of containers and jobs,
OWN_GROUP = Path("/proc/self/cgroup")  # of which this process is in one


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
    free += [left for group in _groups() if (left := _left(group)) is not None]
    return min(free, default=None)


def _groups() -> list[Path]:
    """Folders of the control groups that this process is in, the innermost first."""
    own = re.search(r"^0::/(.*)$", OWN_GROUP.read_text(), re.M) if OWN_GROUP.exists() else None
    inner = CGROUP / (own[1] if own else "")
    return [group for group in (inner, *inner.parents) if group.is_relative_to(CGROUP)]


def _left(group: Path) -> int | None:
    """Bytes that a control group may still take: files in the cache give way. None: no limit."""
    limit = group / "memory.max"
    if not limit.exists() or (most := limit.read_text().strip()) == "max":
        return None
    cached = re.findall(r"^(?:in)?active_file (\d+)$", (group / "memory.stat").read_text(), re.M)
    used = int((group / "memory.current").read_text()) - sum(map(int, cached))
    return max(0, int(most) - used)
