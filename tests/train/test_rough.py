"""Faults put on pictures: none at level 0, of the strengths that are stated, favouring no side."""

import pytest
import torch
from torch import Tensor

from openimagen.train.rough import BLOTCHES, FAULTS, GREY, SOFT, WAVER, mean, moved, rough, smoothed


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_at_level_0_a_picture_is_as_it_was() -> None:
    picture = randn(2, 3, 9, 7)
    found = rough(picture, torch.zeros(2), randn(2, FAULTS, 9, 7, seed=1))
    torch.testing.assert_close(found, picture)


@pytest.mark.parametrize("level", [0.5, 1.0])
def test_flats_get_blotches_of_the_stated_size_whose_neighbours_are_alike(level: float) -> None:
    flat = torch.full((64, 3, 34, 34), 0.25)
    found = rough(flat, torch.full((64,), level), randn(64, FAULTS, 34, 34))
    faults = (found - flat)[..., 1:-1, 1:-1]
    assert faults.mean().abs() < 0.002
    assert faults.square().mean().sqrt().item() == pytest.approx(BLOTCHES * level, rel=0.03)
    together = torch.corrcoef(faults.transpose(0, 1).flatten(1))
    assert together[0, 1].item() == pytest.approx(GREY, abs=0.03)
    beside = torch.stack([faults[..., 1:].flatten(), faults[..., :-1].flatten()])
    assert torch.corrcoef(beside)[0, 1].item() == pytest.approx(2 / 3, abs=0.03)


def test_edges_waver_about_where_they_were() -> None:
    ramp = torch.arange(48.0).expand(64, 3, 48, 48)  # its level says where a pixel came from
    found = rough(ramp, torch.ones(64), randn(64, FAULTS, 48, 48))
    off = (mean(found, 9) - ramp)[..., 12:-12, 12:-12]  # of many, so that only far ones are seen
    assert off.mean().abs() < 0.02
    alike = (mean(smoothed(randn(64, 1, 48, 48, seed=5), 7), 9))[..., 12:-12, 12:-12]
    assert off.std().item() == pytest.approx(WAVER[1] * alike.std().item(), rel=0.15)


def test_lines_turn_soft() -> None:
    line = torch.zeros(1, 1, 9, 9)
    line[..., 4] = 1
    kept = rough(line.repeat(1, 3, 1, 1), torch.ones(1), torch.zeros(1, FAULTS, 9, 9))
    assert kept[0, 0, 4].tolist() == pytest.approx(
        [0, 0, 0, SOFT / 3, 1 - 2 * SOFT / 3, SOFT / 3, 0, 0, 0]
    )


def test_a_picture_moves_by_so_many_pixels_and_repeats_its_edge() -> None:
    picture, by = randn(1, 3, 5, 6), torch.zeros(1, 2, 5, 6)
    by[:, 0], by[:, 1] = 2, -1  # from the right, from above
    rows, columns = [0, 0, 1, 2, 3], [2, 3, 4, 5, 5, 5]
    torch.testing.assert_close(moved(picture, by), picture[..., rows, :][..., columns])


@pytest.mark.parametrize("side", [3, 7])
def test_noise_stays_normal_and_is_alike_within_its_squares(side: int) -> None:
    assert mean(torch.ones(1, 1, 5, 5), side).eq(1).all()
    noise = smoothed(randn(8, 1, 200, 200), side)[..., 4:-4, 4:-4]
    assert noise.std().item() == pytest.approx(1, abs=0.03)
    for apart in (1, side - 1, side):
        beside = torch.stack([noise[..., apart:].flatten(), noise[..., :-apart].flatten()])
        assert torch.corrcoef(beside)[0, 1].item() == pytest.approx(1 - apart / side, abs=0.03)
