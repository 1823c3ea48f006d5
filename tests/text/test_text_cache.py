"""The cache says what the encoder says, once per caption."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from tiny_models import CAPTIONS

from openimagen.config import TextConfig
from openimagen.text import CachedEncoder, TextEmbedding, TextEncoder, rows_of

# --- the cache ------------------------------------------------------------------------------------


class Counting(TextEncoder):
    """An encoder that notes what it is asked."""

    asked: list[list[str]]

    def __call__(self, captions: Sequence[str]) -> TextEmbedding:
        self.asked.append(list(captions))
        return super().__call__(captions)


@pytest.fixture
def counting(tiny: Callable[[str], Path]) -> Counting:
    encoder = Counting.load(TextConfig(encoder=str(tiny("bert")), max_tokens=16))
    assert isinstance(encoder, Counting)
    encoder.asked = []
    return encoder


def test_a_caption_is_encoded_once(counting: Counting) -> None:
    cached = CachedEncoder(counting)
    cached(["a cat", "a fox", "a cat"])
    cached(["a fox", "a mat"])
    assert counting.asked == [["a cat"], ["a fox"], ["a mat"]]


def test_the_cache_says_what_the_encoder_says(counting: Counting) -> None:
    cached = CachedEncoder(counting)
    captions = [*CAPTIONS, CAPTIONS[0]]
    first, direct = cached(captions), counting(captions)
    assert torch.equal(first.mask, direct.mask) and first.tokens.dtype == direct.tokens.dtype
    torch.testing.assert_close(first.tokens, direct.tokens, rtol=2**-8, atol=1e-7)
    again = cached(captions)
    assert torch.equal(again.tokens, first.tokens) and torch.equal(again.mask, first.mask)
    assert cached(["a mat", ""]).mask.sum(1).tolist() == [4, 2]  # trimmed to the longest asked for
    assert (cached.width, cached.max_tokens) == (counting.width, counting.max_tokens)
    assert cached.identity == counting.identity


def test_the_least_recently_used_caption_is_forgotten(counting: Counting) -> None:
    each = 2 * 4 * counting.width  # of four tokens, in bfloat16
    cached = CachedEncoder(counting, capacity=2 * each + 1)
    for caption in ("a cat", "a fox", "a cat", "a mat"):  # the mat pushes out the fox
        cached([caption])
    counting.asked.clear()
    cached(["a cat", "a mat"])
    assert counting.asked == []
    cached(["a fox"])
    assert counting.asked == [["a fox"]]


def test_a_batch_may_be_larger_than_the_cache(counting: Counting) -> None:
    cached = CachedEncoder(counting, capacity=1)
    cached(CAPTIONS[:1])
    assert torch.equal(cached(CAPTIONS).mask, counting(CAPTIONS).mask)


def test_kept_states_hold_no_batch_in_memory(counting: Counting) -> None:
    cached = CachedEncoder(counting)
    cached(CAPTIONS)
    for states in cached._kept.values():
        assert states.untyped_storage().nbytes() == 2 * states.numel()


def test_what_is_kept_depends_on_the_caption_alone(minilm: TextEncoder) -> None:
    captions = [" ".join(["a", "red", "boat", "at", "sea"] * 8)[: 9 * n] for n in range(1, 16)]
    threads, cached = torch.get_num_threads(), CachedEncoder(minilm)
    together = cached([*captions, *captions[::2]])
    torch.set_num_threads(2)
    try:
        alone = CachedEncoder(minilm)
        for caption, tokens, mask in zip(captions, *together, strict=False):
            assert torch.equal(alone([caption]).tokens[0], tokens[mask])
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


def test_captions_may_be_encoded_several_at_a_time(counting: Counting) -> None:
    several = rows_of(counting, CAPTIONS, 3)
    assert counting.asked == [CAPTIONS[:3], CAPTIONS[3:]]
    for one, other in zip(several, rows_of(counting, CAPTIONS), strict=True):
        torch.testing.assert_close(one, other, rtol=2**-7, atol=1e-5)
