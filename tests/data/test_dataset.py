"""Ranks and workers share the batches of a PictureSet: together they are what one would see."""

import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from shard_files import picture, write_img2dataset

from openimagen.data.batch import Batch, Slices
from openimagen.data.dataset import Examples, PictureSet, PictureStream, loader
from openimagen.data.folder import read_folder
from openimagen.data.source import Shards, open_source


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven pictures, of which 2 and 5 are cut."""
    root = tmp_path_factory.mktemp("pictures")
    for number in range(7):
        cut = 500 if number in (2, 5) else None
        (root / f"{number}.png").write_bytes(picture(number)[:cut])
        (root / f"{number}.txt").write_text(str(number))
    return root


counts = st.integers(0, 40)
sizes = st.integers(1, 12)


@given(start=counts, length=counts, batch=sizes, ranks=sizes)
def test_ranks_share_as_tensor_split_does(start: int, length: int, batch: int, ranks: int) -> None:
    tickets = torch.arange(start, start + length)
    theirs = [part.tensor_split(ranks) for part in tickets.split(batch)] if length else []
    for rank in range(ranks):
        slices = Slices(start, start + length, batch, rank, ranks)
        assert [list(part) for part in slices] == [parts[rank].tolist() for parts in theirs]
        assert len(slices) == len(theirs)


@pytest.mark.parametrize("cached", [False, True])
def test_ranks_together_are_one(folder: Path, tmp_path: Path, cached: bool) -> None:
    cache = tmp_path if cached else None
    ranks = [
        list(loader(PictureSet(read_folder(folder), 16, cache=cache), 3, 21, 4, 0, rank, 3))
        for rank in range(3)
    ]
    whole = list(loader(PictureSet(read_folder(folder), 16, cache=cache), 3, 21, 4))
    assert [len(batch.captions) for batch in ranks[2]] == [1, 1, 1, 1, 0]
    for one, parts in zip(whole, zip(*ranks, strict=True), strict=True):
        assert list(one.tickets) == [ticket for part in parts for ticket in part.tickets]
        assert one.captions == [caption for part in parts for caption in part.captions]
        assert torch.equal(one.image, torch.cat([part.image for part in parts]))


@pytest.fixture(params=["folder", "shards"])
def examples(request: pytest.FixtureRequest, folder: Path, tmp_path: Path) -> Examples:
    """Both kinds of data set."""
    if request.param == "folder":
        return PictureSet(read_folder(folder), 16)
    source = open_source(write_img2dataset(tmp_path / "shards", [9, 9]))
    assert isinstance(source, Shards)
    return PictureStream(source, 16)


def test_a_signal_to_all_leaves_the_workers_at_work(examples: Examples) -> None:
    """As Slurm sends it, or a terminal."""
    whole = [batch.captions for batch in loader(examples, 0, 60, 3, 2)]
    running, others = loader(examples, 0, 60, 3, 2), {*multiprocessing.active_children()}
    seen = [next(running).captions]
    workers = {*multiprocessing.active_children()} - others
    assert len(workers) == 2
    for worker in workers:
        for number in (signal.SIGTERM, signal.SIGINT):
            os.kill(worker.pid or 0, number)
    assert [*seen, *(batch.captions for batch in running)] == whole
    assert not any(worker.is_alive() for worker in workers)


def test_a_process_that_fails_while_it_reads_ends_and_so_do_its_workers(folder: Path) -> None:
    script = f"""
import multiprocessing, pathlib
from openimagen.data.dataset import PictureSet, loader
from openimagen.data.folder import read_folder
batches = loader(PictureSet(read_folder(pathlib.Path({str(folder)!r})), 16), 0, 600, 3, 2)
for _ in batches:
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    raise RuntimeError("out of memory")
"""
    words = [sys.executable, "-c", script]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 1 and done.stderr.endswith("RuntimeError: out of memory\n")
    workers = done.stdout.split()
    assert len(workers) == 2 and not any(Path("/proc", pid).exists() for pid in workers)


@pytest.mark.parametrize("workers", [0, 2])
def test_what_workers_find_broken_reaches_this_process(folder: Path, workers: int) -> None:
    dataset = PictureSet(read_folder(folder), 16)
    batches: list[Batch] = list(loader(dataset, 0, 14, 2, workers))
    cut = {str(folder / f"{number}.png"): "image file is truncated" for number in (2, 5)}
    met = {name: reason for batch in batches for name, reason in batch.faults.items()}
    assert met.keys() == dataset.faults.named.keys() == cut.keys()
    assert all(cut[name] in reason for name, reason in met.items())
    assert {caption for batch in batches for caption in batch.captions} == set("01346")
    assert any(not batch.faults for batch in batches)


def test_the_state_of_a_picture_set_is_the_clock(folder: Path) -> None:
    batches = loader(PictureSet(read_folder(folder), 16), 0, 8, 4)
    next(batches)
    assert batches.state_dict() == {}
