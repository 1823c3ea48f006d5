"""The stream of examples is a pure function of (seed, ticket): resuming is starting later."""

import errno
import os
import pickle
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from openimagen.data import picture_set as module
from openimagen.data.dataset import Batch, PictureSet, loader
from openimagen.data.folder import Picture, Pictures, read_folder
from openimagen.data.images import load, square, to_tensor

COUNT, SIDE = 7, 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven noise pictures of 32 x 32; number n has the captions n0, n1 and n2."""
    root = tmp_path_factory.mktemp("pictures")
    rows = []
    for number in range(COUNT):
        colours = np.random.default_rng(number).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(colours).save(root / f"{number}.png")
        texts = ", ".join(f'"{number}{variant}"' for variant in range(3))
        rows.append(f'{{"file_name": "{number}.png", "text": [{texts}]}}\n')
    (root / "metadata.jsonl").write_text("".join(rows))
    return root


def pictures_of(dataset: PictureSet, tickets: range) -> list[int]:
    return [int(dataset[ticket].caption[0]) for ticket in tickets]


def same(ours: Iterator[Batch], theirs: Iterator[Batch]) -> bool:
    """Whether two streams agree to the bit, whatever their batches."""
    left, right = list(ours), list(theirs)
    captions = [[text for batch in side for text in batch.captions] for side in (left, right)]
    images = [torch.cat([batch.image for batch in side]) for side in (left, right)]
    return captions[0] == captions[1] and torch.equal(*images)


# --- laws of the stream ---------------------------------------------------------------------------


def test_every_epoch_is_a_permutation_of_its_own(folder: Path) -> None:
    dataset = PictureSet(read_folder(folder), SIDE)
    epochs = [pictures_of(dataset, range(e * COUNT, (e + 1) * COUNT)) for e in range(4)]
    assert all(sorted(epoch) == list(range(COUNT)) for epoch in epochs)
    assert len(set(map(tuple, epochs))) == 4


@pytest.mark.parametrize("cached", [False, True])
def test_what_is_held_out_never_comes(folder: Path, tmp_path: Path, cached: bool) -> None:
    dataset = PictureSet(read_folder(folder), SIDE, hold_out=3, cache=tmp_path if cached else None)
    assert len(dataset) == COUNT - 2
    assert set(pictures_of(dataset, range(50))) == {0, 1, 3, 4, 6}
    held = dataset.held_out(8)
    assert len(held) == 8 and {int(example.caption[0]) for example in held} == {2, 5}
    for example in held:  # it is the picture, not only the caption
        file = folder / f"{example.caption[0]}.png"
        assert torch.equal(example.image, to_tensor(square(load(file), SIDE)))


@pytest.mark.parametrize(
    ("length", "every", "held"),
    [(49, 50, 0), (50, 50, 1), (199, 50, 3), (6400, 50, 64), (10**6, 50, 64), (10**6, 0, 0)],
)
def test_how_many_are_held_out(length: int, every: int, held: int) -> None:
    numbers = module.held_out(length, every)
    assert len(numbers) == held and all(number < length for number in numbers)
    assert not held or numbers[-1] > 0.9 * length or held == 3  # from the whole of the set


def test_the_seed_decides(folder: Path) -> None:
    pictures = read_folder(folder)
    streams = [list(loader(PictureSet(pictures, SIDE, seed=s), 0, 21, 21)) for s in (0, 0, 1)]
    assert same(iter(streams[0]), iter(streams[1]))
    assert not same(iter(streams[0]), iter(streams[2]))
    orders = [pictures_of(PictureSet(pictures, SIDE, seed=s), range(COUNT)) for s in range(8)]
    assert len(set(map(tuple, orders))) > 4


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("cached", [False, True])
def test_resuming_is_the_tail_of_the_stream(
    folder: Path, tmp_path: Path, workers: int, cached: bool
) -> None:
    cache = tmp_path if cached else None
    whole = PictureSet(read_folder(folder), SIDE, crop=8, cache=cache)
    tail = list(loader(whole, 0, 30, batch=5))[2:]
    resumed = PictureSet(read_folder(folder), SIDE, crop=8, cache=cache)
    assert same(iter(tail), loader(resumed, 10, 30, batch=3, workers=workers))


def test_batches_come_in_order_and_the_last_is_short(folder: Path) -> None:
    dataset = PictureSet(read_folder(folder), SIDE)
    batches = list(loader(dataset, 3, 13, batch=4, workers=2))
    assert [len(batch.captions) for batch in batches] == [4, 4, 2]
    assert batches[0].image.shape == (4, 3, SIDE, SIDE)
    texts = [text for batch in batches for text in batch.captions]
    assert texts == [dataset[ticket].caption for ticket in range(3, 13)]


def test_all_captions_are_used(folder: Path) -> None:
    dataset = PictureSet(read_folder(folder), SIDE)
    seen = {dataset[ticket].caption for ticket in range(40 * COUNT)}
    assert seen == {f"{number}{variant}" for number in range(COUNT) for variant in range(3)}


def test_torch_s_global_randomness_is_left_alone(folder: Path) -> None:
    before = torch.get_rng_state()
    list(loader(PictureSet(read_folder(folder), SIDE), 0, 4, batch=2))
    assert torch.equal(before, torch.get_rng_state())


# --- what an example shows ------------------------------------------------------------------------


def test_a_picture_is_decoded_and_shrunk(folder: Path) -> None:
    for image, caption, _ in map(PictureSet(read_folder(folder), SIDE).__getitem__, range(COUNT)):
        assert torch.equal(image, to_tensor(square(load(folder / f"{caption[0]}.png"), SIDE)))


def test_crops_are_aligned_and_reach_every_corner(folder: Path, tmp_path: Path) -> None:
    dataset = PictureSet(read_folder(folder), SIDE, crop=8, align=4, cache=tmp_path)
    places = set()
    for ticket in range(60):
        crop, caption, _ = dataset[ticket]
        whole = to_tensor(square(load(folder / f"{caption[0]}.png"), SIDE))
        windows = whole.unfold(1, 8, 1).unfold(2, 8, 1)  # [3 9 9 8 8]
        hits = (windows == crop[:, None, None]).all(dim=(0, 3, 4)).nonzero()
        assert len(hits) == 1
        places.add(tuple(hits[0].tolist()))
    assert places == {(top, left) for top in (0, 4, 8) for left in (0, 4, 8)}


def test_a_crop_that_breaks_the_pair_is_refused(folder: Path) -> None:
    for crop in (SIDE + 4, 6):
        with pytest.raises(ValueError, match="crop"):
            PictureSet(read_folder(folder), SIDE, crop=crop)


# --- the cache ------------------------------------------------------------------------------------


def test_the_cache_changes_nothing_but_the_time(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = read_folder(folder)
    plain = list(loader(PictureSet(pictures, SIDE, crop=8), 0, 20, batch=4))
    assert same(iter(plain), loader(PictureSet(pictures, SIDE, crop=8, cache=tmp_path), 0, 20, 4))
    monkeypatch.setattr(module, "load", None)  # from here on nothing can be decoded
    assert same(iter(plain), loader(PictureSet(pictures, SIDE, crop=8, cache=tmp_path), 0, 20, 4))


def test_a_changed_picture_is_decoded_again(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    pictures = Pictures((Picture(file, ("a",)),), {})
    for colour in (10, 200):
        Image.new("RGB", (32, 32), (colour, 0, 0)).save(file)
        image = PictureSet(pictures, SIDE, cache=tmp_path / "cache")[0].image
        assert image[0].unique().tolist() == [colour]


def test_a_data_set_travels_without_its_pixels(folder: Path, tmp_path: Path) -> None:
    dataset = PictureSet(read_folder(folder), SIDE, cache=tmp_path)
    image, caption, _ = dataset[3]
    sent = pickle.dumps(dataset)
    assert len(sent) < 3 * SIDE * SIDE * COUNT
    assert torch.equal(pickle.loads(sent)[3].image, image)
    assert pickle.loads(sent)[3].caption == caption


def test_progress_is_told_once_a_picture(folder: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    PictureSet(
        read_folder(folder), SIDE, cache=tmp_path, on_progress=lambda *step: told.append(step)
    )
    assert told == [(number + 1, COUNT) for number in range(COUNT)]


def test_what_a_killed_process_left_half_decoded_is_deleted(folder: Path, tmp_path: Path) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    names = [f".0-16.npy.{socket.gethostname()}.{pid}" for pid in (dead.pid, os.getpid())]
    names += [".0-16.npy.elsewhere.1", "other"]
    for name in names:
        (tmp_path / name).touch()
    PictureSet(read_folder(folder), SIDE, cache=tmp_path)
    assert {path.name for path in tmp_path.iterdir() if not path.stat().st_size} == {*names[1:]}


def test_no_room_is_an_error_that_names_the_file(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked for beforehand: a page of a mapped file that finds none is the end of the process."""

    def fill(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", fill)
    with pytest.raises(OSError, match=f"No space left on device: '{tmp_path}/.*npy"):
        PictureSet(read_folder(folder), SIDE, cache=tmp_path)
    assert not [*tmp_path.iterdir()]


# --- broken pictures ------------------------------------------------------------------------------


@pytest.fixture
def damaged(tmp_path: Path) -> Pictures:
    """Three pictures, of which b is cut in half."""
    for name in "abc":
        colours = np.random.default_rng(ord(name)).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(colours).save(tmp_path / f"{name}.png")
        (tmp_path / f"{name}.txt").write_text(name)
    broken = tmp_path / "b.png"
    broken.write_bytes(broken.read_bytes()[:1000])
    return read_folder(tmp_path)


def test_the_cache_leaves_broken_pictures_out_and_names_them(
    damaged: Pictures, tmp_path: Path
) -> None:
    for _ in range(2):  # made, then reused
        dataset = PictureSet(damaged, SIDE, cache=tmp_path / "cache")
        assert len(dataset) == 2
        (name, reason), *_ = dataset.faults.named.items()
        assert (name, len(dataset.faults)) == (str(tmp_path / "b.png"), 1)
        assert name not in reason and "truncated" in reason
        for image, caption, _ in map(dataset.__getitem__, range(6)):
            assert torch.equal(image, to_tensor(square(load(tmp_path / f"{caption}.png"), SIDE)))


def test_without_cache_a_broken_picture_is_replaced_with_a_warning(damaged: Pictures) -> None:
    dataset = PictureSet(damaged, SIDE)
    with pytest.warns(RuntimeWarning, match=r"b\.png"):
        captions = [dataset[ticket].caption for ticket in range(3)]
    assert set(captions) == {"a", "c"}
    assert list(dataset.faults.named) == [str(damaged.pairs[1].path)]
    assert {dataset[ticket].caption for ticket in range(3, 9)} == {"a", "c"}  # warned of once


def test_nothing_readable_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    pictures = Pictures((Picture(tmp_path / "a.png", ("a",)),), {})
    with pytest.raises(ValueError, match="no picture could be read"):
        PictureSet(pictures, SIDE, cache=tmp_path / "cache")
