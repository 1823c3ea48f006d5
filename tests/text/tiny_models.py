"""Tiny encoders, random in every weight (zero biases would hide a mix-up), and captions for them.

Transformers itself saves them, and says what we hold ours to.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor, nn

from openimagen.config import TextConfig
from openimagen.text import TextEmbedding, TextEncoder

FAMILIES = ["t5", "clip", "bert"]
CAPTIONS = ["a red cat .", "", "an old fox runs over two small boats on the mat", "quagga a"]
WORDS = sorted(set(" ".join(CAPTIONS[:3]).split()))  # all but the quagga
HARD = [
    "a café in Zürich, naïve façade",
    "what?! (really) -- 100% 'quoted' \"double\" e.g. rock'n'roll",
    "",
    "   \t\n ",
    "a cat 😀👩‍🚀 in 宇宙 and ひらがな",
    "UPPER lower\ttab\nnewline\u00a0space \u200b",
    "long " * 200,
    "antidisestablishmentarianism" * 8,
]


# --- tiny models ----------------------------------------------------------------------------------


def save_tokenizer(folder: Path, start: str, end: str, padding: str) -> None:
    """A tokenizer of whole words that puts `start` and `end` around them."""
    from transformers import PreTrainedTokenizerFast

    special = list(dict.fromkeys([padding, "<unk>", *([start] if start else []), end]))
    vocabulary = {word: number for number, word in enumerate([*special, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}".strip(),
        special_tokens=[(token, vocabulary[token]) for token in (start, end) if token],
    )
    tokenizer.enable_padding(length=30)  # as some published files do; must not matter
    saved = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=padding, unk_token="<unk>", eos_token=end
    )
    saved.save_pretrained(folder)


def randomize(model: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.data = 0.4 * torch.randn(parameter.shape, generator=generator)
    return model


def tiny_t5() -> nn.Module:
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(
        vocab_size=40, d_model=16, d_kv=4, d_ff=24, num_layers=2, num_heads=4,
        feed_forward_proj="gated-gelu", decoder_start_token_id=0,
    )  # fmt: skip
    return T5ForConditionalGeneration(config)  # whole, as published: the decoder is left over


def tiny_clip() -> nn.Module:
    from transformers import CLIPTextConfig, CLIPTextModel

    config = CLIPTextConfig(
        vocab_size=40, hidden_size=16, intermediate_size=24, num_hidden_layers=3,
        num_attention_heads=4, max_position_embeddings=20, bos_token_id=2, eos_token_id=0,
    )  # fmt: skip
    return CLIPTextModel(config)


def tiny_bert() -> nn.Module:
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=40, hidden_size=16, intermediate_size=24, num_hidden_layers=2,
        num_attention_heads=4, max_position_embeddings=20,
    )  # fmt: skip
    return BertModel(config)


def load(
    folder: Path,
    max_tokens: int = 16,
    dtype: torch.dtype = torch.float32,
    layers: tuple[int, ...] = (),
) -> TextEncoder:
    config = TextConfig(encoder=str(folder), max_tokens=max_tokens, layers=layers)
    return TextEncoder.load(config, dtype=dtype)


def transformers_says(
    folder: Path, family: str, captions: Sequence[str], max_tokens: int, layer: int | None = None
) -> tuple[Tensor, Tensor]:
    """States, of a layer or of the family's usual one, and mask by transformers' own classes."""
    from transformers import AutoModel, AutoTokenizer, CLIPTextModel, T5EncoderModel

    tokenizer = AutoTokenizer.from_pretrained(folder)
    batch = tokenizer(
        list(captions), padding=True, truncation=True, max_length=max_tokens, return_tensors="pt"
    )
    inputs = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
    kind = {"t5": T5EncoderModel, "clip": CLIPTextModel, "bert": AutoModel}[family]
    with torch.no_grad():
        output = kind.from_pretrained(folder)(**inputs, output_hidden_states=True)
    states = output.hidden_states[-2] if family == "clip" else output.last_hidden_state
    if layer is not None:
        states = output.hidden_states[layer]
    return states, inputs["attention_mask"].bool()


def assert_same(embedding: TextEmbedding, states: Tensor, mask: Tensor) -> None:
    assert torch.equal(embedding.mask, mask)
    torch.testing.assert_close(embedding.tokens[mask], states[mask], rtol=1e-4, atol=1e-5)
    assert not embedding.tokens[~mask].any()
