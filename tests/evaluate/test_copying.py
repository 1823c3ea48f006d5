"""Near-copies: closed forms on a line and a circle, copies among fresh draws, bad input."""

import math

import pytest
import torch
from things import noise
from torch import Tensor

from openimagen.evaluate.copying import copying, nearest


def on_circle(*degrees: float) -> Tensor:
    angles = torch.tensor(degrees).deg2rad()
    return torch.stack([angles.cos(), angles.sin()], 1)


def test_nearest_on_a_circle() -> None:
    """Training pictures at 0, 30 and 90 degrees; 30 is 30 from its neighbour, 90 is 60."""
    found = nearest(on_circle(12, 62, 149, 151), on_circle(0, 30, 90))
    assert found.numbers.tolist() == [0, 2, 2, 2]
    degrees = (1 - found.distances).arccos().rad2deg()
    assert degrees == pytest.approx(torch.tensor([12.0, 28, 59, 61]), abs=1e-3)
    assert found.is_copy.tolist() == [True, True, True, False]


def test_length_of_features_does_not_matter() -> None:
    pictures, training = noise(9, 4), noise(20, 4, seed=1)
    once, again = nearest(pictures, training), nearest(3 * pictures, training / 7)
    assert once.numbers.equal(again.numbers)
    assert once.distances.allclose(again.distances)


def test_copies_are_told_from_fresh_draws() -> None:
    """Copies with a little noise are all near-copies, of fresh draws half at most."""
    training = noise(400, 64)
    copies = training[:60] + 0.05 * noise(60, 64, seed=1)
    fresh = noise(140, 64, seed=2)
    found = nearest(torch.cat([copies, fresh]), training)
    assert found.numbers[:60].tolist() == list(range(60))
    assert found.is_copy[:60].all()
    assert found.is_copy[60:].double().mean() < 0.5
    figures = copying(found, len(training), "EffLite2")
    assert figures.low < figures.share < figures.high
    assert figures.share == pytest.approx(found.is_copy.double().mean())


def test_copies_of_what_is_there_twice_are_told_too() -> None:
    """Their training picture has another at no distance: its double."""
    once = noise(20, 16)
    training = torch.cat([once, once[:5]])
    found = nearest(torch.cat([once[:5] + 1e-5 * noise(5, 16, seed=1), 2 * once[:5]]), training)
    assert found.is_copy.all()
    assert not nearest(once[:5] + 0.3 * noise(5, 16, seed=2), training).is_copy.any()


def test_many_are_taken_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures, training = noise(50, 8), noise(70, 8, seed=1)
    whole = nearest(pictures, training)
    monkeypatch.setattr("openimagen.evaluate.copying.BLOCK", 7)
    parts = nearest(pictures, training)
    assert whole.numbers.equal(parts.numbers)
    assert whole.is_copy.equal(parts.is_copy)


def test_all_copies_have_an_interval() -> None:
    training = noise(30, 16)
    figures = copying(nearest(training, training), 30, "EffLite2")
    assert (figures.share, figures.high) == (1, 1)
    assert figures.low == pytest.approx(0.025 ** (1 / 30))  # Clopper & Pearson
    assert figures.distances == pytest.approx((0, 0, 0), abs=1e-12)


def test_one_training_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="1 training picture has no other: give at least 2"):
        nearest(noise(3, 4), noise(1, 4))


def test_distance_of_opposites_is_two() -> None:
    found = nearest(on_circle(180.0), on_circle(0, 0.5))
    assert found.distances.item() == pytest.approx(1 + math.cos(math.radians(0.5)), abs=1e-6)
