"""Where the interval is known: means, whose error is sd / sqrt(n)."""

import numpy as np
import pytest
import torch
from torch import Tensor

from openimagen.evaluate import bootstrap as room
from openimagen.evaluate.bootstrap import Estimate, draws, interval


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_blocks_change_no_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = np.concatenate(list(draws(7, np.random.default_rng(0), 50)))
    assert whole.shape == (50, 7)
    assert set(whole.flat) == set(range(7))
    monkeypatch.setattr(room, "BLOCK", 23)
    parts = list(draws(7, np.random.default_rng(0), 50))
    assert {len(part) for part in parts} == {3, 2}
    assert (np.concatenate(parts) == whole).all()


def test_interval_leaves_out_a_fortieth_either_side() -> None:
    assert interval(np.arange(1001.0)) == (25, 975)


def test_a_difference_of_means_has_the_error_of_the_textbook() -> None:
    """Both sides vary, each by itself: sd^2 / n + sd^2 / m."""
    real, fake = noise(400), 3 * noise(900, seed=1)
    estimate = Estimate(float(real.mean() - fake.mean()), real - real.mean(), fake.mean() - fake)
    low, high = estimate.interval()
    error = (1 / 400 + 9 / 900) ** 0.5
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.08)
    assert (low + high) / 2 == pytest.approx(estimate.value, abs=0.1 * error)
    assert estimate.interval() == (low, high) != estimate.interval(seed=1)


def test_sides_of_the_same_pictures_are_drawn_apart() -> None:
    """Were both resampled by the same numbers, they would cancel."""
    rows = noise(200)
    low, high = Estimate(0.0, rows - rows.mean(), rows.mean() - rows).interval()
    assert high - low > 3 / 200**0.5
