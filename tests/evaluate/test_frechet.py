"""Closed forms for Gaussians, torchmetrics on the same features, and what must not matter."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from torchmetrics.image.fid import FrechetInceptionDistance

from openimagen.evaluate.frechet import frechet, frechet_of_moments
from openimagen.evaluate.moments import Moments

SHAPES = [(30, 40, 8), (9, 12, 8), (8, 30, 12), (12, 9, 40), (30, 7, 12)]  # n, m, d


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def pair(n: int, m: int, d: int) -> tuple[Tensor, Tensor]:
    bend = noise(d, d, seed=3) / d**0.5
    return noise(n, d, seed=1), noise(m, d, seed=2) @ bend + 0.3


def exactly(mean: Tensor, covariance: Tensor, n: int = 20, seed: int = 0) -> Tensor:
    """Features whose own mean and covariance are these to the last digit."""
    rows = noise(n, len(mean), seed=seed)
    rows = rows - rows.mean(0)
    white = torch.linalg.solve_triangular(
        torch.linalg.cholesky(torch.cov(rows.T)), rows.T, upper=False
    )
    return (torch.linalg.cholesky(covariance) @ white).T + mean


def of_moments(real: Tensor, fake: Tensor) -> float:
    return frechet_of_moments(Moments.of(real.split(7)), Moments.of(fake.split(7)))


# --- closed forms ---------------------------------------------------------------------------------


def test_axes_that_agree_compare_deviation_by_deviation() -> None:
    real = exactly(torch.zeros(3).double(), torch.diag(torch.tensor([1.0, 4.0, 9.0]).double()))
    fake = exactly(
        torch.tensor([1.0, 2.0, 0.0]).double(),
        torch.diag(torch.tensor([4.0, 4.0, 0.25]).double()),
        n=31,
        seed=1,
    )
    expected = (1 + 4) + (2 - 1) ** 2 + 0 + (3 - 0.5) ** 2
    assert frechet(real, fake).value == pytest.approx(expected, rel=1e-12)
    assert of_moments(real, fake) == pytest.approx(expected, rel=1e-12)


def test_two_dimensions_whatever_their_axes() -> None:
    """tr (C1 C2)^1/2 = (tr C1 C2 + 2 det(C1 C2)^1/2)^1/2 in two dimensions."""
    c1 = torch.tensor([[2.0, 0.9], [0.9, 1.0]]).double()
    c2 = torch.tensor([[1.0, -0.6], [-0.6, 3.0]]).double()
    product = c1 @ c2
    root = (product.trace() + 2 * product.det().sqrt()).sqrt()
    expected = float(c1.trace() + c2.trace() - 2 * root)
    zero = torch.zeros(2).double()
    real, fake = exactly(zero, c1), exactly(zero, c2, seed=1)
    assert frechet(real, fake).value == pytest.approx(expected, rel=1e-12)
    assert of_moments(real, fake) == pytest.approx(expected, rel=1e-12)


def test_drawn_from_gaussians_it_nears_their_distance() -> None:
    real, fake = noise(20_000, 3, seed=1), 1.5 * noise(20_000, 3, seed=2) + 0.5
    assert frechet(real, fake).value == pytest.approx(3 * (0.25 + 0.25), rel=0.03)


# --- torchmetrics ---------------------------------------------------------------------------------


class Identity(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.num_features = width

    def forward(self, features: Tensor) -> Tensor:
        return features


@pytest.mark.parametrize("n, m, d", SHAPES)
def test_agrees_with_torchmetrics(n: int, m: int, d: int) -> None:
    real, fake = pair(n, m, d)
    oracle = FrechetInceptionDistance(feature=Identity(d)).set_dtype(torch.float64)
    oracle.update(real, real=True)
    oracle.update(fake, real=False)
    expected = pytest.approx(float(oracle.compute()), rel=1e-6)
    assert frechet(real, fake).value == expected
    assert of_moments(real, fake) == expected


# --- what must not matter -------------------------------------------------------------------------


@pytest.mark.parametrize("n, m, d", SHAPES)
def test_features_and_moments_tell_the_same(n: int, m: int, d: int) -> None:
    real, fake = pair(n, m, d)
    close = 1e-12 if min(n, m) > d else 1e-7
    assert frechet(real, fake).value == pytest.approx(of_moments(real, fake), rel=close)


def test_more_dimensions_than_pictures_or_fewer() -> None:
    """Features that are always 0 change the form that is used and nothing else."""
    real, fake = pair(20, 25, 6)
    wide = frechet(pad(real, (0, 40)), pad(fake, (0, 40)))
    narrow = frechet(real, fake)
    assert wide.value == pytest.approx(narrow.value, rel=1e-12)
    torch.testing.assert_close(wide.real, narrow.real)
    torch.testing.assert_close(wide.fake, narrow.fake)


@pytest.mark.parametrize("n, m, d", SHAPES)
def test_turns_shifts_and_order_change_nothing(n: int, m: int, d: int) -> None:
    real, fake = pair(n, m, d)
    turn = torch.linalg.qr(noise(d, d, seed=5))[0]
    value = pytest.approx(frechet(real, fake).value, rel=1e-11)
    assert frechet(real @ turn + 3, fake @ turn + 3).value == value
    assert frechet(real.flip(0), fake.roll(2, 0)).value == value
    assert frechet(fake, real).value == value
    assert frechet(2 * real, 2 * fake).value / 4 == value


@pytest.mark.parametrize("n, m, d", SHAPES)
def test_nothing_is_far_from_itself(n: int, m: int, d: int) -> None:
    real, _ = pair(n, m, d)
    assert frechet(real, real.clone()).value < 1e-12 * float(real.square().sum())
    assert frechet(real + 1, real).value == pytest.approx(d)


# --- influences -----------------------------------------------------------------------------------


def weighted(real: Tensor, fake: Tensor, p: Tensor, q: Tensor) -> Tensor:
    """The distance of pictures that have weights."""
    sides = []
    for rows, weights in ((real, p / p.sum()), (fake, q / q.sum())):
        mean = weights @ rows
        unbiased = (len(rows) / (len(rows) - 1)) ** 0.5
        sides.append((mean, unbiased * weights.sqrt()[:, None] * (rows - mean)))
    (m1, x1), (m2, x2) = sides
    trace = x1.square().sum() + x2.square().sum()
    return (m1 - m2).square().sum() + trace - 2 * torch.linalg.svdvals(x1 @ x2.T).sum()


@pytest.mark.parametrize("n, m, d", SHAPES)
def test_influences_are_the_derivatives_in_the_weights(n: int, m: int, d: int) -> None:
    real, fake = pair(n, m, d)
    p = torch.full((n,), 1 / n, dtype=torch.float64, requires_grad=True)
    q = torch.full((m,), 1 / m, dtype=torch.float64, requires_grad=True)
    value = weighted(real, fake, p, q)
    found = frechet(real, fake)
    assert found.value == pytest.approx(value.item(), rel=1e-11)
    by_p, by_q = torch.autograd.grad(value, (p, q))
    torch.testing.assert_close(found.real, by_p, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(found.fake, by_q, rtol=1e-6, atol=1e-6)
