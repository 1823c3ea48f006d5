"""Layers in which the words of a caption hear of each other, and of no other caption's."""

import math

import torch
from conftest import MakeNet
from test_unet import EFFICIENT, MASK, READING, TEXT, differs, randn, run

from openimagen.blocks import TextLayer
from openimagen.unet import UNet


def test_a_fresh_layer_is_its_input() -> None:
    layer = UNet(READING).text[0]
    assert torch.equal(
        layer(TEXT.tokens[..., :1].expand(-1, -1, 8), MASK)[..., 0], TEXT.tokens[..., 0]
    )


def test_a_word_hears_of_the_others_in_its_caption(make_net: MakeNet) -> None:
    tokens = TEXT.tokens.clone()
    tokens[1, 3] = randn(6, seed=5)  # the last of the second caption's three words
    for config, hears in ((EFFICIENT, False), (READING, True)):
        net = make_net(config)
        before, after = net.read(TEXT), net.read((tokens, MASK))
        moved = (before.keys_values[0][0] - after.keys_values[0][0]).abs().amax((1, 3)) > 1e-6
        assert moved[1][MASK[1]].tolist() == [hears, hears, True]
        assert not moved[[0, 2]].any()


def test_without_pooling_text_is_attended_to_and_no_more(make_net: MakeNet) -> None:
    net = make_net(EFFICIENT.model_copy(update={"pool": False}))
    assert net.pool_text is None and not net.read(TEXT).pooled.any()
    assert differs(run(net), run(net, text=TEXT.null())).all()


def test_attention_and_dense_layers_side_by_side() -> None:
    torch.manual_seed(0)
    layer, x = TextLayer(8, heads=2), randn(1, 4, 8)
    torch.nn.init.normal_(layer.last.weight)
    mask = torch.tensor([[True, True, False, True]])
    normed = (x - x.mean(-1, keepdim=True)) / (
        x.var(-1, keepdim=True, unbiased=False) + 1e-5
    ).sqrt()
    q, k, v = (normed @ layer.to_qkv.weight.T + layer.to_qkv.bias).chunk(3, -1)
    heads = []
    for part in (slice(0, 4), slice(4, 8)):
        scores = q[..., part] @ k[..., part].transpose(1, 2) / math.sqrt(4)
        heads.append(scores.masked_fill(~mask[:, None], -math.inf).softmax(-1) @ v[..., part])
    hidden = normed @ layer.to_hidden.weight.T + layer.to_hidden.bias
    hidden = hidden / 2 * (1 + torch.erf(hidden / math.sqrt(2)))
    side_by_side = torch.cat([*heads, hidden], -1)
    expected = x + side_by_side @ layer.last.weight.T + layer.last.bias
    torch.testing.assert_close(layer(x, mask), expected, atol=1e-5, rtol=1e-5)
