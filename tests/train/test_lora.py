"""Low-rank adaptation: begins as the network it came from, ends as a plain one."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from openimagen import model_folder
from openimagen.config import LoRA, Recipe
from openimagen.recipes import override
from openimagen.train.lora import adapt, merged
from openimagen.train.run import train
from openimagen.train.trainee import Trainee
from openimagen.unet import UNet

RANK = 3


def inputs() -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    z, text = (torch.randn(*shape, generator=generator) for shape in ((2, 3, 16, 16), (2, 5, 12)))
    return z, torch.tensor([0.0, 3.0]), (text, torch.ones(2, 5, dtype=torch.bool))


@pytest.fixture
def net(new_trainee: Callable[..., Trainee]) -> UNet:
    """With a last layer that says something."""
    net = new_trainee().net.eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return net


@torch.no_grad()
def test_an_adapted_network_begins_as_it_was_and_merges_into_a_plain_one(net: UNet) -> None:
    before = net(*inputs())
    adapted = adapt(copy.deepcopy(net), LoRA(rank=RANK))
    assert torch.equal(adapted(*inputs()), before)
    for name, weight in adapted.named_parameters():
        if weight.requires_grad:
            assert "lora_" in name
            torch.nn.init.normal_(weight, std=0.1)
    after = adapted(*inputs())
    assert (after - before).abs().mean() > 0.001
    plain = merged(adapted)
    assert plain.state_dict().keys() == net.state_dict().keys()
    assert torch.allclose(plain(*inputs()), after, atol=1e-5)
    assert torch.equal(adapted(*inputs()), after)  # merging left it alone


def test_only_matrices_of_the_rank_learn(net: UNet) -> None:
    plain = sum(weight.numel() for weight in net.parameters())
    adapted = adapt(net, LoRA(rank=RANK))
    learning = [weight for weight in adapted.parameters() if weight.requires_grad]
    assert {min(weight.shape[:2]) for weight in learning} == {RANK}
    assert 0 < sum(weight.numel() for weight in learning) < plain / 2


def test_a_run_moves_adapted_layers_by_a_matrix_of_the_rank_and_nothing_else(
    recipe: Recipe, folder: Path, tmp_path: Path
) -> None:
    first = train(recipe, folder, tmp_path / "first", device="cpu")
    recipe = override(recipe, [f'train.base.lora={{"rank": {RANK}}}'])
    second = train(recipe, folder, tmp_path / "second", stage="base", init=first, device="cpu")
    before, after = (
        model_folder.load(each).stages[0].trained().state_dict() for each in (first, second)
    )
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    for name in moved:
        assert ".block." in name or ".attention." in name
        change = (after[name] - before[name]).flatten(1).double()
        values = torch.linalg.svdvals(change)
        rank = RANK if before[name].dim() == 2 else RANK * 9  # a 3x3 convolution's A sees 3x3
        assert (values[rank:] < 1e-6 * values[0]).all()


def test_it_resumes_to_the_bit(recipe: Recipe, folder: Path, tmp_path: Path) -> None:
    first = train(recipe, folder, tmp_path / "first", device="cpu")
    longer = override(recipe, ['train.base.lora={"rank": 3}', "train.base.cooldown=0"])
    part = override(longer, ["train.base.images=12"])
    whole = train(longer, folder, tmp_path / "whole", stage="base", init=first, device="cpu")
    train(part, folder, tmp_path / "part", stage="base", init=first, device="cpu")
    rest = train(longer, folder, tmp_path / "part", stage="base", resume=True, device="cpu")
    hashes = [model_folder.read_model_file(each).weights["base"].sha256 for each in (whole, rest)]
    assert hashes[0] == hashes[1]


def test_there_must_be_something_to_adapt(recipe: Recipe, folder: Path, tmp_path: Path) -> None:
    recipe = override(recipe, ['train.base.lora={"rank": 3}'])
    with pytest.raises(ValueError, match="give --init"):
        train(recipe, folder, tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()
