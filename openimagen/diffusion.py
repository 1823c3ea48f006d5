"""The diffusion process on one clock, log-SNR: z = alpha x + sigma eps, SNR = alpha² / sigma².

Everything that differs between the paper's eps-prediction, x0, v and EDM is three coefficients
(`Preconditioning`) and one weight (`loss_weight`).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from openimagen.config import (
    CosineSchedule,
    DiffusionConfig,
    LinearSchedule,
    LogNormalSchedule,
    LossWeight,
    Schedule,
)

Image = Float[Tensor, "b c h w"]
LogSNR = Float[Tensor, "b"]
Denoiser = Callable[[Tensor, Tensor], Tensor]  # noisy image z, log-SNR [b] -> estimate of x0


# --- schedules: t in [0, 1] -> log-SNR ----------------------------------------------------------


def alpha_sigma(log_snr: Float[Tensor, "..."]) -> tuple[Float[Tensor, "..."], Float[Tensor, "..."]]:
    """Scales of signal and noise, alpha² + sigma² = 1 (Kingma et al., 2021, eq. 3)."""
    return log_snr.sigmoid().sqrt(), (-log_snr).sigmoid().sqrt()


def log_snr_at(schedule: Schedule, t: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Log-SNR at time t, falling from t = 0 (image) to t = 1 (noise), clipped to the ends.

    For the log-normal schedule t is the quantile: uniform t gives EDM's distribution of noise.
    """
    device, t = t.device, t.cpu().double()  # not every device has float64
    match schedule:
        case CosineSchedule(shift=shift):
            log_snr = -2 * torch.log(torch.tan(math.pi / 2 * t)) + shift
        case LinearSchedule(beta_min=low, beta_max=high):
            integral = low * t + (high - low) / 2 * t**2  # of beta from 0 to t; alpha² = exp(-it)
            log_snr = -torch.log(torch.expm1(integral))
        case LogNormalSchedule(mean=mean, std=std):
            log_snr = -2 * (mean + std * torch.special.ndtri(t))
    return log_snr.clamp(schedule.log_snr_min, schedule.log_snr_max).float().to(device)


def time_at(schedule: Schedule, log_snr: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Time at which the unclipped schedule passes a log-SNR: the inverse of `log_snr_at`."""
    log_snr = log_snr.double()
    match schedule:
        case CosineSchedule(shift=shift):
            t = 2 / math.pi * torch.atan(torch.exp((shift - log_snr) / 2))
        case LinearSchedule(beta_min=low, beta_max=high):
            integral = torch.log1p(torch.exp(-log_snr))
            t = 2 * integral / (low + torch.sqrt(low**2 + 2 * (high - low) * integral))
        case LogNormalSchedule(mean=mean, std=std):
            t = torch.special.ndtr((-log_snr / 2 - mean) / std)
    return t


def sampling_log_snrs(
    schedule: Schedule, steps: int, ends: tuple[float, float] | None = None
) -> Float[Tensor, "{steps}+1"]:
    """Log-SNRs that a sampler walks through, from noise to image, rising at every step.

    Uniform in t for cosine and linear; EDM's rho spacing of sigma (eq. 5) for log-normal noise.
    `ends` narrows the walk to (first, last). ValueError if the schedule has nothing between them.
    """
    low, high = ends or (schedule.log_snr_min, schedule.log_snr_max)
    low, high = max(low, schedule.log_snr_min), min(high, schedule.log_snr_max)
    ramp = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    if isinstance(schedule, LogNormalSchedule):
        first, last = (math.exp(-end / 2 / schedule.rho) for end in (low, high))
        log_snrs = -2 * schedule.rho * torch.log(first + ramp * (last - first))
    else:
        first, last = time_at(schedule, torch.tensor([low, high])).clamp(max=1).tolist()
        log_snrs = log_snr_at(schedule, first + ramp * (last - first))
    log_snrs = log_snrs.clamp(low, high).float()
    if log_snrs[0] >= log_snrs[-1]:
        known = f"{log_snr_at(schedule, torch.tensor(1.0)):.1f} to {schedule.log_snr_max:g}"
        raise ValueError(f"a walk over log-SNR {low:g} to {high:g}: the schedule has {known}")
    return log_snrs


# --- forward process ----------------------------------------------------------------------------


def column(scale: Shaped[Tensor, "b"]) -> Shaped[Tensor, "b 1 1 1"]:
    """Shape a number per picture so that it multiplies pictures."""
    return scale[:, None, None, None]


def add_noise(x: Image, eps: Image, log_snr: LogSNR) -> Image:
    """Forward process: z = alpha x + sigma eps."""
    alpha, sigma = alpha_sigma(log_snr)
    return column(alpha) * x + column(sigma) * eps


def augmentation_log_snr(config: DiffusionConfig, level: LogSNR) -> LogSNR:
    """Log-SNR of the noise on the picture below: from `aug_log_snr_max`, level 0, to `_min`, 1."""
    low, high = config.aug_log_snr_min, config.aug_log_snr_max
    return high + level * (low - high)


# --- from network to denoiser -------------------------------------------------------------------


@dataclass(frozen=True)
class Preconditioning:
    """x0 = c_skip z + c_out F(c_in z): what the network's output F means at one noise level."""

    c_skip: Float[Tensor, "b 1 1 1"]
    c_out: Float[Tensor, "b 1 1 1"]
    c_in: Float[Tensor, "b 1 1 1"]


def preconditioning(config: DiffusionConfig, log_snr: LogSNR) -> Preconditioning:
    """Coefficients of each prediction at a log-SNR.

    eps: x0 = (z - sigma eps) / alpha. v = alpha eps - sigma x0: x0 = alpha z - sigma v (Salimans &
    Ho, 2022). EDM (Karras et al., 2022, table 1): sigma_edm = sigma / alpha and x + n = z / alpha.
    """
    alpha, sigma = (column(scale) for scale in alpha_sigma(log_snr))
    one = torch.ones_like(alpha)
    match config.prediction:
        case "eps":
            return Preconditioning(1 / alpha, -sigma / alpha, one)
        case "x0":
            return Preconditioning(0 * one, one, one)
        case "v":
            return Preconditioning(alpha, -sigma, one)
        case "edm":
            variance = config.sigma_data**2
            total = alpha**2 * variance + sigma**2  # variance of z
            return Preconditioning(
                alpha * variance / total, sigma * config.sigma_data / total.sqrt(), total.rsqrt()
            )


def target(config: DiffusionConfig, x: Image, eps: Image, log_snr: LogSNR) -> Image:
    """What the network's output F should be, for z = alpha x + sigma eps."""
    alpha, sigma = (column(scale) for scale in alpha_sigma(log_snr))
    match config.prediction:
        case "eps":
            return eps
        case "x0":
            return x
        case "v":
            return alpha * eps - sigma * x
        case "edm":
            variance = config.sigma_data**2
            total = alpha**2 * variance + sigma**2
            return (sigma * x - alpha * variance * eps) / (config.sigma_data * total.sqrt())


def loss_weight(config: LossWeight, sigma_data: float, log_snr: LogSNR) -> LogSNR:
    """Weight of |x0 - estimate|², or of |x0 - estimate|, as a function of SNR.

    SNR is eps-MSE (the paper), SNR + 1 is v-MSE, SNR + 1 / sigma_data² is EDM's; SNR, capped, is
    min-SNR (Hang et al., 2023).
    """
    offset = {"eps": 0.0, "v": 1.0, "edm": sigma_data**-2}[config.kind]
    weight = log_snr.exp() + offset
    return weight if config.most is None else weight.clamp(max=config.most)


def diffusion_loss(
    config: DiffusionConfig, output: Image, x: Image, eps: Image, log_snr: LogSNR
) -> Float[Tensor, "b"]:
    """Weighted error of each picture, squared or absolute, averaged over its pixels.

    Measured on F, where it is well conditioned: |x0 - estimate| = |c_out| |F - target|.
    """
    power = 2 if config.loss.error == "squared" else 1
    error = (output.float() - target(config, x, eps, log_snr)).abs().pow(power)
    c_out = preconditioning(config, log_snr).c_out.flatten().abs()
    weight = loss_weight(config.loss, config.sigma_data, log_snr)
    return weight * c_out**power * error.mean(dim=(1, 2, 3))


def denoiser(
    net: Callable[..., Tensor],
    config: DiffusionConfig,
    text: object,
    lowres: Tensor | None = None,
    aug_log_snr: Tensor | None = None,
) -> Denoiser:
    """Wrap net(z, log_snr, text, lowres, aug_log_snr) so that samplers see denoise(z, log_snr)."""

    def denoise(z: Image, log_snr: LogSNR) -> Image:
        p = preconditioning(config, log_snr)
        output = net(p.c_in * z, log_snr, text, lowres, aug_log_snr)
        return p.c_skip * z + p.c_out * output.float()

    return denoise
