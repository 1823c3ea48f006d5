"""Against transformers' Adafactor where both factor alike, and closed forms where they do not."""

import pytest
import torch
from torch import Tensor, nn
from transformers import Adafactor as Reference

from openimagen.train.adafactor import Adafactor


def gradients(shape: tuple[int, ...], count: int = 5) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [10.0**-n * torch.randn(shape, generator=generator) for n in range(count)]


def weight_of(shape: tuple[int, ...]) -> nn.Parameter:
    return nn.Parameter(torch.randn(shape, generator=torch.Generator().manual_seed(1)))


def walked(optimizer: torch.optim.Optimizer, weight: nn.Parameter) -> Tensor:
    for gradient in gradients(tuple(weight.shape)):
        weight.grad = gradient.clone()
        optimizer.step()
    return weight.detach()


@pytest.mark.parametrize("shape", [(128, 200), (300, 130), (200,)])
def test_it_walks_as_the_reference(shape: tuple[int, ...]) -> None:
    ours, theirs = weight_of(shape), weight_of(shape)
    reference = Reference([theirs], lr=0.1, relative_step=False, scale_parameter=True)
    walks = walked(Adafactor([ours], 0.1), ours), walked(reference, theirs)
    assert torch.allclose(*walks, atol=1e-5)
    assert not torch.allclose(ours, weight_of(shape))


def test_the_first_step_goes_by_sign_and_by_the_weight_s_own_size() -> None:
    weight = weight_of((7, 5))  # too small to be factored
    before, (gradient, *_) = weight.detach().clone(), gradients((7, 5))
    weight.grad = 1e-10 * gradient  # however small
    Adafactor([weight], 0.01).step()
    size = before.square().mean().sqrt()
    assert torch.allclose(before - weight, 0.01 * size * gradient.sign(), atol=1e-6)


def test_a_weight_at_zero_can_leave_it() -> None:
    weight = nn.Parameter(torch.zeros(4))
    weight.grad = torch.ones(4)
    Adafactor([weight], 1.0).step()
    assert torch.allclose(weight, torch.full((4,), -1e-3))


def test_no_gradient_is_no_step() -> None:
    weight = weight_of((130, 130))
    weight.grad = torch.zeros(130, 130)
    Adafactor([weight], 1.0).step()
    assert torch.equal(weight, weight_of((130, 130)))


def test_weight_decay_shrinks_by_rate() -> None:
    weight = weight_of((6,))
    weight.grad = torch.zeros(6)
    Adafactor([weight], 0.1, weight_decay=0.5).step()
    assert torch.allclose(weight, 0.95 * weight_of((6,)))


@pytest.mark.parametrize("shape", [(128, 256, 3, 3), (256, 128, 1, 1), (3, 128, 130)])
def test_of_a_convolution_channels_are_factored(shape: tuple[int, ...]) -> None:
    weight = weight_of(shape)
    optimizer = Adafactor([weight], 0.1)
    row, column = (torch.rand(length) + 0.5 for length in sorted(shape)[-2:])
    short, long = sorted(range(len(shape)), key=lambda dim: shape[dim])[-2:]
    sizes = [1] * len(shape)
    sizes[short], sizes[long] = shape[short], shape[long]
    squares = row[:, None] * column if short < long else row * column[:, None]
    weight.grad = squares.reshape(sizes).sqrt().expand(shape).clone()
    before = weight.detach().clone()
    optimizer.step()
    kept = sum(state.numel() for state in optimizer.state[weight].values())
    assert kept < 0.02 * weight.numel()
    # squares of rank one are remembered exactly, so the update is a sign
    assert torch.allclose(before - weight, 0.1 * before.square().mean().sqrt(), rtol=1e-3)
