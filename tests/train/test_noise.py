"""Noise of examples: normal, their own, and SplitMix64's as its authors' numbers have it."""

import math

import pytest
import torch
from torch import Tensor

from openimagen.train import noise
from openimagen.train.noise import ExampleNoise

CPU = torch.device("cpu")


def drawn(*shape: int, seed: int = 0, numbers: range = range(256)) -> Tensor:
    return ExampleNoise(seed, numbers, CPU).draw(*shape)


def test_the_hash_is_splitmix64() -> None:
    words = noise._hashed(1234567 + torch.arange(1, 6) * noise.GOLDEN)
    # the first five that are published for this seed
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    published += [4593380528125082431, 16408922859458223821]
    assert [word % 2**64 for word in words.tolist()] == published


def test_it_is_standard_normal() -> None:
    values = drawn(3, 16, 16).flatten().double().sort().values
    assert values.isfinite().all()
    expected = torch.special.ndtr(values)
    places = (torch.arange(len(values)) + 0.5) / len(values)
    assert (expected - places).abs().max() < 1.63 / math.sqrt(len(values))  # Kolmogorov, 1%


def test_neighbours_have_nothing_in_common() -> None:
    one, other_seed = drawn(3, 16, 16).flatten(1), drawn(3, 16, 16, seed=1).flatten(1)
    limit = 5 / math.sqrt(one.numel())
    pairs = {
        "next example": (one[1:], one[:-1]),
        "next value": (one[:, 1:], one[:, :-1]),
        "two of a pair": (one[:, ::2], one[:, 1::2]),
        "two of a pair, squared": (one[:, ::2].square() - 1, one[:, 1::2].square() - 1),
        "other seed": (one, other_seed),
        "other seed, next example": (one[1:], other_seed[:-1]),
    }
    for name, (left, right) in pairs.items():
        assert (left * right).mean().abs() < 2 * limit, name


@pytest.mark.parametrize("shape", [(3, 5, 5), (2,), (1, 1, 1)])
def test_an_example_s_is_the_same_in_any_batch(shape: tuple[int, ...]) -> None:
    whole = drawn(*shape, numbers=range(100, 110))
    parts = [drawn(*shape, numbers=range(*ends)) for ends in ((100, 103), (103, 103), (103, 110))]
    assert whole.shape == (10, *shape) and torch.equal(torch.cat(parts), whole)


def test_what_is_drawn_next_is_new() -> None:
    source = ExampleNoise(0, range(4), CPU)
    first, second = source.draw(3, 8, 8), source.draw(3, 8, 8)
    assert not torch.isin(first, second).any()
    assert torch.equal(torch.cat([first, second], dim=1), drawn(6, 8, 8, numbers=range(4)))
