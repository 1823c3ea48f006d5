"""The diffusion process against its closed forms: schedules, forward process, wrappers, weights."""

import math
from typing import Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from openimagen.config import (
    CosineSchedule,
    DiffusionConfig,
    LinearSchedule,
    LogNormalSchedule,
    LossWeight,
    Schedule,
)
from openimagen.diffusion import (
    add_noise,
    alpha_sigma,
    augmentation_log_snr,
    column,
    denoiser,
    diffusion_loss,
    log_snr_at,
    loss_weight,
    preconditioning,
    sampling_log_snrs,
    target,
    time_at,
)

Prediction = Literal["eps", "x0", "v", "edm"]
PREDICTIONS: tuple[Prediction, ...] = ("eps", "x0", "v", "edm")
SCHEDULES: tuple[Schedule, ...] = (
    CosineSchedule(),
    CosineSchedule(shift=2 * math.log(64 / 256)),
    LinearSchedule(),
    LogNormalSchedule(),
)
SIGMA_DATA = 0.5
LOG_SNRS = torch.linspace(-15, 15, 31, dtype=torch.float64)


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# --- schedules ------------------------------------------------------------------------------------


def test_the_process_preserves_variance_and_its_snr_is_exp_of_log_snr() -> None:
    alpha, sigma = alpha_sigma(LOG_SNRS)
    torch.testing.assert_close(alpha**2 + sigma**2, torch.ones_like(alpha))
    torch.testing.assert_close(alpha**2 / sigma**2, LOG_SNRS.exp())


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_schedules_only_add_noise_and_stay_within_their_ends(schedule: Schedule) -> None:
    log_snr = log_snr_at(schedule, torch.linspace(0, 1, 1001))
    assert log_snr[0] == schedule.log_snr_max
    assert log_snr.min() >= schedule.log_snr_min
    falling = log_snr.diff() < 0
    inside = (log_snr > schedule.log_snr_min) & (log_snr < schedule.log_snr_max)
    assert falling[inside[1:] & inside[:-1]].all()
    assert (log_snr.diff() <= 0).all()


def test_cosine_is_a_cosine() -> None:
    t = torch.linspace(0.01, 0.99, 99)
    alpha, sigma = alpha_sigma(log_snr_at(CosineSchedule(), t))
    torch.testing.assert_close(alpha, torch.cos(math.pi / 2 * t))
    torch.testing.assert_close(sigma, torch.sin(math.pi / 2 * t))


def test_shift_makes_a_large_picture_as_noisy_as_a_small_one_once_averaged_down() -> None:
    shift = 2 * math.log(64 / 256)  # averaging 4x4 pixels divides the noise's variance by 16
    t = torch.linspace(0.1, 0.9, 9)
    snr = log_snr_at(CosineSchedule(shift=shift), t).exp()
    torch.testing.assert_close(16 * snr, log_snr_at(CosineSchedule(), t).exp())


def test_linear_is_the_limit_of_a_thousand_steps() -> None:
    beta = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)  # Ho et al., 2020
    alpha, _ = alpha_sigma(log_snr_at(LinearSchedule(), torch.arange(1, 1001) / 1000))
    discrete = (1 - beta).cumprod(0).sqrt().float()
    torch.testing.assert_close(alpha, discrete, atol=2e-3, rtol=0.02)


def test_log_normal_noise_has_edms_mean_and_deviation() -> None:
    schedule = LogNormalSchedule()
    t = (torch.arange(100_000) + 0.5) / 100_000
    log_sigma = -log_snr_at(schedule, t) / 2
    assert log_sigma.median().item() == pytest.approx(-0.8, abs=1e-3)
    assert log_sigma.mean().item() == pytest.approx(-0.8, abs=1e-2)
    assert log_sigma.std().item() == pytest.approx(1.6, rel=1e-2)
    one_std_up = log_snr_at(schedule, torch.tensor(0.8413447))
    assert one_std_up.item() == pytest.approx(-2 * (-0.8 + 1.6), abs=1e-4)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_time_at_inverts_the_schedule(schedule: Schedule) -> None:
    t = torch.linspace(0.05, 0.95, 19)
    torch.testing.assert_close(time_at(schedule, log_snr_at(schedule, t)).float(), t)


# --- the walk of a sampler ------------------------------------------------------------------------


@settings(deadline=None, derandomize=True, max_examples=50)
@given(
    schedule=st.sampled_from(SCHEDULES),
    ends=st.none() | st.tuples(st.floats(-100, -1), st.floats(1, 100)),
    steps=st.integers(1, 1000),
)
def test_a_walk_rises_at_every_step_from_its_first_to_its_last_log_snr(
    schedule: Schedule, ends: tuple[float, float] | None, steps: int
) -> None:
    walk = sampling_log_snrs(schedule, steps, ends)
    most_noise = log_snr_at(schedule, torch.tensor(1.0)).item()  # linear stops above its minimum
    low, high = ends or (-math.inf, math.inf)
    assert len(walk) == steps + 1
    assert walk[0].item() == pytest.approx(max(low, most_noise), abs=1e-4)
    assert walk[-1].item() == pytest.approx(min(high, schedule.log_snr_max), abs=1e-4)
    assert (walk.diff() > 0).all()


@pytest.mark.parametrize(
    ("schedule", "ends"), [(LinearSchedule(), (-15.0, -12.0)), (CosineSchedule(), (50.0, 60.0))]
)
def test_a_walk_beyond_the_schedule_is_refused(
    schedule: Schedule, ends: tuple[float, float]
) -> None:
    with pytest.raises(ValueError, match=r"the schedule has -\d+\.\d to \d+"):
        sampling_log_snrs(schedule, 6, ends)


def test_log_normal_walks_in_edms_steps() -> None:
    first, last, rho, steps = 80, 0.002, 7, 18
    sigma = [  # Karras et al., 2022, eq. 5, from the largest sigma to the smallest
        (first ** (1 / rho) + i / steps * (last ** (1 / rho) - first ** (1 / rho))) ** rho
        for i in range(steps + 1)
    ]
    ends = (-2 * math.log(first), -2 * math.log(last))
    schedule = LogNormalSchedule(log_snr_min=ends[0], log_snr_max=ends[1])
    walk = sampling_log_snrs(schedule, steps)
    torch.testing.assert_close((-walk / 2).exp(), torch.tensor(sigma), rtol=1e-5, atol=0)


def test_cosine_walks_uniformly_in_t() -> None:
    walk = sampling_log_snrs(CosineSchedule(), 10, (-4.0, 4.0))
    t = time_at(CosineSchedule(), walk).float()
    torch.testing.assert_close(t.diff(), (t[-1] - t[0]).expand(10) / 10)


# --- forward process ------------------------------------------------------------------------------


def test_noise_keeps_unit_variance_and_has_the_snr_it_names() -> None:
    x, eps, log_snr = torch.full((1, 1, 2, 2), 2.0), torch.full((1, 1, 2, 2), 3.0), 1.5
    z = add_noise(x, eps, torch.tensor([log_snr]))
    alpha = math.sqrt(math.exp(log_snr) / (1 + math.exp(log_snr)))
    torch.testing.assert_close(z, torch.full_like(z, 2 * alpha + 3 * math.sqrt(1 - alpha**2)))
    noisy = add_noise(randn(2, 3, 64, 64), randn(2, 3, 64, 64, seed=1), LOG_SNRS[[3, 20]])
    torch.testing.assert_close(noisy.var(dim=(1, 2, 3)), torch.ones(2).double(), atol=0.05, rtol=0)


def test_augmentation_runs_from_nearly_nothing_to_nearly_everything() -> None:
    config = DiffusionConfig(aug_log_snr_min=-8, aug_log_snr_max=12)
    levels = augmentation_log_snr(config, torch.tensor([0.0, 0.25, 1.0]))
    torch.testing.assert_close(levels, torch.tensor([12.0, 7.0, -8.0]))


# --- from network to denoiser ---------------------------------------------------------------------


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_a_perfect_network_denoises_perfectly(prediction: Prediction) -> None:
    config = DiffusionConfig(prediction=prediction, sigma_data=SIGMA_DATA)
    x, eps = randn(31, 3, 4, 4), randn(31, 3, 4, 4, seed=1)

    def perfect(z: Tensor, log_snr: Tensor, *conditions: object) -> Tensor:
        return target(config, x, eps, log_snr)

    z = add_noise(x, eps, LOG_SNRS)
    p = preconditioning(config, LOG_SNRS)
    torch.testing.assert_close(p.c_skip * z + p.c_out * perfect(z, LOG_SNRS), x)
    estimate = denoiser(perfect, config, text=None)(z, LOG_SNRS)  # the network's output is float32
    torch.testing.assert_close(estimate, x, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_the_wrapper_scales_the_input_and_hands_on_every_condition(prediction: Prediction) -> None:
    config = DiffusionConfig(prediction=prediction)
    z, log_snr = randn(2, 3, 4, 4).float(), torch.tensor([-1.0, 2.0])
    text, lowres, aug = object(), torch.zeros(2, 3, 4, 4), torch.tensor([5.0, 6.0])

    def net(scaled: Tensor, *conditions: object) -> Tensor:
        torch.testing.assert_close(scaled, preconditioning(config, log_snr).c_in * z)
        for got, given_ in zip(conditions, (log_snr, text, lowres, aug), strict=True):
            assert got is given_
        return torch.zeros_like(z, dtype=torch.bfloat16)

    estimate = denoiser(net, config, text, lowres, aug)(z, log_snr)
    assert estimate.dtype == torch.float32
    torch.testing.assert_close(estimate, preconditioning(config, log_snr).c_skip * z)


def test_edm_has_karras_coefficients() -> None:
    log_snr = LOG_SNRS
    alpha, _ = (column(scale) for scale in alpha_sigma(log_snr))
    sigma = column((-log_snr / 2).exp())  # EDM's noise; its noisy picture is z / alpha
    p = preconditioning(DiffusionConfig(prediction="edm", sigma_data=SIGMA_DATA), log_snr)
    variance = sigma**2 + SIGMA_DATA**2  # Karras et al., 2022, table 1
    torch.testing.assert_close(p.c_skip * alpha, SIGMA_DATA**2 / variance)
    torch.testing.assert_close(p.c_out, sigma * SIGMA_DATA / variance.sqrt())
    torch.testing.assert_close(p.c_in * alpha, 1 / variance.sqrt())


def test_edm_network_sees_and_predicts_unit_variance() -> None:
    config = DiffusionConfig(prediction="edm", sigma_data=SIGMA_DATA)
    x, eps = SIGMA_DATA * randn(31, 3, 64, 64), randn(31, 3, 64, 64, seed=1)
    z, ones = add_noise(x, eps, LOG_SNRS), torch.ones(31).double()
    seen = preconditioning(config, LOG_SNRS).c_in * z
    torch.testing.assert_close(seen.std(dim=(1, 2, 3)), ones, atol=0.03, rtol=0)
    predicted = target(config, x, eps, LOG_SNRS)
    torch.testing.assert_close(predicted.std(dim=(1, 2, 3)), ones, atol=0.03, rtol=0)


# --- the loss -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["eps", "v", "edm"])
def test_each_weight_is_plain_squared_error_of_its_own_prediction(
    kind: Literal["eps", "v", "edm"],
) -> None:
    config = DiffusionConfig(prediction=kind, loss=LossWeight(kind=kind), sigma_data=SIGMA_DATA)
    x, eps, output = (randn(31, 3, 4, 4, seed=s).float() for s in (0, 1, 2))
    log_snr = LOG_SNRS.float()
    plain = (output - target(config, x, eps, log_snr)).square().mean(dim=(1, 2, 3))
    torch.testing.assert_close(diffusion_loss(config, output, x, eps, log_snr), plain)


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("most", [None, 5.0])
def test_the_loss_is_the_weighted_error_of_x0_whatever_is_predicted(
    prediction: Prediction, most: float | None
) -> None:
    loss = LossWeight(kind="eps", most=most)
    config = DiffusionConfig(prediction=prediction, loss=loss)
    x, eps, output = (randn(31, 3, 4, 4, seed=s) for s in (0, 1, 2))
    estimate = denoiser(lambda *_: output, config, text=None)(add_noise(x, eps, LOG_SNRS), LOG_SNRS)
    snr = LOG_SNRS.exp() if most is None else LOG_SNRS.exp().clamp(max=most)
    expected = snr * (x - estimate).square().mean(dim=(1, 2, 3))
    got = diffusion_loss(config, output, x, eps, LOG_SNRS)
    torch.testing.assert_close(got, expected, rtol=1e-2, atol=0)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_the_absolute_error_is_weighted_likewise(
    prediction: Prediction,
) -> None:
    loss = LossWeight(kind="v", error="absolute")
    config = DiffusionConfig(prediction=prediction, loss=loss)
    x, eps, output = (randn(31, 3, 4, 4, seed=s) for s in (0, 1, 2))
    levels = LOG_SNRS.clamp(-9, 9)
    estimate = denoiser(lambda *_: output, config, text=None)(add_noise(x, eps, levels), levels)
    expected = (levels.exp() + 1) * (x - estimate).abs().mean(dim=(1, 2, 3))
    torch.testing.assert_close(
        diffusion_loss(config, output, x, eps, levels), expected, rtol=1e-2, atol=0
    )


def test_weights_are_snr_plus_a_constant_and_capped_where_asked() -> None:
    log_snr = torch.tensor([-3.0, 1.0, 9.0])
    snr = log_snr.exp()

    def weight(kind: Literal["eps", "v", "edm"], most: float | None = None) -> Tensor:
        return loss_weight(LossWeight(kind=kind, most=most), SIGMA_DATA, log_snr)

    torch.testing.assert_close(weight("eps"), snr)
    torch.testing.assert_close(weight("v"), snr + 1)
    torch.testing.assert_close(weight("edm"), snr + 4)
    torch.testing.assert_close(weight("eps", most=5), torch.tensor([*snr[:2].tolist(), 5.0]))
