"""Fed a straight line, an average tells by how much it lags: a closed form of its length."""

import math

import pytest
import torch

from openimagen.config import UNetConfig
from openimagen.train.ema import EMA
from openimagen.unet import UNet

CONFIG = UNetConfig(
    arrangement="efficient",
    width=4,
    multipliers=(1,),
    blocks=(1,),
    attention=("none",),
    text_width=4,
    context_width=4,
)


def average_of_a_line(length: int, batch: int, images: int) -> torch.Tensor:
    """The average, at the end, of weights that all equal the number of images seen."""
    net = UNet(CONFIG)
    for weight in net.parameters():
        torch.nn.init.zeros_(weight)
    ema = EMA(net, length)
    for seen in range(batch, images + 1, batch):
        with torch.no_grad():
            for weight in net.parameters():
                weight.fill_(seen)
        ema.update(net, seen, batch)
    return torch.cat([weight.flatten() for weight in ema.net.parameters()])


def test_a_long_run_lags_by_the_length() -> None:
    average = average_of_a_line(length=100, batch=10, images=4000)
    lag = 10 / math.expm1(10 / 100)  # batch x decay / (1 - decay)
    assert torch.allclose(average, torch.tensor(4000 - lag), rtol=1e-5)


def test_a_short_run_averages_over_its_last_tenth() -> None:
    average = average_of_a_line(length=10**9, batch=10, images=4000)
    assert average.mean().item() == pytest.approx(4000 * 10 / 11, rel=3e-3)  # weights go as n^9


def test_the_average_is_frozen_and_of_its_own() -> None:
    net = UNet(CONFIG)
    ema = EMA(net, 10)
    assert not any(weight.requires_grad for weight in ema.net.parameters())
    mine, other = (next(iter(each.parameters())) for each in (net, ema.net))
    assert mine.data_ptr() != other.data_ptr()
