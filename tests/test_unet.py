"""Networks: the paper's sizes, what each input may change and may not, what is read once."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad
from torch.utils.flop_counter import FlopCounterMode

from openimagen.blocks import Attention, ResBlock, TextContext
from openimagen.config import UNetConfig
from openimagen.paper import PAPER
from openimagen.text import TextEmbedding
from openimagen.unet import UNet, count_parameters

MakeNet = Callable[[UNetConfig], UNet]


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


ADM = UNetConfig(
    arrangement="adm",
    width=8,
    multipliers=(1, 2),
    blocks=(1, 2),
    attention=("none", "fused"),
    text_width=6,
    context_width=8,
)
EFFICIENT = UNetConfig(
    arrangement="efficient",
    width=8,
    multipliers=(1, 2),
    blocks=(2, 2),
    attention=("none", "fused"),
    strides=(1, 2),
    patch=2,
    heads=2,
    attention_expansion=2,
    scale_shift=False,
    text_width=6,
    context_width=8,
    lowres=True,
)
CROSS = EFFICIENT.model_copy(update={"attention": ("none", "cross"), "attend": "level"})
PLACED = EFFICIENT.model_copy(update={"position_side": 8})
FINE = EFFICIENT.model_copy(update={"fine": 4, "norm": "pixel"})
NORMED = EFFICIENT.model_copy(update={"qk_norm": True})
RESIDUAL = EFFICIENT.model_copy(update={"residual": True})
KINDS = {
    "adm": ADM,
    "efficient": EFFICIENT,
    "cross": CROSS,
    "placed": PLACED,
    "fine": FINE,
    "normed": NORMED,
}
PAPERS = {stage.name: stage for stage in PAPER.stages}
NETS = pytest.mark.parametrize("config", KINDS.values(), ids=KINDS)

MASK = torch.tensor([[True] * 5, [True, True, False, True, False], [True] + [False] * 4])
TEXT = TextEmbedding(randn(3, 5, 6, seed=1), MASK)
Z, LOG_SNR = randn(3, 3, 8, 8, seed=2), torch.tensor([-3.0, 0.5, 4.0])
LOWRES, AUG = randn(3, 3, 4, 4, seed=3), torch.tensor([12.0, 3.0, -2.0])


def run(
    net: UNet,
    z: Tensor = Z,
    log_snr: Tensor = LOG_SNR,
    text: TextContext | TextEmbedding = TEXT,
    lowres: Tensor = LOWRES,
    aug: Tensor = AUG,
    keeps_pooled: Tensor | None = None,
) -> Tensor:
    low = (lowres, aug) if net.config.lowres else (None, None)
    return net(z, log_snr, text, *low, keeps_pooled)


def differs(a: Tensor, b: Tensor) -> Tensor:
    """Which pictures of two batches differ by more than rounding."""
    return (a - b).abs().flatten(1).amax(1) > 1e-4


# --- the paper's networks -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stage", "least", "most"),
    [("base", 1950, 2160), ("sr256", 585, 665), ("sr1024", 390, 445)],
)
def test_the_papers_networks_have_its_millions_of_parameters(
    stage: str, least: int, most: int
) -> None:
    assert least < count_parameters(PAPERS[stage].unet) / 1e6 < most


def test_the_papers_256_network_takes_the_worked_out_flops() -> None:
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        net = UNet(PAPERS["sr256"].unet)
        text = torch.empty(1, 77, 4096), torch.ones(1, 77, dtype=torch.bool)
        level = torch.empty(1)
        net(torch.empty(1, 3, 256, 256), level, text, torch.empty(1, 3, 64, 64), level)
    assert counter.get_total_flops() / 1e12 == pytest.approx(0.58, abs=0.02)


# --- a fresh network ------------------------------------------------------------------------------


@pytest.mark.parametrize("channels_out", [8, 16])
@pytest.mark.parametrize("resample", ["", "down", "up"])
def test_a_fresh_block_is_its_skip(channels_out: int, resample: str) -> None:
    net = UNet(ADM)  # for its start at zero
    block = net.body.down[0].block = ResBlock(8, channels_out, 4, resample)
    net.initialise()
    x = randn(2, 8, 6, 6)
    sized = {"": x, "down": x.unfold(2, 2, 2).unfold(3, 2, 2).mean((-2, -1))}.get(
        resample, x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    )
    torch.testing.assert_close(block(x, randn(2, 4)), block.skip(sized))


@NETS
def test_fresh_attention_is_its_skip_and_a_fresh_network_is_silent(config: UNetConfig) -> None:
    net, x = UNet(config), randn(3, 16, 4, 4)
    context = net.read(TEXT)
    attentions = [module for module in net.modules() if isinstance(module, Attention)]
    assert attentions and all(torch.equal(layer(x, context), x) for layer in attentions)
    assert torch.equal(run(net), torch.zeros_like(Z))


def test_the_efficient_unet_sums_its_skips_over_the_square_root_of_two() -> None:
    body, x = UNet(EFFICIENT.model_copy(update={"scale_shift": True})).body, randn(2, 8, 8, 8)
    context = UNet(EFFICIENT).read((TEXT.tokens[:2], MASK[:2]))  # unread: fresh blocks are skips
    scale = math.sqrt(0.5)
    fine = body.shrink[0](x)
    coarse = body.shrink[1](fine)
    up = body.grow[1](scale * coarse)
    expected = body.grow[0](up + scale * fine) + scale * x
    torch.testing.assert_close(body(x, randn(2, 32), context), expected)


@NETS
def test_a_network_built_on_no_device_equals_one_built_here(config: UNetConfig) -> None:
    with torch.device("meta"):
        net = UNet(config)
    net.to_empty(device="cpu")
    with torch.no_grad():
        for weight in net.parameters():
            weight.fill_(math.nan)  # as empty memory may be
    torch.manual_seed(0)
    net.initialise()
    usual = UNet(config)
    torch.manual_seed(0)
    usual.initialise()
    for (name, ours), theirs in zip(
        net.state_dict().items(), usual.state_dict().values(), strict=True
    ):
        assert torch.equal(ours, theirs), name


# --- sizes ----------------------------------------------------------------------------------------


@NETS
@pytest.mark.parametrize("size", [(8, 8), (13, 21), (5, 7), (1, 1), (16, 4)])
def test_any_size_goes_in_and_comes_out(
    config: UNetConfig, size: tuple[int, int], make_net: MakeNet
) -> None:
    assert run(make_net(config), randn(3, 3, *size)).shape == (3, 3, *size)


@NETS
def test_odd_sizes_are_those_of_the_picture_with_its_edge_repeated(
    config: UNetConfig, make_net: MakeNet
) -> None:
    net, z = make_net(config), randn(3, 3, 7, 9)
    lowres = interpolate(LOWRES, size=(7, 9), mode="bilinear")
    edges = (0, -9 % config.granularity, 0, -7 % config.granularity)
    whole = [pad(picture, edges, mode="replicate") for picture in (z, lowres)]
    expected = run(net, whole[0], lowres=whole[1])[..., :7, :9]
    torch.testing.assert_close(run(net, z), expected)


@pytest.mark.parametrize(
    ("strides", "patch", "coarsest"),
    [((1, 2), 1, 16), ((2, 2), 1, 8), ((), 1, 8), ((2, 1), 2, 8), ((1, 1), 4, 8)],
)
def test_strides_and_patch_set_the_size_inside(
    strides: tuple[int, ...], patch: int, coarsest: int, make_net: MakeNet
) -> None:
    config = UNetConfig(**{**EFFICIENT.model_dump(), "strides": strides, "patch": patch})
    net, sides = make_net(config), []
    net.body.up[-1].register_forward_pre_hook(lambda _, args: sides.append(args[0].shape[-1]))
    assert run(net, randn(3, 3, 32, 32)).shape == (3, 3, 32, 32)
    assert sides == [coarsest]
    assert config.granularity * coarsest == 32


def test_position_maps_start_at_nothing_and_stretch_with_the_picture() -> None:
    levels = UNet(PLACED.model_copy(update={"scale_shift": True})).body.down  # fresh: skips
    context, cond = UNet(EFFICIENT).read((TEXT.tokens, MASK)), randn(3, 32)
    for level, channels, side in zip(levels, (8, 16), (4, 2), strict=True):  # patch 2, then halved
        assert torch.equal(level.position, torch.zeros(1, channels, side, side))
        level.position.data = randn(1, channels, side, side, seed=9)
        for size in ((side, side), (6, 10)):
            x = randn(3, channels, *size)
            stretched = interpolate(level.position, size=size, mode="bilinear")
            torch.testing.assert_close(level(x, cond, context), x + stretched)
        whole = randn(3, channels, side, side)
        torch.testing.assert_close(level(whole, cond, context), whole + level.position)


@pytest.mark.parametrize("norm", ["group", "pixel"])
def test_only_where_each_pixel_is_normed_by_itself_is_a_crop_drawn_as_in_the_whole(
    norm: str, make_net: MakeNet
) -> None:
    local = {"multipliers": (1,), "blocks": (1,), "attention": ("none",), "strides": (1,)}
    net = make_net(FINE.model_copy(update=local | {"norm": norm}))
    z, lowres, mid = randn(3, 3, 64, 64), randn(3, 3, 64, 64, seed=4), slice(14, 50)
    whole = run(net, z, lowres=lowres)[..., 30:34, 30:34]
    part = run(net, z[..., mid, mid], lowres=lowres[..., mid, mid])[..., 16:20, 16:20]
    assert differs(part, whole).any() == (norm == "group")


def test_the_fine_path_starts_at_nothing_and_leaves_trained_weights_valid(
    make_net: MakeNet,
) -> None:
    trained = make_net(EFFICIENT)
    net = UNet(EFFICIENT.model_copy(update={"fine": 4}))
    lacking, unknown = net.load_state_dict(trained.state_dict(), strict=False)
    assert {name.split(".")[0] for name in lacking} == {"fine"} and not unknown
    torch.testing.assert_close(run(net), run(trained))


def test_a_residual_network_adds_the_picture_below_enlarged(make_net: MakeNet) -> None:
    enlarged = interpolate(LOWRES, scale_factor=2, mode="bilinear")
    assert torch.equal(run(UNet(RESIDUAL)), enlarged)  # a fresh one adds nothing
    torch.testing.assert_close(run(make_net(RESIDUAL)), run(make_net(EFFICIENT)) + enlarged)


@pytest.mark.parametrize("change", [{"width": 100}, {"multipliers": (2, 4)}])
def test_no_width_is_odd(change: dict[str, object], make_net: MakeNet) -> None:
    for config in (ADM, EFFICIENT):  # 200 channels are 3.1 heads of 64
        assert run(make_net(config.model_copy(update=change))).isfinite().all()


def test_memory_in_channels_last_order_changes_nothing(make_net: MakeNet) -> None:
    for config in (ADM, EFFICIENT):
        net = make_net(config)
        expected = run(net)
        net = net.to(memory_format=torch.channels_last)
        found = run(net, Z.contiguous(memory_format=torch.channels_last))
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


# --- what each input changes ----------------------------------------------------------------------


@NETS
def test_a_picture_does_not_depend_on_its_batch(config: UNetConfig, make_net: MakeNet) -> None:
    net = make_net(config)
    together = run(net)
    for n in range(3):
        text = (TEXT.tokens[n : n + 1], MASK[n : n + 1])
        inputs = (t[n : n + 1] for t in (LOWRES, AUG))
        alone = net(Z[n : n + 1], LOG_SNR[n : n + 1], text, *(inputs if config.lowres else ()))
        torch.testing.assert_close(alone[0], together[n], atol=1e-5, rtol=1e-5)


@NETS
def test_every_input_of_a_picture_changes_it_and_no_other(
    config: UNetConfig, make_net: MakeNet
) -> None:
    net = make_net(config)
    inputs: dict[str, Tensor] = {"z": Z, "log_snr": LOG_SNR}
    if config.lowres:
        inputs |= {"lowres": LOWRES, "aug": AUG}
    for name, given in inputs.items():
        changed = given.clone()
        changed[1] += 0.5
        assert differs(run(net, **{name: changed}), run(net)).tolist() == [False, True, False], name


@NETS
def test_only_tokens_in_the_mask_are_read(config: UNetConfig, make_net: MakeNet) -> None:
    net = make_net(config)
    for n in range(5):
        tokens = TEXT.tokens.clone()
        tokens[:, n] = 9 * randn(3, 6, seed=7)
        changed = run(net, text=TextEmbedding(tokens, MASK))
        assert torch.equal(differs(changed, run(net)), MASK[:, n])


@NETS
def test_padding_changes_nothing_whatever_it_holds(config: UNetConfig, make_net: MakeNet) -> None:
    net = make_net(config)
    tokens, mask = TEXT.pad(9)
    tokens[:, 5:] = 50 * randn(3, 4, 6)
    for longer in (TEXT.pad(9), TextEmbedding(tokens, mask)):
        torch.testing.assert_close(run(net, text=longer), run(net), atol=1e-5, rtol=1e-5)


@NETS
def test_the_order_of_states_is_the_encoders_business(
    config: UNetConfig, make_net: MakeNet
) -> None:
    net, order = make_net(config), torch.tensor([3, 0, 4, 2, 1])
    moved = TextEmbedding(TEXT.tokens[:, order], MASK[:, order])
    torch.testing.assert_close(run(net, text=moved), run(net), atol=1e-5, rtol=1e-5)


@NETS
def test_text_enters_twice(config: UNetConfig, make_net: MakeNet) -> None:
    net = make_net(config)
    context, other = net.read(TEXT), net.read(TextEmbedding(TEXT.tokens.flip(0), MASK))
    pooled = run(net, text=context._replace(pooled=other.pooled))
    attended = run(net, text=context._replace(keys_values=other.keys_values))
    assert differs(pooled, run(net)).any() and differs(attended, run(net)).any()
    without = run(net, text=context._replace(pooled=0 * context.pooled))
    some = torch.tensor([True, False, True])
    expected = torch.where(some[:, None, None, None], run(net), without)
    torch.testing.assert_close(run(net, keeps_pooled=some), expected, atol=1e-5, rtol=1e-5)
    net = make_net(config.model_copy(update={"pool": False}))
    assert not net.read(TEXT).pooled.any() and differs(run(net), run(net, text=TEXT.null())).all()


@NETS
def test_text_read_once_is_text_read_at_each_step(config: UNetConfig, make_net: MakeNet) -> None:
    net = make_net(config)
    context = net.read(TEXT)
    for log_snr in (LOG_SNR, -LOG_SNR):
        once, each = run(net, log_snr=log_snr, text=context), run(net, log_snr=log_snr)
        assert torch.equal(once, each)


def test_the_picture_below_is_seen_enlarged_whatever_its_size(make_net: MakeNet) -> None:
    net = make_net(EFFICIENT)
    enlarged = interpolate(LOWRES, scale_factor=2, mode="bilinear")
    torch.testing.assert_close(run(net, lowres=enlarged), run(net))


@pytest.mark.parametrize("given", [(), (LOWRES,), (None, AUG)])
def test_super_resolution_needs_the_picture_below(given: tuple[Tensor, ...]) -> None:
    with pytest.raises(ValueError, match="needs lowres and aug_log_snr"):
        UNet(EFFICIENT)(Z, LOG_SNR, TEXT, *given)


@NETS
def test_gradients_reach_every_parameter(config: UNetConfig, make_net: MakeNet) -> None:
    net = make_net(config).requires_grad_(True)
    run(net).square().mean().backward()
    for name, weight in net.named_parameters():
        assert weight.grad is not None and weight.grad.any(), name
