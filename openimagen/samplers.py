"""Samplers: walk from noise to image. Each is a pure function of a denoiser, noise and log-SNRs.

A walk is a list of steps + 1 log-SNRs, rising from noise to image. Its end counts as free of
noise: there z is the denoiser's last estimate of x0, so that `steps` calls draw a clean picture
wherever the list stops. Arithmetic is in the precision of z (hand in float32), whatever the
denoiser computes in.
"""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from openimagen.config import SamplerName
from openimagen.diffusion import Denoiser, Image, alpha_sigma

Noise = Callable[[], Tensor]  # fresh standard normal noise, shaped like z
Sampler = Callable[[Denoiser, Tensor, Tensor, Noise], Tensor]  # denoise, z, log_snrs, noise -> x0


class NoiseLevel(NamedTuple):
    """One noise level, z = alpha x + sigma eps, in Python floats: 64 bits, on no device."""

    log_snr: float
    alpha: float
    sigma: float

    @property
    def sigma_edm(self) -> float:
        """Noise per signal, the clock of Karras et al. (2022)."""
        return self.sigma / self.alpha


def levels(log_snrs: Float[Tensor, "n"]) -> list[NoiseLevel]:
    """Noise levels of a walk, the last one free of noise: alpha = 1, sigma = 0."""
    log_snrs = log_snrs.cpu().double().index_fill(0, torch.tensor([len(log_snrs) - 1]), math.inf)
    alpha, sigma = alpha_sigma(log_snrs)
    columns = (column.tolist() for column in (log_snrs, alpha, sigma))
    return [NoiseLevel(*row) for row in zip(*columns, strict=True)]


def estimate(denoise: Denoiser, z: Image, level: NoiseLevel) -> Image:
    """The denoiser's x0 for pictures that share one noise level, in the precision of z."""
    return denoise(z, z.new_full((len(z),), level.log_snr)).to(z.dtype)


@torch.no_grad()
def ddpm(
    denoise: Denoiser, z: Image, log_snrs: Float[Tensor, "n"], noise: Noise, gamma: float = 0.3
) -> Image:
    """Ancestral sampler of the paper (eq. 6; Ho & Salimans, 2022, eq. 3-4): z_s given z_t and x0.

    `gamma` interpolates the variance in log space, from that of q(z_s | z_t, x0) at 0, right for
    data that is one point, to that of q(z_t | z_s) at 1, right for standard normal data. The
    paper gives no value; 0.3 is Ho & Salimans' for 64x64. The last step adds no noise.
    """
    for now, after in pairwise(levels(log_snrs)):
        x = estimate(denoise, z, now)  # [b c h w]
        kept = math.exp(now.log_snr - after.log_snr)  # SNR_t / SNR_s
        z = kept * after.alpha / now.alpha * z + (1 - kept) * after.alpha * x
        if after.sigma > 0:
            z = z + math.sqrt(1 - kept) * after.sigma ** (1 - gamma) * now.sigma**gamma * noise()
    return z


@torch.no_grad()
def ddim(
    denoise: Denoiser, z: Image, log_snrs: Float[Tensor, "n"], noise: Noise | None = None
) -> Image:
    """Deterministic, first order (the paper, eq. 5; Song et al., 2021). `noise` is unused."""
    for now, after in pairwise(levels(log_snrs)):
        x = estimate(denoise, z, now)  # [b c h w]
        eps = (z - now.alpha * x) / now.sigma  # the noise this estimate implies
        z = after.alpha * x + after.sigma * eps
    return z


@torch.no_grad()
def dpmpp_2m(
    denoise: Denoiser, z: Image, log_snrs: Float[Tensor, "n"], noise: Noise | None = None
) -> Image:
    """DPM-Solver++(2M) (Lu et al., 2022, algorithm 2): second order at one call a step.

    Exact in the linear part, as DDIM is; x0 is carried on along the line through the last two
    estimates. The first step has one estimate only, and the last, infinitely long in log-SNR,
    would carry it on for ever: both are first order. `noise` is unused.
    """
    before: tuple[Tensor, float] | None = None  # the last estimate, and the step that it opened
    for now, after in pairwise(levels(log_snrs)):
        x = estimate(denoise, z, now)  # [b c h w]
        h = (after.log_snr - now.log_snr) / 2  # their lambda = log(alpha / sigma) is half of ours
        ahead = x
        if before is not None and after.sigma > 0:
            x_before, h_before = before
            ahead = x + h / (2 * h_before) * (x - x_before)  # x0 in the middle of the step
        z = after.sigma / now.sigma * z - after.alpha * math.expm1(-h) * ahead
        before = x, h
    return z


@torch.no_grad()
def heun(
    denoise: Denoiser, z: Image, log_snrs: Float[Tensor, "n"], noise: Noise | None = None
) -> Image:
    """Deterministic, second order (Karras et al., 2022, algorithm 1), two calls a step.

    Works on y = z / alpha = x + sigma_edm eps, where dy / dsigma_edm = (y - x0) / sigma_edm. Wants
    short steps: over one that divides sigma_edm by r it extrapolates the change of x0 by (r - 1) /
    2, which overshoots for large r. EDM's spacing is made so; a cosine walk from pure noise needs
    32 steps or more.
    `noise` is unused.
    """
    walk = levels(log_snrs)
    y = z / walk[0].alpha
    for now, after in pairwise(walk):
        x = estimate(denoise, now.alpha * y, now)  # [b c h w]
        if after.sigma == 0:
            return x  # where an Euler step to sigma = 0 lands
        step = after.sigma_edm - now.sigma_edm
        slope = (y - x) / now.sigma_edm
        euler = y + step * slope
        slope_after = (euler - estimate(denoise, after.alpha * euler, after)) / after.sigma_edm
        y = y + step * (slope + slope_after) / 2
    return y


SAMPLERS: dict[SamplerName, Sampler] = {
    "ddpm": ddpm,
    "ddim": ddim,
    "dpmpp_2m": dpmpp_2m,
    "heun": heun,
}
