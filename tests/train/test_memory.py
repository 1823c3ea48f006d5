"""The memory told beforehand is that of the step, counted while it runs."""

from dataclasses import replace

import pytest
import torch
from small import small_stage, small_train
from torch import Tensor

from openimagen.config import StageConfig, TrainConfig
from openimagen.paper import PAPER_BASE64
from openimagen.text import TextEmbedding
from openimagen.train.memory import BESIDE, COMING_AND_GOING, Memory, check_memory, memory_of
from openimagen.train.parallel import blocks_of, spread
from openimagen.train.trainee import make_optimizer
from openimagen.unet import UNet, count_parameters

GIB = 2**30


def bytes_kept(stage: StageConfig, train: TrainConfig, scale: int, tokens: int, batch: int) -> int:
    """Of a real forward pass: storages saved for the way back, without weights; and the text."""
    net, kept = UNet(stage.unet), {}
    weights = {weight.untyped_storage().data_ptr() for weight in net.parameters()}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    side, width = train.crop or stage.side, stage.unet.text_width
    text = TextEmbedding(torch.randn(batch, tokens, width), torch.ones(batch, tokens).bool())
    below = (torch.randn(batch, 3, side // scale, side // scale), torch.zeros(batch))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        net(
            torch.randn(batch, 3, side, side),
            torch.zeros(batch),
            text,
            *(below if scale > 1 else ()),
        )
    sizes = [storage.nbytes() for where, storage in kept.items() if where not in weights]
    return sum(sizes) + text.tokens.nbytes


@pytest.mark.parametrize(("scale", "crop"), [(1, None), (2, 16)])
def test_what_a_step_keeps_is_counted_to_the_byte(scale: int, crop: int | None) -> None:
    stage = small_stage() if scale == 1 else small_stage("sr32", 32, lowres=True)
    train = small_train(crop=crop)
    memory = memory_of(stage, train, scale, 8, 1, True)
    assert memory.once + 3 * memory.kept == bytes_kept(stage, train, scale, 8, 3)
    picture = torch.zeros(3, 16, 16)  # as it is, its noise, both mixed, and what the network says
    assert memory.picture == 4 * picture.nbytes


@pytest.mark.parametrize(
    ("changes", "floats"),
    [
        ({}, 5),  # weight, gradient, two moments, average
        ({"lora": {"rank": 2}}, 2),  # weight, average: what learns is small
        ({"optimizer": "adafactor"}, 4),  # small weights keep all their squares
    ],
)
def test_weights_and_what_belongs_to_each(changes: dict[str, object], floats: int) -> None:
    stage = small_stage()
    memory = memory_of(stage, small_train(**changes), 1, 8, 1, False)
    if not changes:
        assert memory.parameters == count_parameters(stage.unet)
        assert memory.weights == 4 * floats * memory.parameters
    assert floats <= memory.weights / 4 / count_parameters(stage.unet) < floats + 0.8
    assert memory.copy == 0
    shared = memory_of(stage, small_train(**changes, parallel="fsdp"), 1, 8, 4, False)
    assert shared.weights == pytest.approx(memory.weights / 4, abs=8)


@pytest.mark.parametrize("optimizer", ["adamw", "adafactor", "muon"])
def test_what_an_optimiser_keeps_is_what_it_is_said_to(optimizer: str) -> None:
    wide = small_stage().unet.model_copy(update={"width": 128})  # Adafactor has some to factor
    stage = small_stage().model_copy(update={"unet": wide})
    train = small_train(optimizer=optimizer)
    net = UNet(stage.unet)
    for weight in net.parameters():
        weight.grad = torch.ones_like(weight)
    walker = make_optimizer(net, train)
    walker.step()
    state = (each for kept in walker.state.values() for each in kept.values())
    kept = sum(each.numel() for each in state if torch.is_tensor(each) and each.ndim)
    memory = memory_of(stage, train, 1, 8, 1, False)
    assert memory.weights == 4 * (3 * memory.parameters + kept)


def test_a_checkpoint_on_the_cpu_is_written_from_a_copy() -> None:
    memory = memory_of(small_stage(), small_train(), 1, 8, 1, True)
    assert memory.copy == 4 * 4 * memory.parameters  # all but the gradients


def test_less_is_kept_in_bfloat16_and_if_blocks_are_computed_again() -> None:
    stage = small_stage()
    plain, half, again = (
        memory_of(stage, small_train(**changes), 1, 8, 1, True).kept
        for changes in ({}, {"precision": "bfloat16"}, {"checkpoint_activations": True})
    )
    assert half < 0.8 * plain and again < 0.85 * plain


def test_the_paper_s_base_is_reckoned_without_making_it() -> None:
    """2.14 billion weights; Adafactor's three floats each are 24 GiB."""
    train = TrainConfig(images=1, batch=2048, optimizer="adafactor", precision="bfloat16")
    memory = memory_of(PAPER_BASE64, train, 1, 128, 1, False)
    assert memory.weights / GIB == pytest.approx(3 * 4 * 2.141e9 / GIB, rel=0.01)
    assert memory.once / GIB == pytest.approx(2 * 2.141e9 / GIB, rel=0.05)  # in bfloat16
    assert 0.1 < memory.kept / GIB < 1


MEMORY = Memory(parameters=10**9, weights=4 * GIB, copy=0, once=0, picture=0, kept=GIB)


def peak(pictures: int) -> int:
    return int(4 * GIB + BESIDE + pictures * COMING_AND_GOING * GIB)


@pytest.mark.parametrize(
    ("changes", "ranks", "free", "fix"),
    [
        ({}, 1, peak(8), None),
        ({}, 1, None, None),
        ({}, 1, peak(8) - 1, "train.base.accumulate=2"),
        ({}, 1, peak(3), "train.base.accumulate=3"),
        ({}, 1, peak(1) - 1, "train.base.checkpoint_activations=true"),
        ({"checkpoint_activations": True}, 2, peak(1) - 1, "train.base.parallel=fsdp"),
        ({"checkpoint_activations": True}, 1, peak(1) - 1, "unet.width to a smaller one"),
        ({}, 4, peak(2), None),
    ],
)
def test_what_will_not_fit_is_refused_with_the_setting_to_change(
    changes: dict[str, object], ranks: int, free: int | None, fix: str | None
) -> None:
    train = small_train(batch=8, **changes)

    def check(train: TrainConfig) -> str:
        return check_memory(small_stage(), train, MEMORY, ranks, free)

    if fix is None:
        assert check(train).startswith("base: 1000.0M parameters, about ")
        return
    with pytest.raises(ValueError, match=fix) as refusal:
        check(train)
    if "accumulate" in fix:
        assert "free: --set" in str(refusal.value)
        check(train.model_copy(update={"accumulate": int(fix[-1])}))


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_batch_whose_pictures_alone_will_not_fit_has_to_be_smaller(ranks: int) -> None:
    memory, free = replace(MEMORY, picture=GIB // 2), peak(4)
    train = small_train(batch=1000)
    with pytest.raises(ValueError, match=f"free: --set train.base.batch={3 * ranks}$"):
        check_memory(small_stage(), train, memory, ranks, free)
    check_memory(small_stage(), small_train(batch=3 * ranks), memory, ranks, free)


def test_the_blocks_reckoned_with_are_those_computed_again() -> None:
    net = UNet(small_stage().unet)
    spread(net, small_train(checkpoint_activations=True))
    changed = [module for module in net.modules() if "forward" in vars(module)]
    assert changed == blocks_of(net) and len(changed) == 6
