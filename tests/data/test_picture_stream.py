"""The stream stopped anywhere and resumed is the stream; an epoch is every sample once."""

import contextlib
import itertools
import json
import pickle
import random
import warnings
from collections import Counter
from pathlib import Path

import pytest
import torch
from shard_files import picture, write_img2dataset, write_parquet
from streams import SIDE, stream_of

from openimagen.data import picture_stream as module
from openimagen.data.batch import Batch, Example, Slices
from openimagen.data.dataset import PictureSet, loader
from openimagen.data.folder import read_folder
from openimagen.data.images import load, square, to_tensor
from openimagen.data.picture_stream import Reader, Start
from openimagen.data.sample import Fault

SHARDS, COUNT = [9, 4, 1, 12], 26


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_img2dataset(tmp_path_factory.mktemp("data") / "shards", SHARDS)


def epochs_of(reader: Reader, count: int) -> list[list[str]]:
    """Captions that a reader gives in its next epochs."""
    found: list[list[str]] = [[] for _ in range(count)]
    for made in reader:
        if reader.place.epoch >= count:
            break
        if isinstance(made, Example):
            found[reader.place.epoch].append(made.caption)
    return found


def same(ours: list[Batch], theirs: list[Batch]) -> bool:
    """Whether batches agree to the bit, faults and tickets too."""
    words = [[(b.captions, list(b.tickets), b.faults) for b in side] for side in (ours, theirs)]
    return words[0] == words[1] and all(
        torch.equal(one.image, other.image) for one, other in zip(ours, theirs, strict=True)
    )


# --- epochs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("readers", [1, 2, 3, 4, 7, 9])
def test_readers_share_an_epoch_without_overlap(root: Path, readers: int) -> None:
    stream = stream_of(root)
    shares = [epochs_of(Reader(stream, number, readers), 3) for number in range(readers)]
    for epoch in range(3):
        seen = [caption for share in shares for caption in share[epoch]]
        assert sorted(seen, key=int) == [str(number) for number in range(COUNT)]


@pytest.mark.parametrize("readers", [1, 3, 7])
def test_what_is_held_out_is_nobody_s(root: Path, readers: int) -> None:
    """Every fourth sample of the first shard, of nine: the two that no reader gives."""
    stream = stream_of(root, hold_out=4)
    shares = [epochs_of(Reader(stream, number, readers), 2) for number in range(readers)]
    held = [example.caption for example in stream.held_out(9)]
    assert held == ["3", "7"]
    for epoch in range(2):
        seen = [caption for share in shares for caption in share[epoch]]
        assert sorted([*seen, *held], key=int) == [str(number) for number in range(COUNT)]
    assert torch.equal(stream.held_out(1)[0].image, stream.held_out(2)[0].image)
    assert stream_of(root).held_out(9) == [] and stream_of(root, hold_out=10).held_out(9) == []


def test_only_so_many_are_held_out(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HELD", 2)
    assert [e.caption for e in stream_of(root, hold_out=2).held_out(9)] == ["1", "3"]
    assert len(epochs_of(Reader(stream_of(root, hold_out=2)), 1)[0]) == COUNT - 2


@pytest.mark.parametrize("ninths", [4, 5, 6])  # one of them ends in a sample that is held out
def test_a_fault_among_what_is_held_out_is_told(root: Path, tmp_path: Path, ninths: int) -> None:
    shard = tmp_path / "00000.tar"
    shard.write_bytes((root / "00000.tar").read_bytes())
    with shard.open("r+b") as file:
        file.truncate(shard.stat().st_size * ninths // 9)
    stream = stream_of(tmp_path, hold_out=2)
    faults = [made for made in itertools.islice(Reader(stream), 9) if isinstance(made, Fault)]
    assert len(faults) == 1 and faults[0].reason.startswith("damaged after")


def test_every_epoch_has_an_order_of_its_own_that_the_seed_decides(root: Path) -> None:
    epochs = epochs_of(Reader(stream_of(root)), 6)
    assert len(set(map(tuple, epochs))) == 6
    assert epochs_of(Reader(stream_of(root)), 6) == epochs
    assert not set(map(tuple, epochs_of(Reader(stream_of(root, seed=1)), 6))) & set(
        map(tuple, epochs)
    )


def test_shards_are_dealt_anew_and_blocks_shuffled(root: Path) -> None:
    firsts = [set(map(int, epoch[:5])) for epoch in epochs_of(Reader(stream_of(root)), 10)]
    assert len(set(map(frozenset, firsts))) > 4  # other shards come first
    orders = epochs_of(Reader(stream_of(root, buffer=COUNT)), 10)
    places = [order.index("0") for order in orders]
    assert max(places) > 16 and min(places) < 10  # anywhere in the block


def test_a_block_holds_no_more_than_its_bytes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = epochs_of(Reader(stream_of(root, buffer=100)), 1)
    monkeypatch.setattr(module, "BUFFER_BYTES", 3 * len(picture(0)))
    small = epochs_of(Reader(stream_of(root, buffer=100)), 1)
    assert small != whole
    assert small == epochs_of(Reader(stream_of(root, buffer=3)), 1)


@pytest.mark.parametrize("readers", [1, 6])
def test_a_reader_begun_anywhere_goes_on_as_the_first(root: Path, readers: int) -> None:
    stream = stream_of(root)
    reader = Reader(stream, readers - 1, readers)
    steps = [(reader.place, made) for made in itertools.islice(reader, 40)]
    assert len({place for place, _ in steps}) == 40
    for number in range(0, 34, 3):
        begun = Reader(stream, readers - 1, readers, steps[number][0])
        for (_, one), other in zip(steps[number + 1 : number + 7], begun, strict=False):
            assert isinstance(one, Example) and isinstance(other, Example)
            assert one.caption == other.caption and torch.equal(one.image, other.image)


# --- through the loader ---------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("ranks", [1, 2])
def test_stopped_and_resumed_is_uninterrupted(root: Path, workers: int, ranks: int) -> None:
    draw = random.Random(10 * workers + ranks)
    batch, stop = 3, 100  # the last batch is short
    for rank in range(ranks):
        whole = list(loader(stream_of(root), 0, stop, batch, workers, rank, ranks))
        start, head, state = 0, list[Batch](), None
        for _ in range(2):  # stopped twice
            running = loader(stream_of(root), start, stop, batch, workers, rank, ranks, state)
            head += itertools.islice(running, draw.randint(1, 15))
            start, state = batch * len(head), as_saved(running.state_dict())
        tail = loader(stream_of(root), start, stop, batch, workers, rank, ranks, state)
        assert same([*head, *tail], whole)
        given = [each.tickets for each in whole]
        assert given == list(Slices(0, stop, batch, rank, ranks))


def as_saved(state: dict[str, object]) -> dict[str, object]:
    """A state as it comes back from a checkpoint: small, and of plain types."""
    assert len(pickle.dumps(state)) < 2000
    loaded: dict[str, object] = json.loads(json.dumps(state))
    assert loaded == state
    return loaded


def test_a_batch_comes_from_worker_after_worker(root: Path) -> None:
    stream = stream_of(root)
    for rank in range(2):
        readers = [Reader(stream, 2 * rank + worker, 4) for worker in range(2)]
        for number, batch in enumerate(loader(stream, 0, 60, 4, 2, rank, 2)):
            expected = list(itertools.islice(readers[number % 2], 2))
            assert batch.captions == [
                made.caption for made in expected if isinstance(made, Example)
            ]
            assert list(batch.tickets) == [4 * number + 2 * rank, 4 * number + 2 * rank + 1]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_made_longer_goes_on(root: Path, workers: int) -> None:
    short = loader(stream_of(root), 0, 10, 4, workers)
    seen = [caption for batch in short for caption in batch.captions]
    state = as_saved(short.state_dict())
    longer = loader(stream_of(root), 10, 34, 4, workers, state=state)
    seen += [caption for batch in longer for caption in batch.captions]
    assert len(seen) == 34
    if not workers:
        assert sorted(seen[:COUNT], key=int) == [str(number) for number in range(COUNT)]
    unread = loader(stream_of(root), 10, 34, 4, workers, state=state)
    assert unread.state_dict() == state  # nothing was read yet


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"workers": 1}, "workers was 0, is 1"),
        ({"ranks": 2}, "ranks was 1, is 2"),
        ({"start": 36}, "images was 30, is 36"),
        ({"state": None}, "images was None, is 30"),
    ],
)
def test_another_layout_begins_the_epoch_again_and_says_so(
    root: Path, change: dict[str, object], why: str
) -> None:
    before = loader(stream_of(root, crop=SIDE), 0, 90, 6)
    list(itertools.islice(before, 5))  # four samples into the second epoch
    settings = {"start": 30, "stop": 150, "batch": 2, "state": before.state_dict()} | change
    with pytest.warns(RuntimeWarning, match=f"the data begins its epoch again: {why}"):
        loader(stream_of(root, crop=SIDE), **settings)
    epoch, seen = 0 if settings["state"] is None else 1, Counter[str]()
    ranks = int(str(settings.get("ranks", 1)))
    for rank in range(ranks):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            resumed = loader(stream_of(root, crop=SIDE), **settings, rank=rank)
        assert len(said) == (rank == 0)
        begun = Reader(stream_of(root), rank, ranks, start=Start(epoch))
        share = epochs_of(begun, epoch + 1)[-1]
        given = [caption for batch in resumed for caption in batch.captions]
        assert given[: len(share)] == share
        seen.update(share)
    assert seen == Counter(str(number) for number in range(COUNT))


def test_other_ranks_go_on_with_what_is_left_of_the_epoch(tmp_path: Path) -> None:
    """Twelve shards of five: 6 samples to each of 2 ranks, 7 to each of 3, the rest to one.

    All come; twice come the 1 and 2 that each rank was given of a shard it had not finished.
    """
    stream = stream_of(write_img2dataset(tmp_path / "shards", [5] * 12))
    given, state, start = list[str](), None, 0
    for ranks, steps in ((2, 6), (3, 7), (1, 99)):
        states = []
        for rank in range(ranks):
            says = pytest.warns(RuntimeWarning, match="goes on from near where it was: ranks was")
            with says if state and not rank else contextlib.nullcontext():
                running = loader(stream, start, 999, ranks, 0, rank, ranks, state)
            for batch in itertools.islice(running, steps):
                if running.state_dict()["reached"] == [[1, 0]]:
                    break
                given += batch.captions
            states.append(as_saved(running.state_dict()))
        state, start = states[0], start + ranks * steps
    assert {*given} == {str(number) for number in range(60)}
    assert len(given) == 60 + 2 * 1 + 3 * 2


@pytest.mark.parametrize("workers", [0, 2])
def test_what_goes_on_with_other_ranks_resumes_exactly_too(tmp_path: Path, workers: int) -> None:
    stream = stream_of(write_img2dataset(tmp_path / "shards", [5] * 12))
    one = loader(stream, 0, 99, 2)
    list(itertools.islice(one, 6))
    with pytest.warns(RuntimeWarning, match="goes on from near where it was"):
        whole = loader(stream, 12, 99, 2, workers, 0, 2, one.state_dict())
        running = loader(stream, 12, 99, 2, workers, 0, 2, one.state_dict())
    head = list(itertools.islice(running, 9))
    tail = loader(stream, 30, 99, 2, workers, 0, 2, as_saved(running.state_dict()))
    assert same([*head, *tail], list(whole))


def test_other_shards_begin_the_epoch_again(root: Path, tmp_path: Path) -> None:
    before = loader(stream_of(root), 0, 90, 6)
    next(before)
    other = write_img2dataset(tmp_path / "other", [*SHARDS, 1])
    with pytest.warns(RuntimeWarning, match="shards was .*, is "):
        loader(stream_of(other), 6, 90, 6, state=before.state_dict())


def test_torch_s_global_randomness_is_left_alone(root: Path) -> None:
    before = torch.get_rng_state()
    list(loader(stream_of(root), 0, 4, batch=2))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("workers", [0, 2])
def test_odd_tickets_can_be_another_set_s(root: Path, tmp_path: Path, workers: int) -> None:
    """The even ones get what the stream gives alone; stopped and resumed, to the bit."""
    for name in ("x", "y", "z"):
        (tmp_path / f"{name}.png").write_bytes(picture(ord(name)))
        (tmp_path / f"{name}.txt").write_text(name)
    others = PictureSet(read_folder(tmp_path), SIDE, crop=8)
    both = stream_of(root).alternating(others)
    whole = list(loader(both, 0, 60, 6, workers))
    for batch in whole:
        for ticket, image, caption in zip(batch.tickets, batch.image, batch.captions, strict=True):
            if ticket % 2:
                assert caption == others[ticket // 2].caption
                assert torch.equal(image, others[ticket // 2].image)
    own = [
        c
        for batch in whole
        for t, c in zip(batch.tickets, batch.captions, strict=True)
        if not t % 2
    ]
    alone = loader(stream_of(root), 0, 30, 3, workers)
    assert own == [caption for batch in alone for caption in batch.captions]
    running = loader(both, 0, 60, 6, workers)
    head = list(itertools.islice(running, 4))
    tail = loader(both, 24, 60, 6, workers, state=as_saved(running.state_dict()))
    assert same([*head, *tail], whole)


# --- what an example shows ------------------------------------------------------------------------


def test_crops_are_aligned_and_reach_every_corner(root: Path) -> None:
    places = set()
    for crop, caption, _ in itertools.islice(Reader(stream_of(root)), 80):
        whole = to_tensor(square(load(picture(int(caption))), SIDE))
        windows = whole.unfold(1, 8, 1).unfold(2, 8, 1)  # [3 9 9 8 8]
        hits = (windows == crop[:, None, None]).all(dim=(0, 3, 4)).nonzero()
        assert len(hits) == 1
        places.add(tuple(hits[0].tolist()))
    assert places == {(top, left) for top in (0, 4, 8) for left in (0, 4, 8)}


def test_the_first_examples_are_always_the_same(root: Path) -> None:
    stream = stream_of(root)
    list(loader(stream, 0, 6, 2))
    captions = [example.caption for example in stream.first(40)]
    assert captions == [example.caption for example in stream_of(root, buffer=7).first(40)]
    assert set(captions) == {str(number) for number in range(COUNT)}


def test_parquet_streams_as_tar_does(tmp_path: Path) -> None:
    pictures = [picture(number) for number in range(20)]
    captions = [[f"{number}a", f"{number}b"] for number in range(20)]
    for part in range(2):
        half = slice(part * 10, part * 10 + 10)
        write_parquet(tmp_path / f"{part}.parquet", pictures[half], captions[half])
    whole = list(loader(stream_of(tmp_path), 0, 60, 4, 2))
    seen = {text for batch in whole for text in batch.captions}
    assert {int(text[:-1]) for text in seen} == set(range(20)) and {*"ab"} == {t[-1] for t in seen}
    running = loader(stream_of(tmp_path), 0, 60, 4, 2)
    head = list(itertools.islice(running, 7))
    tail = loader(stream_of(tmp_path), 28, 60, 4, 2, state=running.state_dict())
    assert same([*head, *tail], whole)
