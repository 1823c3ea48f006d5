"""Guidance and thresholding in closed form: what goes through untouched, what is pulled where."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from openimagen.diffusion import Denoiser, alpha_sigma, column
from openimagen.guidance import (
    classifier_free,
    dynamic_threshold,
    rescaled,
    static_threshold,
    thresholded,
    watched,
)


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


Z, TEXT, NULL = (randn(3, 3, 4, 4, seed=seed) for seed in range(3))
LOG_SNR = torch.tensor([-2.0, 0.5, 4.0])


class Network:
    """Two denoisers of one network, with and without text, that count the pictures they see."""

    def __init__(self) -> None:
        self.pictures = 0

    def conditional(self, z: Tensor, log_snr: Tensor) -> Tensor:
        self.pictures += len(z)
        assert torch.equal(z, Z) and torch.equal(log_snr, LOG_SNR)
        return TEXT

    def both(self, z: Tensor, log_snr: Tensor) -> Tensor:
        self.pictures += len(z)
        assert torch.equal(z, torch.cat([Z, Z])) and torch.equal(log_snr, LOG_SNR.repeat(2))
        return torch.cat([TEXT, NULL])


def guided(weight: float, rescale: float = 0.0) -> Tensor:
    network = Network()
    return classifier_free(network.conditional, network.both, weight, rescale=rescale)(Z, LOG_SNR)


# --- classifier-free guidance ---------------------------------------------------------------------


def test_weight_1_is_the_conditional_model_to_the_bit_at_half_the_work() -> None:
    network = Network()
    x = classifier_free(network.conditional, network.both, 1.0, rescale=0.7)(Z, LOG_SNR)
    assert torch.equal(x, TEXT)
    assert network.pictures == len(Z)


def test_weight_0_is_the_unconditional_model() -> None:
    assert torch.equal(guided(0.0), NULL)


def test_weight_2_goes_as_far_again() -> None:
    torch.testing.assert_close(guided(2.0), TEXT + (TEXT - NULL))


@settings(deadline=None, derandomize=True, max_examples=30)
@given(st.floats(0, 20), st.floats(0, 20))
def test_guidance_is_affine_in_the_weight(a: float, b: float) -> None:
    middle = (guided(a) + guided(b)) / 2
    torch.testing.assert_close(guided((a + b) / 2), middle, atol=1e-4, rtol=1e-4)


def test_guiding_x0_is_guiding_eps() -> None:
    w, (alpha, sigma) = 3.5, (column(scale) for scale in alpha_sigma(LOG_SNR))
    eps_text, eps_null = ((Z - alpha * x) / sigma for x in (TEXT, NULL))
    eps = w * eps_text + (1 - w) * eps_null  # Saharia et al., 2022, eq. 2
    torch.testing.assert_close(guided(w), (Z - sigma * eps) / alpha, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("interval", [(-9.0, -3.0), (5.0, 9.0)])
def test_outside_the_interval_the_network_is_called_for_the_text_alone(
    interval: tuple[float, float],
) -> None:
    network = Network()
    x = classifier_free(network.conditional, network.both, 4.0, interval)(Z, LOG_SNR)
    assert torch.equal(x, TEXT)
    assert network.pictures == len(Z)


def test_each_picture_is_guided_where_its_own_noise_lies_in_the_interval() -> None:
    network = Network()
    x = classifier_free(network.conditional, network.both, 2.0, (-2.0, 0.5))(Z, LOG_SNR)
    torch.testing.assert_close(x[:2], 2 * TEXT[:2] - NULL[:2])  # ends included
    assert torch.equal(x[2], TEXT[2])
    assert network.pictures == 2 * len(Z)


def test_guidance_computes_in_the_precision_of_z() -> None:
    def both(z: Tensor, log_snr: Tensor) -> Tensor:
        return torch.cat([TEXT, NULL]).bfloat16()

    x = classifier_free(Network().conditional, both, 8.0)(Z, LOG_SNR)
    expected = 8 * TEXT.bfloat16().float() - 7 * NULL.bfloat16().float()
    torch.testing.assert_close(x, expected)


def test_rescaling_gives_each_picture_its_contrast_back() -> None:
    x = guided(6.0, rescale=1.0)
    torch.testing.assert_close(x.std(dim=(1, 2, 3)), TEXT.std(dim=(1, 2, 3)))
    ratio = x / guided(6.0)  # one factor for a picture
    torch.testing.assert_close(ratio, ratio[:, :1, :1, :1].expand_as(ratio))


def test_phi_is_how_much_of_the_contrast_is_given_back() -> None:
    plain, full = guided(6.0), guided(6.0, rescale=1.0)
    torch.testing.assert_close(guided(6.0, rescale=0.25), 0.25 * full + 0.75 * plain)
    torch.testing.assert_close(rescaled(plain, TEXT, 0.0), plain)


# --- thresholding ---------------------------------------------------------------------------------


def test_static_thresholding_clips() -> None:
    x = torch.tensor([-3.0, -1.0, 0.25, 1.5]).view(1, 1, 2, 2)
    expected = torch.tensor([-1.0, -1.0, 0.25, 1.0]).view(1, 1, 2, 2)
    assert torch.equal(static_threshold(x), expected)


@settings(deadline=None, derandomize=True, max_examples=30)
@given(st.floats(0.1, 100), st.floats(0, 1))
def test_dynamic_thresholding_leaves_pictures_in_range_alone(p: float, scale: float) -> None:
    x = scale * Z.clamp(-1, 1)
    assert torch.equal(dynamic_threshold(x, p), x)


@pytest.mark.parametrize(
    ("percentile", "s"), [(99.5, 1.99), (50.0, 1.0), (75.0, 1.5), (100.0, 2.0)]
)
def test_dynamic_thresholding_divides_by_the_percentile(percentile: float, s: float) -> None:
    ramp = torch.arange(1, 201) / 100  # |x| from 0.01 to 2: p per cent do not exceed p / 50
    signs = torch.tensor([1.0, -1.0]).repeat(100)
    x = (ramp * signs)[torch.randperm(200, generator=torch.Generator().manual_seed(0))]
    x = x.view(1, 2, 10, 10)
    torch.testing.assert_close(dynamic_threshold(x, percentile), (x / s).clamp(-1, 1))


def test_dynamic_thresholding_keeps_more_of_a_saturated_picture_than_static() -> None:
    x = 3 * Z
    assert (dynamic_threshold(x).abs() == 1).sum() < (static_threshold(x).abs() == 1).sum() / 10
    assert dynamic_threshold(x).abs().max() == 1


def test_each_picture_has_its_own_percentile() -> None:
    together = dynamic_threshold(torch.cat([5 * Z[:1], 0.5 * Z[1:2], 2 * Z[2:]]))
    alone = [dynamic_threshold(x) for x in (5 * Z[:1], 0.5 * Z[1:2], 2 * Z[2:])]
    assert torch.equal(together, torch.cat(alone))


def test_thresholded_denoisers() -> None:
    def denoise(z: Tensor, log_snr: Tensor) -> Tensor:
        return 3 * z

    assert thresholded(denoise, "none") is denoise
    assert torch.equal(thresholded(denoise, "static")(Z, LOG_SNR), static_threshold(3 * Z))
    dynamic = thresholded(denoise, "dynamic", 80.0)(Z, LOG_SNR)
    assert torch.equal(dynamic, dynamic_threshold(3 * Z, 80.0))
    assert not torch.equal(dynamic, dynamic_threshold(3 * Z, 99.5))


# --- watching -------------------------------------------------------------------------------------


def test_watching_reports_each_estimate_and_changes_nothing() -> None:
    reports: list[tuple[Tensor, Tensor, Tensor]] = []
    denoise: Denoiser = watched(lambda z, log_snr: 2 * z, lambda *report: reports.append(report))
    for z in (Z, -Z):
        assert torch.equal(denoise(z, LOG_SNR), 2 * z)
    for (seen, x, log_snr), z in zip(reports, (Z, -Z), strict=True):
        assert torch.equal(seen, z) and torch.equal(x, 2 * z) and log_snr is LOG_SNR
