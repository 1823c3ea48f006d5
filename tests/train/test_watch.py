"""What a run notices of its steps: means, loss by noise level, spikes."""

import math

import pytest
import torch

from openimagen.train.watch import LEARNING, Watch, noise_sums


def nothing() -> torch.Tensor:
    return torch.zeros(2, 4)


def used_to(norm: float, most: float | None = 10.0) -> Watch:
    watch = Watch(most)
    for _ in range(LEARNING):
        watch.count(1.0, norm, nothing(), taken=True)
    return watch


def test_losses_go_to_their_quarter_of_the_noise_schedule() -> None:
    losses, t = torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0]), torch.tensor([0.0, 0.25, 0.3, 0.99, 1.0])
    assert noise_sums(losses, t).tolist() == [[1, 6, 0, 24], [1, 2, 0, 2]]


def test_a_log_line_has_the_means_since_the_last_one() -> None:
    watch = Watch(None)
    watch.count(1.0, 3.0, torch.tensor([[4.0, 0, 0, 2], [2, 0, 0, 1]]), taken=True)
    watch.count(2.0, 5.0, torch.tensor([[2.0, 0, 0, 4], [1, 0, 0, 1]]), taken=True)
    watch.count(math.nan, 9.0, torch.full((2, 4), math.nan), taken=False)
    assert watch.means() == {
        **{"loss": 1.5, "gradient": 4.0, "skipped": 1.0},
        **{"loss_noise_1_of_4": 2.0, "loss_noise_4_of_4": 3.0},
    }
    assert watch.means() == {"skipped": 0.0}


@pytest.mark.parametrize(("loss", "norm"), [(math.nan, 1.0), (1.0, math.inf), (math.inf, math.nan)])
def test_no_number_is_no_step(loss: float, norm: float) -> None:
    assert not Watch(None).is_sound(loss, norm)


def test_a_spike_is_many_times_what_is_usual() -> None:
    watch = used_to(2.0)
    assert watch.usual == pytest.approx(2.0)
    assert watch.is_sound(1.0, 19.9) and not watch.is_sound(1.0, 20.1)
    assert used_to(2.0, most=None).is_sound(1.0, 1e9)


def test_nothing_is_a_spike_before_the_usual_is_known() -> None:
    watch = Watch(10.0)
    for step in range(LEARNING):
        assert watch.is_sound(1.0, 1e9), step
        watch.count(1.0, 1.0, nothing(), taken=True)
    assert not watch.is_sound(1.0, 1e9)


def test_a_new_level_becomes_usual_but_not_at_once() -> None:
    """A hundred times what is usual: counted at the limit of ten, it passes after a while."""
    watch, steps = used_to(1.0), 0
    while not watch.is_sound(1.0, 100.0):
        watch.count(1.0, 100.0, nothing(), taken=False)
        steps += 1
    assert 10 < steps < 50
    assert watch.skipped == steps
    watch.count(1.0, 1.0, nothing(), taken=True)
    assert watch.skipped == 0


def test_it_goes_on_from_its_state() -> None:
    watch, other = used_to(3.0), Watch(10.0)
    watch.count(1.0, 99.0, nothing(), taken=False)
    for name, value in watch.state_dict().items():
        other.state_dict()[name].copy_(value)
    assert (other.skipped, other.usual) == (1, watch.usual)
    assert other.means() == watch.means()
