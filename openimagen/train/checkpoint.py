"""Checkpoints of a run: whole or invisible, the last few kept. Torch's distributed format (DCP)."""

import shutil
import warnings
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.metadata import Metadata
from torch.distributed.checkpoint.planner import SavePlan, SavePlanner
from torch.distributed.checkpoint.state_dict_loader import load as load_state
from torch.distributed.checkpoint.state_dict_saver import async_save
from torch.distributed.checkpoint.storage import WriteResult

from openimagen.train.parallel import is_first, ranks

Written = torch.futures.Future[list[WriteResult]]


class Writer:
    """Writes checkpoints of all ranks while the training goes on, one at a time.

    Leaving waits for the last one.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder, self.keep = folder, keep
        self._group = dist.new_group(backend="gloo") if ranks() > 1 else None  # for its thread
        self._target = folder
        self._writing: Future[Metadata] | None = None

    def __enter__(self) -> "Writer":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.wait()

    @property
    def has_failed(self) -> bool:
        """Whether `wait` would raise, as far as is known."""
        writing = self._writing
        return writing is not None and writing.done() and writing.exception() is not None

    def save(self, state: dict[str, Any], images: int) -> None:
        """Begin to write `state`, as it is now, to folder/<images>; drop the oldest beyond `keep`.

        Raises OSError if the checkpoint before could not be written.
        """
        self.wait()
        self._target = self.folder / f"{images:012d}"
        if is_first():
            clear(self.folder, self.keep)
        _allow_one_process()
        writing = async_save(
            state,
            storage_writer=_WholeOrInvisible(self._target, self.keep),
            process_group=self._group,
            no_dist=self._group is None,
        )
        assert isinstance(writing, Future)
        self._writing = writing

    def wait(self) -> None:
        """Until what is being written is whole. OSError if it cannot be: nothing of it stays."""
        writing, self._writing = self._writing, None
        try:
            if writing is not None:
                writing.result()
        except CheckpointException as error:
            if is_first():
                shutil.rmtree(_partial(self._target), ignore_errors=True)
            raise self._told(error) from error

    def _told(self, error: CheckpointException) -> Exception:
        reasons = [reason for reason, _ in error.failures.values()]
        full = [reason for reason in reasons if isinstance(reason, OSError)]
        if not full:
            return RuntimeError(f"{self._target} could not be written")
        before = latest(self.folder)
        return OSError(
            f"{self._target} could not be written: {full[0].strerror or full[0]}. "
            + (f"{before.name} is whole: m" if before else "M")
            + "ake room and go on with --resume"
        )


class _WholeOrInvisible(FileSystemWriter):
    """Writes beside the target; the first rank shows it once all have finished."""

    def __init__(self, target: Path, keep: int) -> None:
        super().__init__(_partial(target))
        self.target, self.keep = target, keep

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Written:
        try:
            return super().write_data(plan, planner)
        except RuntimeError as error:  # of torch's archive, where the system's own was swallowed
            reason: BaseException | None = error
            while reason is not None and not isinstance(reason, OSError):
                reason = reason.__context__
            raise reason or error from None

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        super().finish(metadata, results)
        if self.target.exists():
            _discard(self.target)
        _partial(self.target).rename(self.target)
        for old in _all(self.target.parent)[: -self.keep]:
            _discard(old)


def latest(folder: Path) -> Path | None:
    """The newest whole checkpoint, if there is one."""
    found = _all(folder)
    return found[-1] if found else None


def clear(folder: Path, keep: int) -> None:
    """Delete what a killed process has left: halves of checkpoints, and more than `keep` whole."""
    for old in _all(folder)[:-keep]:
        _discard(old)
    for hidden in folder.glob(".[0-9]*"):
        shutil.rmtree(hidden)


def names(path: Path) -> set[str]:
    """Of all that a checkpoint holds, with dots between levels. ValueError if it is damaged."""
    with _readable(path):
        return {*FileSystemReader(path).read_metadata().state_dict_metadata}


def load(path: Path, state: dict[str, Any]) -> None:
    """Read a checkpoint into the tensors of `state`, in place. ValueError if it is damaged."""
    _allow_one_process()
    with _readable(path):
        load_state(state, checkpoint_id=path, no_dist=ranks() == 1)


def _all(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.name.isdigit())


def _partial(target: Path) -> Path:
    return target.with_name(f".{target.name}.partial")


def _discard(path: Path) -> None:
    """Delete a folder that is never seen half deleted."""
    hidden = path.with_name(f".{path.name}.old")
    path.rename(hidden)
    shutil.rmtree(hidden)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (Exception, CheckpointException) as error:  # torch's own is no Exception
        for reason, _ in getattr(error, "failures", {}).values():
            if not isinstance(reason, Exception):
                raise reason from None  # Ctrl-C or SIGTERM came: nothing is damaged
        raise ValueError(
            f"{path} cannot be read: delete it to go on from the one before"
        ) from error


def _allow_one_process() -> None:
    """No warning that nothing is distributed; for good, since another thread would give it."""
    warnings.filterwarnings("ignore", "torch.distributed is", UserWarning)
