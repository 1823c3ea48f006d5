"""Our encoders say what transformers says, of each caption by itself, and ask no network."""

import json
import logging.handlers
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import CAPTIONS, FAMILIES, HARD, assert_same, load, transformers_says
from torch.nn.functional import cosine_similarity

from openimagen import encoder_files
from openimagen.text import TOLD, CachedEncoder, TextEmbedding, TextEncoder, stack_rows

# --- the embedding --------------------------------------------------------------------------------


def embedding(*lengths: int) -> TextEmbedding:
    states, mask = stack_rows([torch.rand(length, 3) + 1 for length in lengths])
    return TextEmbedding(states, mask)


def test_the_null_text_is_zero_and_has_one_key() -> None:
    null = embedding(4, 2).null()
    assert null.tokens.shape == (2, 4, 3) and not null.tokens.any()
    assert null.mask.tolist() == [[True, False, False, False]] * 2


def test_dropped_rows_become_null_and_the_others_stay() -> None:
    whole = embedding(4, 2, 3)
    dropped = whole.drop(torch.tensor([True, False, True]))
    for row, expected in enumerate([whole.null(), whole, whole.null()]):
        assert torch.equal(dropped.tokens[row], expected.tokens[row])
        assert torch.equal(dropped.mask[row], expected.mask[row])


def test_padding_adds_zero_tokens_that_are_not_there() -> None:
    short = embedding(2, 1)
    long = short.pad(5)
    assert long.tokens.shape == (2, 5, 3)
    assert torch.equal(long.tokens[:, :2], short.tokens) and not long.tokens[:, 2:].any()
    assert torch.equal(long.mask[:, :2], short.mask) and not long.mask[:, 2:].any()
    with pytest.raises(ValueError, match="5 tokens cannot be padded to 4"):
        long.pad(4)


def test_concatenation_keeps_every_row() -> None:
    parts = [embedding(2, 4), embedding(3), embedding(1, 1)]
    batch = TextEmbedding.concatenate(parts)
    assert batch.tokens.shape == (5, 4, 3)
    assert batch.mask.sum(1).tolist() == [2, 4, 3, 1, 1]
    assert torch.equal(batch.tokens[batch.mask], torch.cat([p.tokens[p.mask] for p in parts]))


def test_an_embedding_is_a_tuple_and_changes_its_dtype() -> None:
    tokens, mask = embedding(2).to("cpu", torch.bfloat16)
    assert tokens.dtype == torch.bfloat16 and mask.dtype == torch.bool
    assert embedding(2).to().tokens.dtype == torch.float32


# --- the encoder ----------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_says_what_transformers_says(family: str, tiny: Callable[[str], Path]) -> None:
    encoder = load(tiny(family))
    result = encoder(CAPTIONS)
    assert result.tokens.shape[1] < 16  # as long as the longest caption, not as max_tokens
    assert encoder.width == result.tokens.shape[2] == 16
    assert_same(result, *transformers_says(tiny(family), family, CAPTIONS, 16))


@pytest.mark.parametrize("family", FAMILIES)
def test_layers_that_are_named_stand_side_by_side_each_normalised(
    family: str, tiny: Callable[[str], Path]
) -> None:
    encoder = load(tiny(family), layers=(2, 0))
    assert encoder.width == 32 and encoder.identity == f"{tiny(family)}@2+0:16"
    result = encoder(CAPTIONS)
    for part, layer in zip(result.tokens.chunk(2, dim=-1), (2, 0), strict=True):
        states, mask = transformers_says(tiny(family), family, CAPTIONS, 16, layer)
        spread = states.var(-1, keepdim=True, unbiased=False)
        normed = (states - states.mean(-1, keepdim=True)) / (spread + 1e-5).sqrt()
        assert_same(TextEmbedding(part, result.mask), normed, mask)


def test_a_layer_that_is_not_there_is_named_with_the_last(tiny: Callable[[str], Path]) -> None:
    with pytest.raises(ValueError, match=r"text.layers 3: .*bert.*@1\+3:16 has up to 2"):
        load(tiny("bert"), layers=(1, 3))(CAPTIONS)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_caption_does_not_see_the_rest_of_the_batch(
    family: str, tiny: Callable[[str], Path]
) -> None:
    encoder = load(tiny(family))
    batch = encoder(CAPTIONS)
    for row, caption in enumerate(CAPTIONS):
        alone = encoder([caption])
        assert alone.mask.all()
        length = alone.mask.shape[1]
        assert batch.mask[row].sum() == length
        torch.testing.assert_close(batch.tokens[row, :length], alone.tokens[0], rtol=0, atol=1e-5)


def test_clip_speaks_from_the_layer_before_the_last(copy: Callable[[str], Path]) -> None:
    folder = copy("clip")
    before = load(folder)(CAPTIONS)
    weights = load_file(folder / "model.safetensors")
    spoilt = {n: 2 * w if "layers.2" in n or "final" in n else w for n, w in weights.items()}
    save_file(spoilt, folder / "model.safetensors", {"format": "pt"})
    assert torch.equal(load(folder)(CAPTIONS).tokens, before.tokens)
    spoilt = {n: 2 * w if "layers.1" in n else w for n, w in weights.items()}
    save_file(spoilt, folder / "model.safetensors", {"format": "pt"})
    assert not torch.allclose(load(folder)(CAPTIONS).tokens, before.tokens)


def test_a_whole_clip_gives_its_text_half_in_silence(
    copy: Callable[[str], Path], capfd: pytest.CaptureFixture[str]
) -> None:
    from transformers import CLIPConfig, CLIPModel

    folder = copy("clip")
    expected = load(folder)(CAPTIONS)
    half = json.loads((folder / "config.json").read_text())
    vision = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1}
    vision |= {"num_attention_heads": 4, "image_size": 16, "patch_size": 8}
    whole = CLIPModel(CLIPConfig(text_config=half, vision_config=vision))
    whole.text_model.load_state_dict(load_file(folder / "model.safetensors"))
    whole.save_pretrained(folder)
    heard = logging.handlers.BufferingHandler(1000)
    log = logging.getLogger("transformers")
    log.addHandler(heard)
    log.setLevel(logging.WARNING)  # transformers' default
    capfd.readouterr()
    assert torch.equal(load(folder)(CAPTIONS).tokens, expected.tokens)
    assert capfd.readouterr() == ("", "")  # no progress bar
    log.removeHandler(heard)
    assert not heard.buffer  # no report on the vision half
    assert log.level == logging.WARNING


def test_the_first_berts_have_other_names(copy: Callable[[str], Path]) -> None:
    folder = copy("bert")
    expected = load(folder)(CAPTIONS)
    old = {
        "bert."
        + n.replace("LayerNorm.weight", "LayerNorm.gamma").replace("Norm.bias", "Norm.beta"): w
        for n, w in load_file(folder / "model.safetensors").items()
    }
    save_file(old, folder / "model.safetensors")
    assert torch.equal(load(folder)(CAPTIONS).tokens, expected.tokens)


def test_the_encoder_is_frozen_and_calm(tiny: Callable[[str], Path]) -> None:
    for family in FAMILIES:
        encoder = load(tiny(family), dtype=torch.bfloat16)
        first, second = encoder(CAPTIONS), encoder(CAPTIONS)
        assert torch.equal(first.tokens, second.tokens)  # no dropout
        assert first.tokens.dtype == encoder.dtype == torch.bfloat16
        assert not first.tokens.requires_grad
        module = encoder._network.module
        assert not module.training and not any(p.requires_grad for p in module.parameters())


@pytest.mark.parametrize("family", FAMILIES)
def test_a_long_caption_is_cut_with_a_warning(family: str, tiny: Callable[[str], Path]) -> None:
    encoder = load(tiny(family), max_tokens=6)
    with pytest.warns(UserWarning, match='cut to 6 tokens: "an old fox'):
        result = encoder(CAPTIONS)
    assert result.mask.sum(1).max() == 6
    assert_same(result, *transformers_says(tiny(family), family, CAPTIONS, 6))  # ends are kept


def test_what_the_tokenizer_does_not_know_is_told(tiny: Callable[[str], Path]) -> None:
    """An emoji is read as any other would be, and drawn as a blob: who asked for it should know."""
    encoder = load(tiny("bert"))
    with pytest.warns(UserWarning) as told:
        encoder(["a red cat", "a 🦄 runs over 🍎"])
    (warning,) = [str(each.message) for each in told]
    assert warning.endswith('has no token for 🦄🍎 in "a 🦄 runs over 🍎"')


def test_not_every_long_caption_of_millions_is_named(tiny: Callable[[str], Path]) -> None:
    encoder = load(tiny("bert"), max_tokens=5)
    captions = ["a red cat " * number for number in range(2, 20)]
    with pytest.warns(UserWarning, match="cut to 5 tokens") as told:
        encoder(captions)
    assert len(told) == TOLD
    said = [str(each.message).endswith("other such texts will not be named") for each in told]
    assert said == [False] * (TOLD - 1) + [True]
    assert encoder(captions).mask.sum(1).tolist() == [5] * len(captions)  # a warning is an error


def test_no_caption_is_cut_at_exactly_the_limit(tiny: Callable[[str], Path]) -> None:
    assert load(tiny("bert"), max_tokens=5)(["a red cat"]).mask.sum() == 5  # a warning is an error


def test_the_limit_is_no_more_than_the_model_takes(tiny: Callable[[str], Path]) -> None:
    assert load(tiny("clip"), max_tokens=100).max_tokens == 20
    assert load(tiny("bert"), max_tokens=100).max_tokens == 20
    assert load(tiny("t5"), max_tokens=100).max_tokens == 100
    with pytest.raises(ValueError, match="max_tokens must be over 2"):
        load(tiny("bert"), max_tokens=2)


def test_the_identity_names_encoder_and_limit(tiny: Callable[[str], Path]) -> None:
    names = {load(tiny(f), n).identity for f in FAMILIES for n in (5, 16)}
    assert len(names) == 6


@pytest.mark.parametrize("captions", [[], (), "a cat"])
def test_captions_are_a_list_of_some(captions: Sequence[str], minilm: TextEncoder) -> None:
    for encoder in (minilm, CachedEncoder(minilm)):
        with pytest.raises(ValueError, match="at least one string"):
            encoder(captions)


def test_any_string_can_be_encoded(minilm: TextEncoder) -> None:
    result = minilm(["", "half an emoji: \ud83d", "\x00"])
    assert result.mask[0].sum() == 2  # [CLS] and [SEP]
    assert result.tokens.isfinite().all()


# --- MiniLM ---------------------------------------------------------------------------------------


def test_minilm_says_what_transformers_says(minilm: TextEncoder) -> None:
    folder = encoder_files.find_encoder("minilm")
    assert minilm.width == 384
    with pytest.warns(UserWarning, match="cut to 64 tokens"):
        result = minilm(HARD)
    assert_same(result, *transformers_says(folder, "bert", HARD, 64))


def test_minilm_knows_a_kitten_from_an_airplane(minilm: TextEncoder) -> None:
    tokens, mask = minilm(["a cat", "kitten", "airplane"])
    cat, kitten, airplane = tokens.sum(1) / mask.sum(1, keepdim=True)
    assert cosine_similarity(cat, kitten, dim=0) > cosine_similarity(cat, airplane, dim=0) + 0.2


def test_altered_minilm_weights_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / encoder_files.MINILM_PACKAGE
    shutil.copytree(encoder_files.find_encoder("minilm"), package / "model")
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    assert encoder_files.find_encoder("minilm") == package / "model"
    with (package / "model" / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)
        file.seek(-1, 2)
        file.write(bytes([last[0] ^ 1]))
    with pytest.raises(ValueError, match="weights were altered: reinstall"):
        encoder_files.find_encoder("minilm")


def test_minilm_draws_at_once_because_transformers_is_not_imported() -> None:
    program = (
        "import sys, openimagen.text as text;"
        "heavy = {'transformers', 'huggingface_hub', 'sentence_transformers', 'torch._dynamo'};"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules);"
        "print(text.TextEncoder.load(text.TextConfig())(['a cat']).tokens.shape);"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "torch.Size([1, 4, 384])", done.stderr
