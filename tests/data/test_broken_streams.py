"""What is broken in shards is left out and told, once, whatever stops in between."""

import itertools
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from shard_files import picture, write_tar
from streams import stream_of

from openimagen.data.batch import Example
from openimagen.data.dataset import loader
from openimagen.data.picture_stream import Place, Reader
from openimagen.data.sample import Fault


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """Three shards of four; in each the second picture is cut, and the last shard itself."""
    for shard in range(3):
        names = [f"{4 * shard + place:02}" for place in range(4)]
        images = [picture(n)[: 500 if n % 4 == 1 else None] for n in map(int, names)]
        files = [
            file
            for name, image in zip(names, images, strict=True)
            for file in ((f"{name}.jpg", image), (f"{name}.txt", name.encode()))
        ]
        write_tar(tmp_path / f"{shard}.tar", files)
    last = tmp_path / "2.tar"
    with tarfile.open(last) as tar:
        cut = tar.getmember("11.jpg").offset_data + 700
    last.write_bytes(last.read_bytes()[:cut])
    return tmp_path


@pytest.mark.parametrize("workers", [0, 2])
def test_what_is_broken_is_told_once(damaged: Path, workers: int) -> None:
    stream = stream_of(damaged)
    batches = list(loader(stream, 0, 60, 2, workers))
    good = {"00", "02", "03", "04", "06", "07", "08", "10"}
    assert {text for batch in batches for text in batch.captions} == good
    told = Counter(name for batch in batches for name in batch.faults)
    assert told == Counter(["0.tar:01", "1.tar:05", "2.tar:09", "2.tar"])
    assert stream.faults.named.keys() == told.keys()
    assert stream.faults.counts() == {
        "image file is truncated": 3,
        "damaged after # samples": 1,
    }


def test_counts_of_what_is_broken_survive_a_stop(damaged: Path) -> None:
    for stop in range(0, 16, 4):
        first, second = stream_of(damaged), stream_of(damaged)
        running = loader(first, 0, 40, 2)
        list(itertools.islice(running, stop // 2))
        list(loader(second, stop, 40, 2, state=running.state_dict()))
        assert len(second.faults) == 4


def test_a_shard_that_vanishes_is_told_whenever_it_is_missed(damaged: Path) -> None:
    stream = stream_of(damaged)
    reader: Iterator[Example | Fault] = Reader(stream)
    assert any(made == Fault("2.tar:09", "image file is truncated") for made in first(reader, 12))
    (damaged / "1.tar").unlink()
    missing = [made for made in first(reader, 40) if isinstance(made, Fault)]
    assert len(missing) > 2 and all(made.name == "1.tar" and made.passing for made in missing)


def first(reader: Iterator[Example | Fault], count: int) -> list[Example | Fault]:
    return list(itertools.islice(reader, count))


def test_a_reader_without_a_picture_gives_up(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", [("a.png", picture(0)), ("a.txt", b"a")])
    lone = Reader(stream_of(tmp_path), 3, 999)
    with pytest.raises(ValueError, match="too few for so many ranks x workers"):
        next(lone)
    assert isinstance(next(Reader(stream_of(tmp_path), place=Place(5))), Example)
