"""Where the interval is known: means, whose error is sd / sqrt(n)."""

import numpy as np
import pytest
import torch
from torch import Tensor

from openimagen.evaluate import bootstrap as room
from openimagen.evaluate.bootstrap import Estimate, draws, interval, mean_interval, share_interval


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


# --- shares ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [3, 20, 500])
def test_all_or_none_has_the_binomial_interval(count: int) -> None:
    """Clopper and Pearson's, whose ends are quantiles of a beta distribution."""
    from scipy.stats import beta

    names = [str(number) for number in range(count)]
    assert share_interval([1.0] * count, names) == pytest.approx(
        (1, beta.ppf(0.025, count, 1), 1), rel=1e-9
    )
    assert share_interval([0.0] * count, names) == pytest.approx(
        (0, 0, beta.ppf(0.975, 1, count)), rel=1e-9
    )


def test_some_have_the_bootstraps_and_names_count_not_rows() -> None:
    hits, names = [1.0, 0.0] * 30, [str(number) for number in range(60)]
    value, low, high = share_interval(hits, names)
    assert value == 0.5 and low == pytest.approx(0.5 - 0.127, abs=0.02)
    assert (value, low, high) == mean_interval(hits, names)
    fourfold = [hit for hit in hits for _ in range(4)]
    again = share_interval(fourfold, [name for name in names for _ in range(4)])
    assert again == pytest.approx((value, low, high))
