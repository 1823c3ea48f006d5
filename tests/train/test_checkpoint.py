"""A checkpoint is whole or invisible, whenever the process dies."""

import errno
from pathlib import Path
from typing import Any

import pytest
import torch

from openimagen.train import checkpoint


def state(value: float) -> dict[str, Any]:
    return {"net": {"weight": torch.full((3, 2), value)}, "images": torch.tensor(int(value))}


def loaded(path: Path) -> float:
    target = state(0)
    checkpoint.load(path, target)
    assert torch.equal(target["net"]["weight"], state(float(target["images"]))["net"]["weight"])
    return float(target["images"])


def save(folder: Path, state: dict[str, Any], images: int, keep: int) -> Path:
    with checkpoint.Writer(folder, keep) as writer:
        writer.save(state, images)
    return folder / f"{images:012d}"


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    assert checkpoint.latest(tmp_path / "none") is None
    path = save(tmp_path, state(5), 5, keep=3)
    assert checkpoint.latest(tmp_path) == path
    assert loaded(path) == 5


def test_a_newer_one_with_more_digits_is_the_latest_and_the_last_are_kept(tmp_path: Path) -> None:
    for images in (2, 9, 10, 100):
        save(tmp_path, state(images), images, keep=3)
    latest = checkpoint.latest(tmp_path)
    assert latest is not None and loaded(latest) == 100
    assert sorted(int(path.name) for path in tmp_path.iterdir()) == [9, 10, 100]


def test_a_full_disk_leaves_the_last_one_whole_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = save(tmp_path, state(1), 1, keep=3)

    def fill(writer: checkpoint._WholeOrInvisible, *_: object) -> None:
        (Path(writer.path) / "__0_0.distcp").write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint._WholeOrInvisible, "write_data", fill)
        with pytest.raises(OSError, match=r"No space left on device.*000000000001 is whole: make"):
            save(tmp_path, state(2), 2, keep=1)
    assert [*tmp_path.iterdir()] == [whole]
    assert loaded(whole) == 1


def test_one_that_was_not_finished_is_invisible_and_cleared_away(tmp_path: Path) -> None:
    whole = save(tmp_path, state(1), 1, keep=3)
    abandoned = tmp_path / ".000000000002.partial"
    abandoned.mkdir()
    (abandoned / "__0_0.distcp").write_bytes(b"half")
    assert checkpoint.latest(tmp_path) == whole
    save(tmp_path, state(3), 3, keep=3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000000000001", "000000000003"]


def test_saving_again_replaces(tmp_path: Path) -> None:
    save(tmp_path, state(1), 7, keep=3)
    assert loaded(save(tmp_path, state(2), 7, keep=3)) == 2


@pytest.mark.parametrize("file", [".metadata", "__0_0.distcp"])
def test_a_damaged_one_is_a_clear_error(tmp_path: Path, file: str) -> None:
    path = save(tmp_path, state(1), 1, keep=1)
    damaged = path / file
    damaged.write_bytes(damaged.read_bytes()[: damaged.stat().st_size // 2])
    with pytest.raises(ValueError, match="000000000001 cannot be read"):
        checkpoint.load(path, state(0))


@pytest.mark.parametrize("place", ["read_metadata", "read_data"])
def test_reading_that_is_stopped_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    path = save(tmp_path, state(1), 1, keep=1)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(checkpoint.FileSystemReader, place, stop)
        checkpoint.load(path, state(0))
    assert loaded(path) == 1
