"""However features are parted into batches and ranks, their moments are those of the whole."""

import pytest
import torch
from torch import Tensor

from openimagen.evaluate.moments import Moments


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def is_of(moments: Moments, features: Tensor) -> None:
    assert moments.count == len(features)
    assert moments.mean.dtype == moments.scatter.dtype == torch.float64
    torch.testing.assert_close(moments.mean, features.double().mean(0), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(
        moments.covariance, torch.cov(features.double().T), rtol=1e-11, atol=1e-11
    )


@pytest.mark.parametrize("parts", ([50], [1] * 50, [7, 0, 30, 13]))
def test_batches_make_the_whole(parts: list[int]) -> None:
    features = noise(50, 6) + noise(6, seed=1)
    is_of(Moments.of(features.split(parts)), features)


def test_a_mean_far_off_costs_no_digits() -> None:
    """Sums of squares would leave no digit of a variance of 1 beside a mean of 1e8."""
    features = noise(50, 3).double()
    far = Moments.of((features + 1e8).split(5))
    torch.testing.assert_close(far.covariance, torch.cov(features.T), rtol=1e-6, atol=1e-6)


def test_ranks_merge_in_any_order() -> None:
    features = noise(40, 5)
    first, second, third = (Moments.of([part]) for part in features.split([3, 25, 12]))
    third.merge(first)
    third.merge(Moments.empty(5))
    third.merge(second)
    is_of(third, features)


def test_goes_on_from_what_was_saved() -> None:
    features = noise(30, 4)
    moments = Moments.of([features[:17]])
    saved = moments.state_dict()
    resumed = Moments.from_state_dict(saved)
    resumed.add(features[17:])
    is_of(resumed, features)
    is_of(Moments.from_state_dict(saved), features[:17])  # untouched by those who went on


def test_what_has_no_moments() -> None:
    with pytest.raises(ValueError, match="give at least one batch"):
        Moments.of([])
    with pytest.raises(ValueError, match="not finite"):
        Moments.of([torch.tensor([[1.0, float("nan")]])])
    with pytest.raises(ValueError, match=r"features of 3 and 4 numbers: use one network"):
        Moments.of([noise(2, 4), noise(2, 3)])
    with pytest.raises(ValueError, match="give at least 2"):
        _ = Moments.of([noise(1, 4)]).covariance
