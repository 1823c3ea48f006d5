"""Batches of one rank, in order, from either kind of data set; and where they stand, to go on."""

import atexit
import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.util import find_spec
from multiprocessing.process import BaseProcess
from typing import Any
from weakref import WeakSet

import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info

from openimagen.data.batch import Batch as Batch
from openimagen.data.batch import Example as Example
from openimagen.data.batch import Slices
from openimagen.data.picture_set import PictureSet as PictureSet
from openimagen.data.picture_stream import PictureStream as PictureStream
from openimagen.data.picture_stream import Place, Reader, Start, parts_of
from openimagen.data.sample import Fault

Examples = PictureSet | PictureStream
WORKERS = WeakSet[BaseProcess]()  # of all loaders at work
SIGNALS = (signal.SIGTERM, signal.SIGINT)  # that are for this process, not for them


def loader(
    dataset: Examples,
    start: int,
    stop: int,
    batch: int,
    workers: int = 0,
    rank: int = 0,
    ranks: int = 1,
    state: dict[str, Any] | None = None,
) -> "Loader":
    """Batches of the tickets from `start` up to `stop`, in order; the last may be smaller.

    `batch` counts examples over all ranks; rank number `rank` gets its part of each batch. Worker
    processes make the batches ahead of time; 0 makes them in this one. What was broken goes into
    `dataset.faults` batch by batch.

    Of a PictureSet, the result depends on the tickets alone. A PictureStream goes on from `state`,
    which this rank's loader gave when it stood at `start`. With another number of ranks or workers
    (then give each rank the state of rank 0) it goes on with the shards that no reader had begun
    or that one was in; where anything else has changed it begins the epoch again. It says which.
    """
    slices = Slices(start, stop, batch, rank, ranks)
    if isinstance(dataset, PictureStream):
        return StreamLoader(dataset, slices, workers, state)
    return Loader(dataset, slices, workers)


class Loader(Iterator[Batch]):
    """Batches of a PictureSet. Work begins when the first one is asked for."""

    def __init__(self, dataset: Examples, slices: Slices, workers: int) -> None:
        self.dataset, self.slices, self.workers = dataset, slices, workers
        self.number = 0  # of the next batch
        self._batches: Iterator[Any] | None = None

    def __next__(self) -> Batch:
        """The next batch."""
        if self.number == len(self.slices):
            self._end()
            raise StopIteration
        if self._batches is None:
            others = {*multiprocessing.active_children()}
            with _holding_signals():
                self._batches = self._begin()
            WORKERS.update({*multiprocessing.active_children()} - others)
        batch = self._take(self._batches)
        self.number += 1
        self.dataset.faults.add(batch.faults)
        return batch

    def state_dict(self) -> dict[str, Any]:
        """What it takes to go on after the last batch given out: plain types, a few kilobytes."""
        return {}

    def _begin(self) -> Iterator[Any]:
        return iter(
            DataLoader(
                _Tickets(self.dataset),
                batch_size=None,
                sampler=self.slices,
                num_workers=self.workers,
                collate_fn=_as_it_is,
                worker_init_fn=_serve,
                generator=torch.Generator(),  # leaves torch's global one alone
            )
        )

    def _take(self, batches: Iterator[Any]) -> Batch:
        return next(batches)

    def _end(self) -> None:
        self._batches = None  # and with it the workers


class _Tickets(Dataset[Batch]):
    def __init__(self, dataset: Examples) -> None:
        assert isinstance(dataset, PictureSet)
        self.dataset = dataset

    def __getitem__(self, tickets: range) -> Batch:
        return self.dataset.batch(tickets)


def _as_it_is(batch: Any) -> Any:  # noqa: ANN401  (what torch may collate)
    return batch


@contextmanager
def _holding_signals() -> Iterator[None]:
    """Have those that come wait: a worker that has just been started would die of them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(worker: int) -> None:
    """Have a worker end with the process that it works for, and leave signals to that one.

    Slurm, systemd and Ctrl-C send theirs to both; and torch's own watch over the parent does not
    see it die where a fork server stands in between.
    """
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


@atexit.register
def _end_workers() -> None:
    """After an error in the midst of reading, or Python would ask them to end, and wait."""
    workers = list(WORKERS)
    if workers:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's handler makes an error of it
    for worker in workers:
        worker.kill()


def _end_with(process: BaseProcess) -> None:
    process.join()
    os._exit(1)


# --- streams --------------------------------------------------------------------------------------


class StreamLoader(Loader):
    """Batches of a PictureStream: worker after worker makes one, each from a share of its own."""

    def __init__(
        self, stream: PictureStream, slices: Slices, workers: int, state: dict[str, Any] | None
    ) -> None:
        if not find_spec("torchdata"):
            raise ValueError("streaming shards needs torchdata: pip install 'openimagen[train]'")
        super().__init__(stream, slices, workers)
        self.turn = 0  # of the worker that makes the next batch
        self.reached = [[0, 0]] * max(1, workers)  # epoch and unit of its share, of each worker
        self.start = Start()  # of all readers, since they are as many as they are
        self._identity = stream.identity()
        self._inner: Any = None  # torchdata's loader
        self._saved: dict[str, Any] | None = None  # its state, when it has none
        if state or slices.start:
            self._resume(state or {})

    def state_dict(self) -> dict[str, Any]:
        """Where each worker stands, and what was broken so far."""
        return {
            "layout": self._layout(),
            "turn": self.turn,
            "reached": list(self.reached),
            "start": list(self.start),
            "faults": self.dataset.faults.state_dict(),
            "workers": self._inner.state_dict() if self._inner is not None else self._saved,
        }

    def _layout(self) -> dict[str, Any]:
        """What must be the same to go on exactly."""
        slices = self.slices
        images = min(slices.start + self.number * slices.batch, slices.stop)
        ranks = {"ranks": slices.ranks, "rank": slices.rank, "workers": self.workers}
        return {"images": images, **ranks, **self._identity}

    def _resume(self, state: dict[str, Any]) -> None:
        here, there = self._layout(), state.get("layout", {})
        changes = {key: there.get(key) for key in here if there.get(key) != here[key]}
        if not changes:
            self.turn, self.reached = state["turn"], list(state["reached"])
            self.start, self._saved = Start(*state["start"]), state["workers"]
            self.dataset.faults.merge(state["faults"])
            return
        self.start = Start(min(state.get("reached", [[0, 0]]))[0])
        if changes.keys() <= {"ranks", "rank", "workers"}:
            self.start = self._left(state)
            if self.start.units and self.slices.rank == 0:
                self.dataset.faults.merge(state["faults"])
        self.reached = [[self.start.epoch, 0]] * len(self.reached)
        if self.slices.rank == 0 or list(changes) == ["rank"]:
            why = "; ".join(f"{key} was {old}, is {here[key]}" for key, old in changes.items())
            how = "goes on from near where it was" if self.start.units else "begins its epoch again"
            warnings.warn(f"the data {how}: {why}", RuntimeWarning, stacklevel=4)

    def _left(self, state: dict[str, Any]) -> Start:
        """Where other readers begin to go on with what those of `state` have not finished.

        Each of them was at the same unit of its share as rank 0's, or nearly.
        """
        assert isinstance(self.dataset, PictureStream)
        there, shards = state["layout"], len(self.dataset.shards.paths)
        before = there["ranks"] * max(1, there["workers"])
        now = self.slices.ranks * max(1, self.workers)
        epoch, unit = min(state["reached"])
        if max(parts_of(shards, before), parts_of(shards, now)) > 1:
            return Start(epoch)
        begun = Start(*state["start"])
        return Start(epoch, unit * before + (begun.units if begun.epoch == epoch else 0))

    def _begin(self) -> Iterator[Any]:
        from torchdata.stateful_dataloader import StatefulDataLoader

        assert isinstance(self.dataset, PictureStream)
        with warnings.catch_warnings():  # torchdata calls what torch gives up
            warnings.filterwarnings("ignore", "'set_vital' is deprecated", UserWarning)
            self._inner = StatefulDataLoader(
                _Share(self.dataset, self.slices, self.turn, self.start),
                batch_size=None,
                num_workers=self.workers,
                collate_fn=_as_it_is,
                worker_init_fn=_serve,
                generator=torch.Generator(),
            )
        if self._saved is not None:
            self._inner.load_state_dict(self._saved)
        return iter(self._inner)

    def _take(self, batches: Iterator[Any]) -> Batch:
        batch, self.reached[self.turn] = next(batches)
        self.turn = (self.turn + 1) % len(self.reached)
        return batch

    def _end(self) -> None:
        if self._inner is not None:
            self._saved, self._inner = self._inner.state_dict(), None
        super()._end()


class _Share(IterableDataset[tuple[Batch, list[int]]]):
    """What falls to one rank; in a worker process, to that worker."""

    def __init__(self, stream: PictureStream, slices: Slices, turn: int, start: Start) -> None:
        self.stream, self.slices = stream, slices
        self.turn, self.start = turn, start

    def __iter__(self) -> "_Made":
        info = get_worker_info()
        number, workers = (info.id, info.num_workers) if info else (0, 1)
        share, shares = self.slices.rank * workers + number, self.slices.ranks * workers
        reader = Reader(self.stream, share, shares, start=self.start)
        return _Made(reader, self.slices, (number - self.turn) % workers, workers)


class _Made(Iterator[tuple[Batch, list[int]]]):
    """Every `step`-th batch, and the epoch and unit it ends in; without end, as no worker ends."""

    def __init__(self, reader: Reader, slices: Slices, number: int, step: int) -> None:
        self.reader, self.slices, self.number, self.step = reader, slices, number, step

    def __next__(self) -> tuple[Batch, list[int]]:
        tickets = self.slices[self.number] if self.number < len(self.slices) else range(0)
        self.number += self.step
        faults: dict[str, str] = {}
        examples = [self._example(ticket, faults) for ticket in tickets]
        batch = self.reader.stream.view.batch(examples, tickets, faults)
        return batch, [self.reader.place.epoch, self.reader.place.unit]

    def _example(self, ticket: int, faults: dict[str, str]) -> Example:
        others = self.reader.stream.others
        if others is not None and ticket % 2:
            return others.example(ticket // 2, faults)
        while isinstance(made := next(self.reader), Fault):
            faults[made.name] = made.reason
        return made

    def state_dict(self) -> dict[str, int]:
        return asdict(self.reader.place)

    def load_state_dict(self, state: dict[str, int]) -> None:
        old, place = self.reader, Place(**state)
        self.reader = Reader(old.stream, old.number, old.readers, place, old.start)
