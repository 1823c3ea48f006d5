"""A line of points by hand, the definitions word by word, and leaving pictures out one by one."""

import pytest
import torch
from torch import Tensor

from openimagen.evaluate import neighbours as room
from openimagen.evaluate.neighbours import Manifold, manifold


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def line(*places: float) -> Tensor:
    return torch.tensor(places, dtype=torch.float64)[:, None]


def by_definition(centres: Tensor, points: Tensor, k: int) -> dict[str, float]:
    apart = torch.cdist(centres, centres, compute_mode="donot_use_mm_for_euclid_dist")
    radii = apart.sort(dim=1).values[:, k]  # the 0th is oneself
    distances = torch.cdist(centres, points, compute_mode="donot_use_mm_for_euclid_dist")
    inside = distances <= radii[:, None]
    return {
        "precision": float(inside.any(0).double().mean()),
        "density": float(inside.sum()) / (k * len(points)),
        "coverage": float(inside.any(1).double().mean()),
    }


def values(found: Manifold) -> dict[str, float]:
    return {name: estimate.value for name, estimate in vars(found).items()}


def test_points_on_a_line_by_hand() -> None:
    """k = 1. Balls: 0 +- 1, 1 +- 1, 3 +- 2, 10 +- 7: [-1, 1], [0, 2], [1, 5], [3, 17]."""
    found = manifold(line(0, 1, 3, 10), line(-2, 0.5, 4, 4.5, 18), k=1)
    assert found.precision.value == pytest.approx(3 / 5)  # not -2, not 18
    assert found.density.value == pytest.approx((0 + 2 + 2 + 2 + 0) / 5)
    assert found.coverage.value == 1
    # k = 2. Balls: 0 +- 3, 1 +- 2, 3 +- 3, 10 +- 9.
    found = manifold(line(0, 1, 3, 10), line(-2, 18), k=2)
    assert found.precision.value == 1
    assert found.density.value == pytest.approx(2 / (2 * 2))
    assert found.coverage.value == pytest.approx(2 / 4)


@pytest.mark.parametrize("n, m, d, k", [(20, 25, 3, 3), (30, 12, 8, 5), (7, 40, 2, 5)])
def test_as_defined(n: int, m: int, d: int, k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many blocks."""
    centres, points = noise(n, d) + 50, 1.3 * noise(m, d, seed=1) + 50.3
    expected = by_definition(centres, points, k)
    whole = manifold(centres, points, k)
    assert values(whole) == pytest.approx(expected)
    monkeypatch.setattr(room, "BLOCK", 3 * n)
    parted = manifold(centres, points, k)
    assert values(parted) == pytest.approx(expected)
    for name, estimate in vars(whole).items():
        torch.testing.assert_close(vars(parted)[name].real, estimate.real)
        torch.testing.assert_close(vars(parted)[name].fake, estimate.fake)


@pytest.mark.parametrize("n, m, d, k", [(20, 25, 3, 3), (12, 9, 2, 5), (7, 15, 1, 5)])
def test_influences_are_those_of_leaving_a_picture_out(n: int, m: int, d: int, k: int) -> None:
    """All is reckoned anew without each picture: neighbours, radii and counts."""
    centres, points = noise(n, d), 1.2 * noise(m, d, seed=1) + 0.3
    whole = by_definition(centres, points, k)
    found = manifold(centres, points, k)
    for name, estimate in vars(found).items():
        for influences, sides in (
            (estimate.real, [(without(centres, i), points) for i in range(n)]),
            (estimate.fake, [(centres, without(points, j)) for j in range(m)]),
        ):
            left = [by_definition(a, b, k)[name] for a, b in sides]
            expected = (len(left) - 1) * (whole[name] - torch.tensor(left, dtype=torch.float64))
            torch.testing.assert_close(influences, expected - expected.mean())


def without(rows: Tensor, number: int) -> Tensor:
    return torch.cat([rows[:number], rows[number + 1 :]])


def test_turns_and_order_change_nothing() -> None:
    centres, points = noise(25, 6), 1.2 * noise(30, 6, seed=1)
    turn = torch.linalg.qr(noise(6, 6, seed=2))[0]
    expected = pytest.approx(values(manifold(centres, points, 3)))
    assert values(manifold(centres @ turn + 9, points @ turn + 9, 3)) == expected
    assert values(manifold(centres.flip(0), points.roll(4, 0), 3)) == expected


def test_copies_are_inside_at_no_distance() -> None:
    """Every picture eight times: balls of no width, which rounding must not empty."""
    pictures = (noise(6, 40) + 3).float().repeat(8, 1)
    found = manifold(pictures, pictures[:17], 3)
    assert found.precision.value == found.coverage.value == 1
    far = manifold(pictures, pictures + 0.01, 3)
    assert far.precision.value == far.coverage.value == 0


def test_one_distribution_is_covered_as_reckoned() -> None:
    """Coverage of a twin is 1 - (n-1)...(n-k) / (2n-1)...(2n-k), whatever the distribution."""
    n, k = 30, 3
    missed = torch.tensor([(n - i) / (2 * n - i) for i in range(1, k + 1)]).prod()
    found = [manifold(noise(n, 2, seed=2 * t), noise(n, 2, seed=2 * t + 1), k) for t in range(100)]
    coverage = torch.tensor([each.coverage.value for each in found])
    assert float(coverage.mean()) == pytest.approx(float(1 - missed), abs=0.015)
    density = torch.tensor([each.density.value for each in found])
    assert float(density.mean()) == pytest.approx(1, abs=0.05)  # Naeem et al., section 3.3
