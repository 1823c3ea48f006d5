"""The step's randomness has known distributions; a fresh network's loss has a closed form."""

import math

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from openimagen.config import (
    CosineSchedule,
    DiffusionConfig,
    LossWeight,
    StageConfig,
    TrainConfig,
    UNetConfig,
)
from openimagen.diffusion import alpha_sigma, log_snr_at, time_at
from openimagen.text import TextEmbedding
from openimagen.train.step import BatchShare, Noised, learning_rate, loss_of, prepare
from openimagen.unet import UNet

SCHEDULE = CosineSchedule(log_snr_min=-60, log_snr_max=60)


def stage_of(lowres: bool = False, **diffusion: object) -> StageConfig:
    unet = UNetConfig(
        arrangement="efficient",
        width=8,
        multipliers=(1,),
        blocks=(1,),
        attention=("none",),
        text_width=4,
        context_width=8,
        lowres=lowres,
    )
    config = DiffusionConfig.model_validate({"schedule": SCHEDULE, **diffusion})
    return StageConfig(name="stage", side=8, unet=unet, diffusion=config)


def prepared(
    batch: int,
    side: int = 2,
    lowres: bool = False,
    below: Tensor | None = None,
    mine: slice = slice(None),
    start: int = 0,
    **train: object,
) -> Noised:
    share = BatchShare(range(start, start + batch), range(start, start + batch)[mine])
    count = len(share.mine)
    image = torch.full((count, 3, side, side), 255, dtype=torch.uint8)
    text = TextEmbedding(torch.ones(count, 2, 4), torch.ones(count, 2, dtype=torch.bool))
    config = TrainConfig.model_validate({"images": 1, **train})
    return prepare(stage_of(lowres), config, image, text, 2 if lowres else 1, share, below)


# --- what is drawn --------------------------------------------------------------------------------


def test_times_are_uniform_and_spread_over_the_batch() -> None:
    drawn = torch.stack([time_at(SCHEDULE, prepared(32, seed=s).log_snr) for s in range(100)])
    times = 32 * drawn
    assert times.floor().sort().values.eq(torch.arange(32)).all()  # one in each 32nd
    places = times.frac().flatten().sort().values
    uniform = (torch.arange(3200) + 0.5) / 3200
    assert (places - uniform).abs().max() < 1.63 / math.sqrt(3200)  # Kolmogorov, 1%
    spread = math.sqrt((32**2 - 1) / 12 / 100)
    assert (times.floor().mean(dim=0) - 15.5).abs().max() < 4 * spread  # in any order


def test_a_tenth_of_the_texts_is_dropped() -> None:
    text = prepared(4000, text_drop=0.1).text
    dropped = (text.tokens == 0).all(dim=(1, 2))
    assert abs(dropped.float().mean().item() - 0.1) < 4 * math.sqrt(0.09 / 4000)
    assert text.mask[dropped].eq(torch.tensor([True, False])).all()  # null text
    assert text.tokens[~dropped].eq(1).all() and text.mask[~dropped].all()
    assert not (prepared(100, text_drop=0).text.tokens == 0).any()
    assert (prepared(100, text_drop=1).text.tokens == 0).all()


def test_so_many_texts_are_not_pooled() -> None:
    noised = prepared(4000, text_drop=0, pool_drop=0.3)
    assert noised.keeps_pooled is not None and noised.text.tokens.eq(1).all()
    assert abs(noised.keeps_pooled.float().mean().item() - 0.7) < 4 * math.sqrt(0.21 / 4000)
    assert prepared(9).keeps_pooled is None
    with pytest.raises(ValidationError, match="pool_drop"):  # for that there is unet.pool=false
        prepared(9, pool_drop=1)


def test_noise_is_normal_and_the_step_s_own() -> None:
    noised = prepared(64, side=16)
    assert abs(noised.eps.mean().item()) < 0.02 and abs(noised.eps.std().item() - 1) < 0.02
    assert torch.equal(noised.eps, prepared(64, side=16).eps)
    assert not torch.equal(noised.eps, prepared(64, side=16, seed=1).eps)
    assert not torch.equal(noised.eps, prepared(64, side=16, start=64).eps)
    assert noised.eps.flatten(1).unique(dim=0).shape[0] == 64
    assert noised.x.eq(1).all() and noised.lowres is None and noised.aug_log_snr is None


def test_the_picture_below_is_noised_to_a_level_of_its_own() -> None:
    noised = prepared(256, side=32, lowres=True)
    assert noised.lowres is not None and noised.aug_log_snr is not None
    levels = (12 - noised.aug_log_snr) / 20  # log-SNR from 12 down to -8
    assert levels.unique().numel() == 256
    assert (levels.sort().values - torch.linspace(0, 1, 256)).abs().max() < 0.1
    alpha, sigma = alpha_sigma(noised.aug_log_snr)
    assert noised.lowres.shape == (256, 3, 16, 16)  # the mean of 2 x 2 white pixels is white
    assert torch.allclose(noised.lowres.mean(dim=(1, 2, 3)), alpha, atol=0.15)
    assert torch.allclose(noised.lowres.std(dim=(1, 2, 3)), sigma, atol=0.1)
    correlation = torch.corrcoef(torch.stack([levels, time_at(SCHEDULE, noised.log_snr)]))
    assert correlation[0, 1].abs() < 0.25


def test_a_picture_below_that_is_given_is_taken_and_noised_likewise() -> None:
    black = torch.zeros(256, 3, 16, 16, dtype=torch.uint8)
    made, given = (prepared(256, side=32, lowres=True, below=each) for each in (None, black))
    assert made.lowres is not None and given.lowres is not None and given.aug_log_snr is not None
    alpha, _ = alpha_sigma(given.aug_log_snr)
    apart = 2 * alpha[:, None, None, None].expand_as(made.lowres)  # white and black
    torch.testing.assert_close(made.lowres - given.lowres, apart)
    assert torch.equal(made.x, given.x) and torch.equal(made.eps, given.eps)


def test_parts_make_up_the_batch() -> None:
    whole = prepared(7, side=4, lowres=True, text_drop=0.5, pool_drop=0.5)
    assert_together([whole.part(number, 3) for number in range(3)], whole)


def test_an_example_s_randomness_does_not_depend_on_how_its_batch_is_shared() -> None:
    how = {
        "side": 4,
        "lowres": True,
        "text_drop": 0.5,
        "pool_drop": 0.5,
        "start": 21,
    }
    parts = [prepared(7, mine=mine, **how) for mine in (slice(3), slice(3, 5), slice(5, 7))]
    assert_together(parts, prepared(7, **how))


def assert_together(parts: list[Noised], whole: Noised) -> None:
    assert [len(part.x) for part in parts] == [3, 2, 2]
    for name in ("x", "eps", "log_snr", "lowres", "aug_log_snr", "keeps_pooled"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(whole, name))
    for index in range(2):
        assert torch.equal(torch.cat([part.text[index] for part in parts]), whole.text[index])


# --- the loss -------------------------------------------------------------------------------------


@pytest.mark.parametrize("prediction", ["eps", "x0", "v", "edm"])
def test_a_fresh_network_s_loss_is_that_of_saying_nothing(prediction: str) -> None:
    """Its output is zero, so the error is the target's square under the weight of its kind."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(4, 3, 8, 8, generator=generator) * 2 - 1
    eps = torch.randn(4, 3, 8, 8, generator=generator)
    log_snr = torch.tensor([-4.0, -1.0, 2.0, 5.0])
    text = TextEmbedding(torch.ones(4, 2, 4), torch.ones(4, 2, dtype=torch.bool))
    alpha, sigma = alpha_sigma(log_snr)
    kind = prediction if prediction in ("v", "edm") else "eps"
    stage = stage_of(prediction=prediction, loss=LossWeight(kind=kind))
    loss = loss_of(UNet(stage.unet), stage, Noised(x, eps, torch.rand(4), log_snr, text))

    def mean_square(a: Tensor, b: Tensor) -> Tensor:  # of a x + b eps
        return (a[:, None, None, None] * x + b[:, None, None, None] * eps).square().mean((1, 2, 3))

    variance = alpha**2 * 0.25 + sigma**2  # of z, when that of the pixels is 0.5²
    expected = {
        "eps": mean_square(0 * alpha, 1 + 0 * sigma),
        "x0": log_snr.exp() * mean_square(1 + 0 * alpha, 0 * sigma),
        "v": mean_square(-sigma, alpha),
        "edm": mean_square(sigma, -0.25 * alpha) / (0.25 * variance),
    }
    assert torch.allclose(loss, expected[prediction], rtol=1e-4)


# --- the learning rate ----------------------------------------------------------------------------


def test_the_learning_rate_is_a_trapezium() -> None:
    train = TrainConfig(images=1000, learning_rate=2.0, warmup_images=100, cooldown=0.4)
    expected = {1: 0.02, 50: 1.0, 100: 2.0, 350: 2.0, 600: 2.0, 700: 1.5, 900: 0.5, 1000: 0.0}
    for images, rate in expected.items():
        assert learning_rate(train, images) == pytest.approx(rate)


def test_warm_up_and_cool_down_can_be_left_out() -> None:
    train = TrainConfig(images=10, learning_rate=2.0, warmup_images=0, cooldown=0)
    assert [learning_rate(train, images) for images in (1, 5, 10)] == [2.0, 2.0, 2.0]


def test_where_both_overlap_the_lower_counts() -> None:
    train = TrainConfig(images=100, learning_rate=1.0, warmup_images=100, cooldown=1)
    assert learning_rate(train, 50) == pytest.approx(0.5)
    assert max(learning_rate(train, images) for images in range(101)) == pytest.approx(0.5)


def test_times_reach_the_ends_of_the_schedule() -> None:
    assert log_snr_at(SCHEDULE, torch.tensor([0.0, 1.0])).tolist() == [60, -60]
