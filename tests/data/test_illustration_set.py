"""Examples composed on the fly: a pure function of (seed, ticket), with or without a cache."""

import random
from pathlib import Path

import pytest
import torch
from PIL import Image

from openimagen.config import Illustrations
from openimagen.data.dataset import loader
from openimagen.data.illustration_set import IllustrationSet
from openimagen.data.illustrations import read_illustrations
from openimagen.data.nouns import article
from openimagen.data.wording import with_style
from tests.data.corpus import write_corpus

PLAN = Illustrations()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("icons"))


def made(
    folder: Path, side: int = 32, plan: Illustrations = PLAN, **how: object
) -> IllustrationSet:
    return IllustrationSet(read_illustrations(folder), plan, side, **how)  # type: ignore[arg-type]


def test_a_ticket_gives_the_same_whatever_came_before(folder: Path, tmp_path: Path) -> None:
    one, other = made(folder), made(folder, cache=tmp_path)
    examples = [one[ticket] for ticket in range(40)]
    for ticket in (39, 7, 0, 21):
        again = other[ticket]
        assert again.caption == examples[ticket].caption
        assert torch.equal(again.image, examples[ticket].image)
    assert made(folder, seed=1)[7].caption != examples[7].caption or not torch.equal(
        made(folder, seed=1)[7].image, examples[7].image
    )


def test_workers_and_a_later_start_give_the_same_stream(folder: Path, tmp_path: Path) -> None:
    dataset = made(folder, cache=tmp_path)
    whole = list(loader(dataset, 0, 24, 4))
    later = list(loader(dataset, 12, 24, 4, workers=1))
    assert [batch.captions for batch in whole[3:]] == [batch.captions for batch in later]
    assert all(torch.equal(a.image, b.image) for a, b in zip(whole[3:], later, strict=True))


def test_a_crop_is_a_part_of_the_picture(folder: Path) -> None:
    whole, part = made(folder), made(folder, crop=16, align=4)
    for ticket in range(8):
        picture, crop = whole[ticket].image, part[ticket].image
        assert crop.shape == (3, 16, 16)
        windows = [
            picture[:, top : top + 16, left : left + 16]
            for top in range(0, 17, 4)
            for left in range(0, 17, 4)
        ]
        assert any(torch.equal(window, crop) for window in windows)


def test_a_single_icon_keeps_its_margins_and_stands_on_the_ground(folder: Path) -> None:
    alone = made(folder, plan=PLAN.model_copy(update={"scenes": 0.0, "grounds": 0.0}))
    for ticket in range(10):
        image = alone[ticket].image
        assert (image[:, 0] == 255).all() and (image[:, :, -1] == 255).all()
        assert image[:, 16, 8].tolist() == [200, 30, 30]
        assert image[:, 16, 24].tolist() == [30, 60, 200]


def test_what_is_held_out_is_of_pairs_that_are_not_shown(folder: Path) -> None:
    dataset = made(folder)
    held = dataset.held_out(5)
    assert len(held) == 5
    captions = {
        with_style(article(icon.name), icon.style, random.Random(number))
        for icon in dataset.illustrations
        for number in range(50 if icon.is_unseen else 0)
    }
    assert {example.caption for example in held} <= captions


def test_a_broken_icon_is_named_and_another_lesson_comes(folder: Path, tmp_path: Path) -> None:
    copy = write_corpus(tmp_path / "icons")
    broken = copy / "noto/banana.png"
    broken.write_bytes(broken.read_bytes()[:60])
    cached = made(copy, cache=tmp_path / "cache")
    assert list(cached.faults.named) == [str(broken)]
    assert len(cached.illustrations) == len(read_illustrations(copy)) - 1
    each_time, faults = made(copy), dict[str, str]()
    assert all(each_time.example(ticket, faults) for ticket in range(300))
    assert list(faults) == [str(broken)]


def test_icons_smaller_than_the_stage_are_left_out(folder: Path, tmp_path: Path) -> None:
    copy = write_corpus(tmp_path / "icons")
    for small in (copy / "noto").glob("*.png"):
        Image.open(small).resize((16, 16)).save(small)
    large, every = made(copy), made(copy, side=16)
    assert {icon.style for icon in large.illustrations} == {"fluent-emoji", "twemoji"}
    assert len(every.illustrations) == len(read_illustrations(copy)) and not every.too_small
    assert large.too_small == len(every.illustrations) - len(large.illustrations)
