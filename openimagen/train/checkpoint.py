"""Checkpoints of a run: whole or invisible, the last few kept. Torch's distributed format (DCP)."""

import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict_loader import load as load_state
from torch.distributed.checkpoint.state_dict_saver import save as save_state


def save(folder: Path, state: dict[str, Any], images: int, keep: int) -> Path:
    """Write `state` as folder/<images>, whole or invisible; drop the oldest beyond `keep`."""
    target = folder / f"{images:012d}"
    partial = folder / f".{target.name}.partial"
    for abandoned in folder.glob(".*.partial"):
        shutil.rmtree(abandoned)
    partial.mkdir(parents=True)
    with _one_process():
        save_state(state, checkpoint_id=partial, no_dist=True)
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
    """Read a checkpoint into the tensors of `state`, in place. ValueError if it is damaged."""
    try:
        with _one_process():
            load_state(state, checkpoint_id=path, no_dist=True)
    except (Exception, CheckpointException) as error:  # torch's own is no Exception
        raise ValueError(
            f"{path} cannot be read: delete it to go on from the one before"
        ) from error


def _all(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.name.isdigit())


@contextmanager
def _one_process() -> Iterator[None]:
    """No warning that nothing is distributed."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is", UserWarning)
        yield
