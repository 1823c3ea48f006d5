"""Losses on the same pairs under the same noise: what they should be where that is known."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from openimagen.config import StageConfig
from openimagen.data.dataset import PictureSet
from openimagen.data.folder import read_folder
from openimagen.text import CachedEncoder
from openimagen.train import probe as probe_file
from openimagen.train.loop import train_step
from openimagen.train.probe import PAIRS, doubt_of, probe, probe_pairs
from openimagen.train.step import Noised
from openimagen.train.trainee import Trainee

NewTrainee = Callable[..., Trainee]


@pytest.fixture
def divided(folder: Path) -> PictureSet:
    """Six pictures, two of them held out."""
    return PictureSet(read_folder(folder), 16, hold_out=3)


def test_pairs_are_of_both_sides_of_the_division(divided: PictureSet, dataset: PictureSet) -> None:
    pairs = probe_pairs(divided)
    seen, held = ({e.caption for e in pairs[name]} for name in ("loss_seen", "loss_held_out"))
    assert (len(seen), len(held)) == (4, 2) and not seen & held
    assert [*probe_pairs(dataset)] == ["loss_seen"]


def test_a_probe_asks_the_same_each_time_and_of_the_averaged_network(
    new_trainee: NewTrainee, divided: PictureSet, encoder: CachedEncoder
) -> None:
    trainee, pairs = new_trainee(batch=5, text_drop=0.5), probe_pairs(divided)
    before = probe(trainee, pairs, encoder)
    assert [*before] == [
        "loss_seen",
        "loss_seen_no_text",
        "loss_held_out",
        "loss_held_out_no_text",
    ]
    with torch.no_grad():
        trainee.net.last.weight.fill_(9.0)
    trainee.images = 20
    assert probe(trainee, pairs, encoder) == before
    with torch.no_grad():
        trainee.ema.net.last.weight.fill_(9.0)
    assert probe(trainee, pairs, encoder)["loss_seen"] > 2 * before["loss_seen"]


def test_text_is_there_or_not_and_levels_cover_the_schedule(
    new_trainee: NewTrainee,
    divided: PictureSet,
    encoder: CachedEncoder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Noised] = []

    def spy(net: nn.Module, stage: StageConfig, noised: Noised) -> Tensor:
        asked.append(noised)
        return torch.zeros(len(noised.x))

    monkeypatch.setattr(probe_file, "loss_of", spy)
    probe(new_trainee(batch=PAIRS, text_drop=0.9), probe_pairs(divided), encoder)
    seen, silent, *_ = asked
    assert seen.text.tokens.abs().sum(dim=(1, 2)).min() > 0 and not silent.text.tokens.any()
    assert torch.equal(seen.eps, silent.eps) and torch.equal(seen.log_snr, silent.log_snr)
    assert sorted((PAIRS * seen.t).int().tolist()) == [*range(PAIRS)]


def test_a_trained_network_s_loss_falls_and_shows_whether_it_reads(
    new_trainee: NewTrainee, dataset: PictureSet, encoder: CachedEncoder
) -> None:
    """Taught by heart with its texts, it does worse without them; a fresh one is blind."""
    trainee = new_trainee(
        images=640, batch=8, learning_rate=1e-2, ema_images=8, cooldown=0.3, text_drop=0.1
    )
    pairs = probe_pairs(dataset)
    first = probe(trainee, pairs, encoder)
    assert first["loss_seen"] == first["loss_seen_no_text"]
    trainee.images = 5_000
    assert "hardly counts" in (doubt_of(trainee, first) or "")
    trainee.images = 0
    for start in range(0, 640, 8):
        train_step(trainee, dataset.batch(range(start, start + 8)), encoder)
    last = probe(trainee, pairs, encoder)
    assert last["loss_seen"] < 0.5 * first["loss_seen"]
    assert last["loss_seen"] < 0.9 * last["loss_seen_no_text"]
    assert doubt_of(trainee, last) is None


@pytest.mark.parametrize(("images", "due"), [(8_000, 5_000), (40_000, 10_000)])
def test_no_doubt_before_it_is_due(new_trainee: NewTrainee, images: int, due: int) -> None:
    trainee, same = new_trainee(images=images), {"loss_seen": 1.0, "loss_seen_no_text": 1.0}
    for seen, doubts in ((due - 1, False), (due, True)):
        trainee.images = seen
        assert (doubt_of(trainee, same) is not None) == doubts
    assert doubt_of(trainee, {}) is None
