"""A checkpoint is whole or invisible, whenever the process dies."""

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


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    assert checkpoint.latest(tmp_path / "none") is None
    path = checkpoint.save(tmp_path, state(5), 5, keep=3)
    assert checkpoint.latest(tmp_path) == path
    assert loaded(path) == 5


def test_a_newer_one_with_more_digits_is_the_latest_and_the_last_are_kept(tmp_path: Path) -> None:
    for images in (2, 9, 10, 100):
        checkpoint.save(tmp_path, state(images), images, keep=3)
    latest = checkpoint.latest(tmp_path)
    assert latest is not None and loaded(latest) == 100
    assert sorted(int(path.name) for path in tmp_path.iterdir()) == [9, 10, 100]


def test_one_that_was_not_finished_is_invisible_and_cleared_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = checkpoint.save(tmp_path, state(1), 1, keep=3)

    def die(state: dict[str, Any], checkpoint_id: Path, **_: object) -> None:
        (checkpoint_id / "__0_0.distcp").write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(checkpoint, "save_state", die)
        checkpoint.save(tmp_path, state(2), 2, keep=1)
    assert checkpoint.latest(tmp_path) == whole
    assert loaded(whole) == 1
    checkpoint.save(tmp_path, state(3), 3, keep=3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000000000001", "000000000003"]


def test_saving_again_replaces(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, state(1), 7, keep=3)
    assert loaded(checkpoint.save(tmp_path, state(2), 7, keep=3)) == 2


@pytest.mark.parametrize("file", [".metadata", "__0_0.distcp"])
def test_a_damaged_one_is_a_clear_error(tmp_path: Path, file: str) -> None:
    path = checkpoint.save(tmp_path, state(1), 1, keep=1)
    damaged = path / file
    damaged.write_bytes(damaged.read_bytes()[: damaged.stat().st_size // 2])
    with pytest.raises(ValueError, match="000000000001 cannot be read"):
        checkpoint.load(path, state(0))
