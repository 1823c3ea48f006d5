"""Where the best denoiser and the exact path are known, hold the samplers to them.

Gaussian data: both in closed form. A mixture of two: the path by Runge-Kutta. One
point: exact in any number of steps. The ancestral sampler is linear for Gaussian data, so its
distribution is found without drawing: see `coefficients`.
"""

import math
from functools import cache, partial
from itertools import accumulate, cycle, islice
from typing import get_args

import pytest
import torch
from torch import Tensor

from openimagen.config import (
    CosineSchedule,
    LinearSchedule,
    LogNormalSchedule,
    SamplerName,
    Schedule,
)
from openimagen.diffusion import Denoiser, add_noise, alpha_sigma, column, sampling_log_snrs
from openimagen.samplers import SAMPLERS, Sampler, ddim, ddpm, dpmpp_2m, heun

MEAN, STD = 0.3, 0.5  # Gaussian data
MIXTURE = torch.tensor([[0.4, 0.6], [-0.8, 0.6], [0.2, 0.3]]).double()  # weights, means, stds
DETERMINISTIC: list[tuple[Sampler, int]] = [(ddim, 1), (dpmpp_2m, 2), (heun, 2)]  # and order
PIXELS = torch.special.ndtri((torch.arange(64, dtype=torch.float64) + 0.5) / 64).view(1, 1, 8, 8)


def alpha_sigma_columns(log_snr: Tensor) -> tuple[Tensor, Tensor]:
    alpha, sigma = alpha_sigma(log_snr)
    return column(alpha), column(sigma)


def posterior_mean(
    z: Tensor, log_snr: Tensor, mean: Tensor | float = MEAN, std: Tensor | float = STD
) -> Tensor:
    """The best denoiser of pixels drawn from N(mean, std²)."""
    alpha, sigma = alpha_sigma_columns(log_snr)
    return mean + alpha * std**2 / (alpha**2 * std**2 + sigma**2) * (z - alpha * mean)


def mixture_mean(z: Tensor, log_snr: Tensor) -> Tensor:
    """The best denoiser of pixels drawn from the mixture: each component's, by how likely it is."""
    alpha, sigma = alpha_sigma_columns(log_snr)
    weight, mean, std = MIXTURE.view(3, 2, 1, 1, 1, 1)  # 3 x [components 1 1 1 1]
    variance = alpha**2 * std**2 + sigma**2  # of z, [components b 1 1 1]
    log_likely = weight.log() - variance.log() / 2 - (z - alpha * mean) ** 2 / (2 * variance)
    first, second = posterior_mean(z, log_snr, mean, std)
    return second + (log_likely[0] - log_likely[1]).sigmoid() * (first - second)


def uneven_walk(steps: int, low: float = -8.0, high: float = 18.0) -> Tensor:
    """Log-SNRs in steps alternately short and long, so that formulas for even steps fail."""
    position = torch.tensor([0.0, *accumulate(islice(cycle([1.0, 3.0]), steps))]).double()
    return low + (high - low) * position / position[-1]


def gaussian_picture(z: Tensor, log_snr: Tensor) -> Tensor:
    """End of the exact path, on which (z - E z) / std z is constant."""
    alpha, sigma = alpha_sigma(log_snr)
    return MEAN + STD * (z - alpha * MEAN) / (alpha**2 * STD**2 + sigma**2).sqrt()


@cache
def mixture_picture(start: float = -8.0, end: float = 26.0, steps: int = 512) -> Tensor:
    """End of the path by Runge-Kutta: y = z / alpha obeys dy / dlog_snr = (x0 - y) / 2."""

    def slope(y: Tensor, value: float) -> Tensor:
        log_snr = y.new_full((len(y),), value)
        return (mixture_mean(alpha_sigma_columns(log_snr)[0] * y, log_snr) - y) / 2

    y, h = PIXELS / math.sqrt(1 / (1 + math.exp(-start))), (end - start) / steps
    for i in range(steps):
        now = start + i * h
        a = slope(y, now)
        b = slope(y + h / 2 * a, now + h / 2)
        c = slope(y + h / 2 * b, now + h / 2)
        d = slope(y + h * c, now + h)
        y = y + h / 6 * (a + 2 * b + 2 * c + d)
    return y


def no_noise() -> Tensor:
    raise AssertionError("a deterministic sampler drew noise")


class Recorder:
    """A denoiser that keeps what it was asked."""

    def __init__(self, denoise: Denoiser) -> None:
        self.denoise, self.z, self.log_snr = denoise, list[Tensor](), list[Tensor]()

    def __call__(self, z: Tensor, log_snr: Tensor) -> Tensor:
        self.z.append(z)
        self.log_snr.append(log_snr)
        return self.denoise(z, log_snr)


# --- deterministic samplers -----------------------------------------------------------------------


def rms(error: Tensor) -> float:
    return error.square().mean().sqrt().item()


@pytest.mark.parametrize(("sampler", "order"), DETERMINISTIC)
def test_gaussian_data_halving_the_steps_divides_the_error_by_two_to_the_order(
    sampler: Sampler, order: int
) -> None:
    exact = gaussian_picture(PIXELS, uneven_walk(1)[0])
    coarse, fine = (
        rms(sampler(posterior_mean, PIXELS, uneven_walk(steps), no_noise) - exact)
        for steps in (128, 256)
    )
    assert fine < 0.03**order
    assert coarse / fine == pytest.approx(2**order, rel=0.1)


@pytest.mark.parametrize(("sampler", "order"), DETERMINISTIC)
def test_on_a_curved_path_too(sampler: Sampler, order: int) -> None:
    exact = mixture_picture()
    coarse, fine = (
        rms(sampler(mixture_mean, PIXELS, uneven_walk(steps), no_noise) - exact)
        for steps in (128, 256)
    )
    assert fine < 0.03**order
    assert coarse / fine == pytest.approx(2**order, rel=0.1)


@pytest.mark.parametrize(("sampler", "_"), DETERMINISTIC)
def test_one_point_of_data_is_reached_exactly_in_any_number_of_steps(
    sampler: Sampler, _: int
) -> None:
    denoise = Recorder(lambda z, log_snr: torch.full_like(z, MEAN, dtype=torch.float64))
    walk = uneven_walk(5)
    start = add_noise(torch.full_like(PIXELS, MEAN), PIXELS, walk[:1])
    torch.testing.assert_close(sampler(denoise, start, walk, no_noise), 0 * PIXELS + MEAN)
    for z, log_snr in zip(denoise.z, denoise.log_snr, strict=True):  # the noise only shrinks
        torch.testing.assert_close(z, add_noise(torch.full_like(z, MEAN), PIXELS, log_snr))


@pytest.mark.parametrize("schedule", [CosineSchedule(), LinearSchedule(), LogNormalSchedule()])
@pytest.mark.parametrize(("sampler", "_"), DETERMINISTIC)
def test_every_schedules_walk_leads_to_the_picture(
    sampler: Sampler, _: int, schedule: Schedule
) -> None:
    walk = sampling_log_snrs(schedule, 200)
    picture = sampler(posterior_mean, PIXELS.float(), walk, no_noise)
    assert rms(picture - gaussian_picture(PIXELS, walk[0].double())) < 0.02


def test_dpmpp_meets_a_moving_estimate_in_the_middle_of_each_step() -> None:
    denoise = Recorder(lambda z, log_snr: column(log_snr).expand_as(z))  # moves with log-SNR
    walk = uneven_walk(6)
    dpmpp_2m(denoise, PIXELS, walk)
    for i in range(1, 5):  # the first step and the last do not extrapolate
        middle = torch.full_like(PIXELS, (walk[i] + walk[i + 1]).item() / 2)
        alpha, sigma = alpha_sigma_columns(walk[i : i + 1])
        eps = (denoise.z[i] - alpha * middle) / sigma
        torch.testing.assert_close(denoise.z[i + 1], add_noise(middle, eps, walk[i + 1 : i + 2]))


# --- the ancestral sampler ------------------------------------------------------------------------


def coefficients(
    denoise: Denoiser, walk: Tensor, start: tuple[float, float], gamma: float
) -> tuple[list[Tensor], Tensor]:
    """How z at each level, and the picture, depend on every noise drawn: the sampler's response.

    Picture 0 of the batch meets no noise; picture 1 only that of `start` (mean, std), one unit of
    it; picture k only the noise of step k - 1. For a linear denoiser, z_0 is the mean and the sum
    of (z_k - z_0)² the variance of z under independent noise: exact, with nothing drawn.
    """
    steps = len(walk) - 1
    impulses = iter(torch.eye(steps + 1, dtype=torch.float64)[2:])
    z = torch.full((steps + 1, 1, 1, 1), start[0], dtype=torch.float64)
    z[1] += start[1]
    recorder = Recorder(denoise)
    picture = ddpm(recorder, z, walk, lambda: column(next(impulses)), gamma)
    assert next(impulses, None) is None  # one noise for each step but the last
    return [seen.flatten() for seen in recorder.z], picture.flatten()


def moments(response: Tensor) -> tuple[float, float]:
    return response[0].item(), (response[1:] - response[0]).square().sum().item()


def start_of(walk: Tensor, mean: float, std: float) -> tuple[float, float]:
    alpha, sigma = (scale.item() for scale in alpha_sigma(walk[0]))
    return alpha * mean, math.sqrt(alpha**2 * std**2 + sigma**2)


@pytest.mark.parametrize(("gamma", "std"), [(0.0, 0.0), (1.0, 1.0)])
def test_ddpm_is_exact_for_a_point_at_gamma_0_and_for_unit_variance_at_gamma_1(
    gamma: float, std: float
) -> None:
    walk, denoise = uneven_walk(6), partial(posterior_mean, mean=MEAN, std=std)
    levels, _ = coefficients(denoise, walk, start_of(walk, MEAN, std), gamma)
    for response, log_snr in zip(levels, walk, strict=False):
        alpha, sigma = (scale.item() for scale in alpha_sigma(log_snr))
        assert moments(response) == pytest.approx((alpha * MEAN, alpha**2 * std**2 + sigma**2))


@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0])
def test_ddpm_draws_from_gaussian_data_as_steps_grow(gamma: float) -> None:
    def error(steps: int) -> float:
        walk = uneven_walk(steps)
        _, picture = coefficients(posterior_mean, walk, start_of(walk, MEAN, STD), gamma)
        mean, variance = moments(picture)
        assert mean == pytest.approx(MEAN)  # in any number of steps
        return variance - STD**2

    coarse, fine = error(256), error(512)
    assert abs(fine) < 0.05 * STD**2
    assert coarse / fine == pytest.approx(2, rel=0.1)


def test_gamma_interpolates_the_noise_of_a_step_in_log_space() -> None:
    zero, walk = partial(posterior_mean, mean=0.0, std=0.0), uneven_walk(2)
    at_0, between, at_1 = (
        coefficients(zero, walk, (0.0, 1.0), gamma)[0][1][2].item() for gamma in (0.0, 0.25, 1.0)
    )
    assert between == pytest.approx(at_0**0.75 * at_1**0.25)
    assert at_0 < between < at_1


# --- what all have in common ----------------------------------------------------------------------


def test_every_sampler_of_the_config_is_there() -> None:
    assert set(SAMPLERS) == set(get_args(SamplerName))


@pytest.mark.parametrize("name", get_args(SamplerName))
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_the_picture_is_the_last_estimate_at_one_call_a_step(name: SamplerName, steps: int) -> None:
    estimates: list[Tensor] = []

    def denoise(z: Tensor, log_snr: Tensor) -> Tensor:
        estimates.append(posterior_mean(z, log_snr))
        return estimates[-1]

    recorder, walk = Recorder(denoise), uneven_walk(steps, high=5.0)
    z = torch.cat([PIXELS, -PIXELS]).float()
    picture = SAMPLERS[name](recorder, z, walk, lambda: torch.ones_like(z))
    assert torch.equal(picture, estimates[-1])
    corrections = steps - 1 if name == "heun" else 0
    assert len(estimates) == steps + corrections
    seen = torch.stack(recorder.log_snr)  # [calls b]: rising, one number for each picture
    assert torch.equal(seen[:, 0].unique(), walk[:-1].float())
    assert torch.equal(seen[:, 0], seen[:, 1])


@pytest.mark.parametrize("name", get_args(SamplerName))
def test_arithmetic_stays_float32_around_a_bfloat16_denoiser(name: SamplerName) -> None:
    denoise = Recorder(lambda z, log_snr: torch.full_like(z, 0.5, dtype=torch.bfloat16))
    z, walk = PIXELS.float(), uneven_walk(4)
    picture = SAMPLERS[name](denoise, z, walk, lambda: torch.zeros_like(z))
    exact = Recorder(lambda z, log_snr: torch.full_like(z, 0.5))
    SAMPLERS[name](exact, PIXELS, walk, lambda: torch.zeros_like(PIXELS))
    assert picture.dtype == torch.float32
    assert torch.equal(picture, torch.full_like(z, 0.5))
    for got, want in zip(denoise.z, exact.z, strict=True):
        torch.testing.assert_close(got.double(), want, atol=3e-4, rtol=0)


@pytest.mark.parametrize("name", get_args(SamplerName))
def test_samplers_keep_no_graph(name: SamplerName) -> None:
    weight = torch.ones(1, requires_grad=True)
    picture = SAMPLERS[name](lambda z, _: weight * z, PIXELS, uneven_walk(2), PIXELS.clone)
    assert not picture.requires_grad
