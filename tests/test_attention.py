"""Attention by hand, with queries and keys as they are or brought to one length."""

import math

import pytest
import torch
from test_unet import CROSS, EFFICIENT, MASK, NORMED, TEXT, MakeNet, randn
from torch import Tensor, nn

from openimagen.blocks import Attention, HeadNorm, TextPool
from openimagen.config import UNetConfig
from openimagen.unet import UNet


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, heads: int) -> Tensor:
    """Softmax attention of [n c] to [m c], head by head, masked keys left out."""
    mixed = []
    split = (t.chunk(heads, 1) for t in (q, k[mask], v[mask]))
    for q_head, k_head, v_head in zip(*split, strict=True):
        scores = q_head @ k_head.T / math.sqrt(q_head.shape[1])
        mixed.append(scores.softmax(1) @ v_head)
    return torch.cat(mixed, 1)


def to_one_length(x: Tensor, norm: nn.Module, heads: int = 2) -> Tensor:
    """Each head's part of [n c] at root mean square one, times the gain."""
    assert isinstance(norm, HeadNorm)
    parts = (part / part.square().mean(1, keepdim=True).sqrt() for part in x.chunk(heads, 1))
    return torch.cat([part * norm.weight for part in parts], 1)


def last_attention(net: UNet) -> Attention:
    return [module for module in net.modules() if isinstance(module, Attention)][-1]


@pytest.mark.parametrize("qk_norm", [False, True])
@pytest.mark.parametrize("config", [EFFICIENT, CROSS], ids=["fused", "cross"])
def test_attention_is_one_softmax_over_text_and_if_fused_pixels(
    config: UNetConfig, qk_norm: bool, make_net: MakeNet
) -> None:
    net = make_net(config.model_copy(update={"qk_norm": qk_norm}))
    layer, x = last_attention(net), randn(3, 16, 4, 4)
    assert layer.fused == (config is EFFICIENT)
    found = layer(x, net.read(TEXT))
    context = net.to_context(net.norm_text(TEXT.tokens))
    for n in range(3):
        pixels = layer.norm(x)[n].flatten(1).T  # [hw c]
        k, v = layer.text_to_kv(context[n]).chunk(2, 1)
        q, mask = layer.to_qkv(pixels), MASK[n]
        if layer.fused:
            q, k_self, v_self = q.chunk(3, 1)
            k, v = torch.cat([k, k_self]), torch.cat([v, v_self])
            mask = torch.cat([mask, torch.ones(len(pixels), dtype=torch.bool)])
        if qk_norm:
            q, k = to_one_length(q, layer.norm_q), to_one_length(k, layer.norm_k)
        mixed = layer.last(attend(q, k, v, mask, heads=2))
        expected = x[n] + mixed.T.reshape(16, 4, 4)
        torch.testing.assert_close(found[n], expected, atol=1e-5, rtol=1e-5)


def test_pooling_is_the_mean_tokens_question_to_all(make_net: MakeNet) -> None:
    pool, tokens = make_net(EFFICIENT).pool_text, randn(3, 5, 8)
    assert isinstance(pool, TextPool)
    found = pool(tokens, MASK)
    for n in range(3):
        states = pool.norm(tokens[n])
        mean = states[MASK[n]].mean(0, keepdim=True)
        k, v = pool.to_kv(states).chunk(2, 1)
        pooled = attend(pool.to_q(mean), k, v, MASK[n], heads=4) + mean
        torch.testing.assert_close(found[n : n + 1], pool.out(pooled), atol=1e-5, rtol=1e-5)


def test_normed_attention_goes_by_direction_so_that_large_weights_cannot_saturate_it(
    make_net: MakeNet,
) -> None:
    layer, x = last_attention(net := make_net(NORMED)), randn(3, 16, 4, 4)
    before = layer(x, net.read(TEXT))
    inner = layer.last.in_features
    for weight in (layer.to_qkv.weight, layer.to_qkv.bias):
        weight[: 2 * inner] *= 50  # queries and keys
    for weight in (layer.text_to_kv.weight, layer.text_to_kv.bias):
        weight[:inner] *= 50
    torch.testing.assert_close(layer(x, net.read(TEXT)), before, atol=1e-4, rtol=1e-4)


def test_a_network_of_before_has_no_such_weights(make_net: MakeNet) -> None:
    added = make_net(NORMED).state_dict().keys() - make_net(EFFICIENT).state_dict().keys()
    assert added and all(".norm_q." in name or ".norm_k." in name for name in added)


def test_normed_queries_keep_their_dtype() -> None:
    norm = HeadNorm(4)
    assert norm(randn(1, 2, 3, 4).bfloat16()).dtype == torch.bfloat16
