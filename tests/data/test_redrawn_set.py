"""Pictures beside what is made of them: an example shows one place of both."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import avg_pool2d

from openimagen.data.dataset import loader
from openimagen.data.folder import read_folder
from openimagen.data.redrawn_set import RedrawnSet


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    """Pictures of blocks of 4 x 4 pixels, and the same four times smaller."""
    rng = np.random.default_rng(0)
    for folder in ("pages", "below"):
        (tmp_path / folder).mkdir()
    for number in range(6):
        small = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(small).save(tmp_path / f"below/{number}.png")
        large = small.repeat(4, axis=0).repeat(4, axis=1)
        Image.fromarray(large).save(tmp_path / f"pages/{number}.png")
        (tmp_path / f"pages/{number}.txt").write_text(f"page {number}")
    return tmp_path


def made(root: Path, **more: object) -> RedrawnSet:
    pictures = read_folder(root / "pages")
    return RedrawnSet(pictures, root / "below", 32, align=4, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("crop", [None, 16])
@pytest.mark.parametrize("is_cached", [False, True])
def test_both_show_one_place_of_one_picture(
    pages: Path, tmp_path: Path, crop: int | None, is_cached: bool
) -> None:
    dataset = made(pages, crop=crop, hold_out=3, cache=tmp_path / "cache" if is_cached else None)
    examples = [*dataset.first(40), *dataset.held_out(8)]
    for example in examples:
        assert example.below is not None
        assert torch.equal(avg_pool2d(example.image.float(), 4), example.below.float())
    assert len({example.caption for example in examples}) == 6
    assert len({example.below.numpy().tobytes() for example in examples}) > (6 if crop else 5)  # type: ignore[union-attr]


def test_a_broken_picture_moves_no_other_one(pages: Path, tmp_path: Path) -> None:
    (pages / "pages/2.png").write_bytes(b"no picture")
    dataset = made(pages, cache=tmp_path / "cache")
    for example in dataset.first(20):
        assert example.below is not None and example.caption != "page 2"
        assert torch.equal(avg_pool2d(example.image.float(), 4), example.below.float())


def test_batches_hold_both(pages: Path) -> None:
    (batch,) = loader(made(pages, crop=16), 0, 5, 5)
    assert batch.below is not None and batch.below.shape == (5, 3, 4, 4)
    assert torch.equal(avg_pool2d(batch.image.float(), 4), batch.below.float())
