"""torchmetrics on the same features, the definitions pair by pair, and what must not matter."""

from math import exp

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from torchmetrics.image.kid import KernelInceptionDistance, poly_mmd

from openimagen.evaluate import kernels as room
from openimagen.evaluate.kernels import cmmd, kid, kid_of_subsets


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def cubic(x: Tensor, y: Tensor) -> Tensor:
    return (x @ y.T / x.shape[1] + 1) ** 3


def gaussian(x: Tensor, y: Tensor) -> Tensor:
    return torch.exp(-(x[:, None] - y).square().sum(2) / 200)


class Identity(nn.Module):
    num_features = 6

    def forward(self, features: Tensor) -> Tensor:
        return features


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance` will save all")
def test_kid_agrees_with_torchmetrics() -> None:
    real, fake = noise(30, 6), 1.3 * noise(30, 6, seed=1) + 0.2
    oracle = KernelInceptionDistance(feature=Identity(), subsets=1, subset_size=30)
    oracle.set_dtype(torch.float64)
    oracle.update(real, real=True)
    oracle.update(fake, real=False)
    assert kid(real, fake).value == pytest.approx(float(oracle.compute()[0]), rel=1e-10)
    assert kid(real.float(), fake).value == pytest.approx(float(oracle.compute()[0]), rel=1e-6)


def test_subsets_are_as_published() -> None:
    """Every subset has its own pictures, all different; mean and deviation are of the subsets."""
    real, fake = noise(9, 6), noise(12, 6, seed=1) + 0.5
    mean, deviation = kid_of_subsets(real, fake, subsets=300, size=4)
    assert kid_of_subsets(real, fake, subsets=300, size=4) == (mean, deviation)
    assert kid_of_subsets(real, fake, subsets=300, size=4, seed=1)[0] != mean
    generator = torch.Generator().manual_seed(5)
    chosen = [
        [torch.randperm(len(x), generator=generator)[:4] for x in (real, fake)] for _ in range(300)
    ]
    oracle = torch.stack([poly_mmd(real[a], fake[b]) for a, b in chosen])
    error = float(oracle.std()) / 300**0.5
    assert mean == pytest.approx(float(oracle.mean()), abs=5 * error)
    assert deviation == pytest.approx(float(oracle.std()), rel=0.2)
    whole = kid_of_subsets(real, fake[:9], subsets=1, size=9)
    assert whole == pytest.approx((kid(real, fake[:9]).value, 0), rel=1e-10)
    with pytest.raises(ValueError, match=r"subsets of 10 from 9 pictures: choose from 2 to 9"):
        kid_of_subsets(real, fake, size=10)


def test_kid_of_unequal_numbers_pair_by_pair() -> None:
    real, fake = noise(5, 3), noise(8, 3, seed=1)
    xx, yy, xy = cubic(real, real), cubic(fake, fake), cubic(real, fake)
    expected = (xx.sum() - xx.trace()) / (5 * 4) + (yy.sum() - yy.trace()) / (8 * 7) - 2 * xy.mean()
    assert kid(real, fake).value == pytest.approx(float(expected), rel=1e-10)


def test_kid_of_one_distribution_is_0_on_average() -> None:
    values = torch.tensor(
        [kid(noise(8, 4, seed=2 * n), noise(11, 4, seed=2 * n + 1)).value for n in range(400)]
    )
    assert abs(values.mean()) < 3 * values.std() / 20
    assert values.min() < 0


def test_cmmd_pair_by_pair() -> None:
    """Pairs with oneself count, as in the published code; lengths of features do not."""
    real, fake = noise(6, 5), noise(9, 5, seed=1) + 1
    x, y = normalize(real), normalize(fake)
    expected = gaussian(x, x).mean() + gaussian(y, y).mean() - 2 * gaussian(x, y).mean()
    assert cmmd(real, fake).value == pytest.approx(1000 * float(expected), rel=1e-8)
    longer = 7 * fake * torch.arange(1, 10)[:, None]
    assert cmmd(real, longer).value == pytest.approx(1000 * float(expected), rel=1e-8)
    assert cmmd(real, real.flip(0)).value == pytest.approx(0, abs=1e-10)


def test_cmmd_of_two_directions_is_known() -> None:
    """All real pictures one way, all fake ones the other: 2 - 2 exp(-4 / 200)."""
    there = torch.ones(4, 3).double()
    assert cmmd(there, -2 * there).value == pytest.approx(2000 * (1 - exp(-4 / 200)), rel=1e-10)


@pytest.mark.parametrize("measure", (kid, cmmd))
def test_turns_order_and_blocks_change_nothing(
    measure: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert callable(measure)
    real, fake = noise(11, 5), noise(7, 5, seed=1) + 0.4
    turn = torch.linalg.qr(noise(5, 5, seed=2))[0]
    whole = measure(real, fake)
    value = pytest.approx(whole.value, rel=1e-8)
    assert measure(real @ turn, fake @ turn).value == value
    assert measure(real.flip(0), fake.roll(2, 0)).value == value
    assert measure(fake, real).value == value
    monkeypatch.setattr(room, "BLOCK", 30)  # rows come by 2 to 4
    parted = measure(real, fake)
    assert parted.value == value
    torch.testing.assert_close(parted.real, whole.real)
    torch.testing.assert_close(parted.fake, whole.fake)


@pytest.mark.parametrize("measure, skip_self", ((kid, True), (cmmd, False)))
def test_influences_are_the_derivatives_in_the_weights(measure: object, skip_self: bool) -> None:
    assert callable(measure)
    real, fake = noise(7, 4), noise(9, 4, seed=1) + 0.5
    x, y = (real, fake) if skip_self else (normalize(real), normalize(fake))
    kernel = cubic if skip_self else gaussian
    p = torch.full((7,), 1 / 7, dtype=torch.float64, requires_grad=True)
    q = torch.full((9,), 1 / 9, dtype=torch.float64, requires_grad=True)

    def within(rows: Tensor, weights: Tensor) -> Tensor:
        pairs = weights[:, None] * weights
        if skip_self:
            pairs = pairs - torch.diag(weights.square())
        return (pairs * kernel(rows, rows)).sum() / pairs.sum()

    across = (p / p.sum()) @ kernel(x, y) @ (q / q.sum())
    by_p, by_q = torch.autograd.grad(within(x, p) + within(y, q) - 2 * across, (p, q))
    scale = 1 if skip_self else 1000
    found = measure(real, fake)
    torch.testing.assert_close(found.real, scale * by_p)
    torch.testing.assert_close(found.fake, scale * by_q)
