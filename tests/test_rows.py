"""The rows of docs/experiments.md: a base that knows what there is, not where, is said to."""

import importlib.util
import re
from itertools import count
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Protocol, cast

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from openimagen.data.dataset import Batch
from openimagen.data.images import to_float
from openimagen.data.scenes import Scene
from openimagen.data.unseen import is_unseen_relation
from openimagen.text import TextEmbedding
from openimagen.train.trainee import Trainee
from tests.conftest import WordEncoder

DOCS, SIDE = Path(__file__).parent.parent / "docs", 16
COLOURS = {"cat": "red", "rocket": "blue", "apple": "green", "umbrella": "black", "fish": "orange"}


@pytest.fixture(scope="module")
def places() -> ModuleType:
    """docs/places.py, which is no part of the package."""
    spec = importlib.util.spec_from_file_location("places", DOCS / "places.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Scenes(Protocol):
    """What docs/places.py draws."""

    def scene(self) -> Scene: ...
    def batch(self, count: int) -> tuple[Batch, list[str]]: ...


def scenes(places: ModuleType, *, unseen: bool = True) -> Scenes:
    icons = {name: Image.new("RGBA", (8, 8), colour) for name, colour in COLOURS.items()}
    return cast(Scenes, places.Scenes(icons, SIDE, seed=1, unseen=unseen))


class Reader(nn.Module):
    """Gives the right picture for the right words, in any order if it `has_no_order`; else grey."""

    def __init__(self, pictures: Tensor, text: TextEmbedding, has_no_order: bool) -> None:
        super().__init__()
        self.pictures, self.has_no_order = pictures, has_no_order
        self.right = self.key(text)

    def key(self, text: TextEmbedding) -> Tensor:
        words = text.tokens if self.has_no_order else text.tokens.cumsum(1)
        return words.sum(1)

    def forward(self, z: Tensor, log_snr: Tensor, text: TextEmbedding, *_: object) -> Tensor:
        known = (self.key(text) - self.right).abs().amax(1) < 1e-3
        return torch.where(known[:, None, None, None], self.pictures, 0.0)


@pytest.mark.parametrize(("has_no_order", "share"), [(True, "0%"), (False, "100%")])
def test_share_of_what_the_text_is_worth_that_places_are(
    has_no_order: bool, share: str, places: ModuleType, encoder: WordEncoder
) -> None:
    batch, _ = scenes(places).batch(places.SHOWN)
    pictures = to_float(batch.image)
    net = Reader(pictures, encoder(batch.captions), has_no_order)
    bare = f"{pictures.square().mean():.4f}"
    base = SimpleNamespace(
        config=SimpleNamespace(diffusion=places.recipes.load("emoji").model.stages[0].diffusion),
        train=SimpleNamespace(precision="float32"),
    )
    cells = places.measured(cast(Trainee, base), net, scenes(places), encoder)
    assert cells == [f"0.0000 / {bare}, {share}"] * len(places.LEVELS)


def test_a_row_of_another_text_is_trained_and_measured(
    places: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "SHOWN", 4)
    clock = SimpleNamespace(process_time=count().__next__)  # a second from one look to the next
    monkeypatch.setattr(places, "time", clock)
    icons = {name: Image.new("RGBA", (8, 8), colour) for name, colour in COLOURS.items()}
    settings = "model.text.layers=[1,3,6] train.base.batch=2 train.base.warmup_images=0"
    cells = r"(\| \d\.\d{4} / \d\.\d{4}, -?\d+% ){3}\|"
    made = places.row(places.recipes.load("emoji"), settings, icons, seconds=2.0)
    assert re.fullmatch(rf"\| .* \| 40 \| 1 {cells}", made)  # ten steps took a second
    made = places.row(places.recipes.load("emoji"), settings, icons, seconds=2.0, images=7)
    assert re.fullmatch(rf"\| .* \| 8 \| 1 {cells}", made)


@pytest.mark.parametrize("unseen", [True, False])
def test_scenes_are_those_to_measure_on_or_the_others(unseen: bool, places: ModuleType) -> None:
    endless = scenes(places, unseen=unseen)
    for _ in range(50):
        other, one = endless.scene().include
        assert one.position
        assert is_unseen_relation(one.name, one.position[0], other.name) == unseen


def test_swapped_caption_has_the_same_words_and_says_another_thing(places: ModuleType) -> None:
    _, swapped = scenes(places).batch(20)
    batch, _ = scenes(places).batch(20)
    for caption, other in zip(batch.captions, swapped, strict=True):
        assert sorted(caption.split()) == sorted(other.split()) and caption != other
