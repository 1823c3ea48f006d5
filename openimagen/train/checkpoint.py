"""Checkpoints of a run: whole or invisible, the last few kept. Torch's distributed format (DCP)."""

import shutil
from pathlib import Path
from typing import Any

import torch.distributed.checkpoint as dcp


def save(folder: Path, state: dict[str, Any], images: int, keep: int) -> Path:
    """Write `state` as folder/<images>, by renaming once it is whole; drop the oldest beyond `keep`."""
    target = folder / f"{images:012d}"
    partial = folder / f".{target.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    dcp.save(state, checkpoint_id=partial, no_dist=True)
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)
    for old in _all(folder)[:-keep]:
        shutil.rmtree(old)
    return target


def latest(folder: Path) -> Path | None:
    """The newest whole checkpoint, if there is one."""
    found = _all(folder)
    return found[-1] if found else None


def load(path: Path, state: dict[str, Any]) -> None:
    """Read a checkpoint into the tensors of `state`, in place."""
    dcp.load(state, checkpoint_id=path, no_dist=True)


def _all(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.name.isdigit())
