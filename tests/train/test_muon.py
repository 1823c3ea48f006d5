"""Against torch's Muon, which takes matrices only, and torch's AdamW for the rest."""

import pytest
import torch
from small import small_stage, small_train
from torch import Tensor, nn

from openimagen.config import TrainConfig
from openimagen.train import muon
from openimagen.train.muon import Muon, orthogonal
from openimagen.train.trainee import make_optimizer
from openimagen.unet import UNet


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def walked(optimizer: torch.optim.Optimizer, weight: nn.Parameter, count: int = 6) -> Tensor:
    for number in range(count):
        weight.grad = 10.0**-number * noise(*weight.shape, seed=number)
        optimizer.step()
    return weight.detach().clone()


@pytest.mark.parametrize("shape", [(24, 40), (40, 24), (8, 8)])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_matrices_walk_as_torch_s(
    shape: tuple[int, int], decay: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(muon, "has_bfloat16", lambda device: True)  # torch's always does
    ours, theirs = (nn.Parameter(noise(*shape, seed=9)) for _ in range(2))
    reference = torch.optim.Muon(
        [theirs], lr=0.01, weight_decay=decay / 10, adjust_lr_fn="original"
    )
    start = noise(*shape, seed=9)
    walk = walked(Muon([ours], [], 0.001, weight_decay=decay), ours) - start
    away = walk - (walked(reference, theirs) - start)
    assert away.norm() < 0.03 * walk.norm()  # they round to bfloat16 in another order


def test_a_convolution_is_a_matrix_with_a_row_for_each_output() -> None:
    flat, whole = nn.Parameter(noise(6, 36, seed=9)), nn.Parameter(noise(6, 4, 3, 3, seed=9))
    steps = []
    for weight in (flat, whole):
        weight.grad = noise(6, 36, seed=1).view(weight.shape)
        Muon([weight], [], 0.01).step()
        steps.append(weight.detach().flatten(1))
    assert torch.equal(*steps)


def test_the_rest_walks_as_adamw() -> None:
    ours, theirs = (nn.Parameter(noise(30, seed=9)) for _ in range(2))
    reference = torch.optim.AdamW([theirs], 0.01, (0.9, 0.95), weight_decay=0.1)
    walk = walked(Muon([], [ours], 0.01, (0.9, 0.95), 0.1), ours)
    assert torch.allclose(walk, walked(reference, theirs), atol=1e-6)


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("shape", [(16, 48), (48, 16)])
def test_singular_values_come_near_one_and_directions_stay(
    shape: tuple[int, int], native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(muon, "has_bfloat16", lambda device: native)
    matrix = 1e-3 * noise(*shape)
    found = orthogonal(matrix)
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    inner = u.T @ found @ v.T
    values = inner.diagonal()
    assert values.min() > 0.6 and values.max() < 1.3
    assert (inner - torch.diag(values)).abs().max() < 0.05
    assert torch.equal(orthogonal(torch.zeros(shape)), torch.zeros(shape))


def test_the_stem_and_the_last_layer_are_no_matrices() -> None:
    net = UNet(small_stage().unet)
    optimizer = make_optimizer(net, small_train(optimizer="muon"))
    matrices, others = ({*group["params"]} for group in optimizer.param_groups)
    assert matrices | others == {*net.parameters()} and not matrices & others
    assert {*net.stem.parameters(), *net.last.parameters()} <= others
    assert all(weight.ndim > 1 for weight in matrices)
    assert sum(weight.numel() for weight in matrices) > sum(weight.numel() for weight in others)


def test_shards_are_refused() -> None:
    with pytest.raises(ValueError, match="muon needs whole matrices: use parallel=ddp"):
        TrainConfig(images=1, optimizer="muon", parallel="fsdp")
