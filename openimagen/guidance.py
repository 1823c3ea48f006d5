"""Guidance, thresholding, watching: each takes a denoiser and returns one, so that they compose.

A picture is drawn with `watched(thresholded(classifier_free(...)))`.
"""

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from openimagen.diffusion import Denoiser, Image, LogSNR, column

Threshold = Literal["none", "static", "dynamic"]


def classifier_free(
    conditional: Denoiser,
    both: Denoiser,
    weight: float,
    interval: tuple[float, float] = (-math.inf, math.inf),
    rescale: float = 0.0,
) -> Denoiser:
    """Push x0 towards the text: x = w x_text + (1 - w) x_null (Ho & Salimans, 2022).

    The paper writes it in eps (eq. 2). At a given z, x0 is affine in eps, x0 = (z - sigma eps) /
    alpha, and the two weights add up to 1: in x0, and in v, the combination is the same.

    `conditional` sees the text; `both` takes pictures twice, [z; z], and returns [x_text; x_null]
    from one forward. Weight 1 is off. Guided are pictures whose log-SNR is in `interval`, ends
    included (Kynkäänniemi et al., 2024); where none is, only `conditional` is called, at half the
    work. `rescale` is phi of `rescaled`.
    """
    low, high = interval

    def denoise(z: Image, log_snr: LogSNR) -> Image:
        inside = (low <= log_snr) & (log_snr <= high)
        if weight == 1 or not inside.any():
            return conditional(z, log_snr)
        estimates = both(torch.cat([z, z]), torch.cat([log_snr, log_snr])).to(z.dtype)  # [2b c h w]
        x_text, x_null = estimates.chunk(2)
        x = weight * x_text + (1 - weight) * x_null
        if rescale > 0:
            x = rescaled(x, x_text, rescale)
        return torch.where(column(inside), x, x_text)

    return denoise


def rescaled(x: Image, x_text: Image, phi: float) -> Image:
    """Give back part of the contrast that guidance added (Lin et al., 2024, eq. 15-16).

    At phi = 1 each picture has the standard deviation it had without guidance, at 0 it is `x`.
    """
    std, std_text = (picture.std(dim=(1, 2, 3)) for picture in (x, x_text))
    return phi * column(std_text / std) * x + (1 - phi) * x


def thresholded(denoise: Denoiser, kind: Threshold, percentile: float = 99.5) -> Denoiser:
    """Hold every estimate of x0 within the range of pictures, [-1, 1], as training data are.

    Acts at sampling, after guidance, at each step (Saharia et al., 2022, section 2.3).
    """
    match kind:
        case "none":
            return denoise
        case "static":
            return lambda z, log_snr: static_threshold(denoise(z, log_snr))
        case "dynamic":
            return lambda z, log_snr: dynamic_threshold(denoise(z, log_snr), percentile)


def static_threshold(x: Image) -> Image:
    """Clip to [-1, 1]; large guidance weights saturate."""
    return x.clamp(-1, 1)


def dynamic_threshold(x: Image, percentile: float = 99.5) -> Image:
    """Clip each picture to [-s, s] and divide by s, the percentile of its |x|, where s > 1.

    The percentile is the smallest value that so many per cent of the pixels do not exceed, found
    without sorting: `torch.quantile` sorts, and takes six times as long at 1024x1024.
    """
    magnitudes = x.abs().flatten(1)  # [b c*h*w]
    rank = math.ceil(percentile * magnitudes.shape[1] / 100)
    s = column(magnitudes.kthvalue(rank, dim=1).values.clamp(min=1))
    return x.clamp(-s, s) / s


def watched(denoise: Denoiser, callback: Callable[[Tensor, Tensor, Tensor], None]) -> Denoiser:
    """Report every estimate as callback(z, x0, log_snr), for progress bars, previews and traces."""

    def report(z: Image, log_snr: LogSNR) -> Image:
        x = denoise(z, log_snr)
        callback(z, x, log_snr)
        return x

    return report
