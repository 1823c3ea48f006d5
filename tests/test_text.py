"""Our encoders say what transformers says, of each caption by itself, and ask no network.

The models are tiny, random in every weight (zero biases would hide a mix-up), and saved by
transformers itself; MiniLM is the real one.
"""

import json
import logging.handlers
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from openimagen import text
from openimagen.config import TextConfig
from openimagen.text import CachedEncoder, TextEmbedding, TextEncoder

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


@pytest.fixture(autouse=True)
def attempts(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[object]]:
    """No network. The addresses asked for all the same; a test that may ask clears the list."""
    asked: list[object] = []

    def refuse(self: socket.socket, address: object) -> None:
        asked.append(address)
        raise OSError("no network in tests")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *to, **_: refuse(socket.socket(), to))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    yield asked
    assert not asked


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


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    @cache
    def folder(family: str) -> Path:
        path = tmp_path_factory.mktemp(family)
        build = {"t5": tiny_t5, "clip": tiny_clip, "bert": tiny_bert}[family]
        randomize(build()).save_pretrained(path)  # type: ignore[operator]
        start = {"t5": "", "clip": "<start>", "bert": "[CLS]"}[family]
        padding = "<end>" if family == "clip" else "<pad>"  # CLIP pads with its end token
        save_tokenizer(path, start, "<end>", padding)
        return path

    return folder


@pytest.fixture
def copy(tiny: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    """A tiny model to spoil."""
    return lambda family: Path(shutil.copytree(tiny(family), tmp_path / family))


def load(folder: Path, max_tokens: int = 16, dtype: torch.dtype = torch.float32) -> TextEncoder:
    return TextEncoder.load(TextConfig(encoder=str(folder), max_tokens=max_tokens), dtype=dtype)


@pytest.fixture(scope="session")
def minilm() -> TextEncoder:
    return TextEncoder.load(TextConfig(encoder="minilm", max_tokens=64))


def transformers_says(
    folder: Path, family: str, captions: Sequence[str], max_tokens: int
) -> tuple[Tensor, Tensor]:
    """States and mask by transformers' own classes."""
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
    return states, inputs["attention_mask"].bool()


def assert_same(embedding: TextEmbedding, states: Tensor, mask: Tensor) -> None:
    assert torch.equal(embedding.mask, mask)
    torch.testing.assert_close(embedding.tokens[mask], states[mask], rtol=1e-4, atol=1e-5)
    assert not embedding.tokens[~mask].any()


# --- the embedding --------------------------------------------------------------------------------


def embedding(*lengths: int) -> TextEmbedding:
    states, mask = text.stack_rows([torch.rand(length, 3) + 1 for length in lengths])
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
    folder = text.find_encoder("minilm")
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
    package = tmp_path / text.MINILM_PACKAGE
    shutil.copytree(text.find_encoder("minilm"), package / "model")
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    assert text.find_encoder("minilm") == package / "model"
    with (package / "model" / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)
        file.seek(-1, 2)
        file.write(bytes([last[0] ^ 1]))
    with pytest.raises(ValueError, match="weights were altered: reinstall"):
        text.find_encoder("minilm")


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


# --- finding it -----------------------------------------------------------------------------------


@pytest.mark.parametrize("offline", [True, False])
def test_a_missing_encoder_names_its_download(
    offline: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attempts: list[object]
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", offline)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ValueError, match=r"not on this machine .* `hf download acme/t5`") as error:
        text.find_encoder("acme/t5")
    assert "\n" not in str(error.value)
    assert bool(attempts) != offline
    attempts.clear()


def test_a_hub_id_on_this_machine_is_not_asked_for(
    tiny: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--acme--bert"
    shutil.copytree(tiny("bert"), repository / "snapshots" / ("0" * 40))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    encoder = TextEncoder.load(TextConfig(encoder="acme/bert"))
    assert torch.equal(encoder(CAPTIONS).tokens, load(tiny("bert"))(CAPTIONS).tokens)
    assert encoder.identity == "acme/bert:20"


def test_a_folder_that_is_not_whole_is_refused(copy: Callable[[str], Path]) -> None:
    folder = copy("bert")
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        content = (folder / name).read_bytes()
        (folder / name).unlink()
        with pytest.raises(ValueError, match=f"lacks .*{name.split('.')[0][:5]}"):
            load(folder)
        (folder / name).write_bytes(content)
    load(folder)


def test_pickles_are_not_read(copy: Callable[[str], Path]) -> None:
    folder = copy("t5")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"pickles are not read: .* convert it"):
        load(folder)


def test_a_missing_shard_is_noticed(copy: Callable[[str], Path]) -> None:
    folder = copy("t5")
    expected = load(folder)(CAPTIONS)
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    index = {}
    for number in (0, 1):
        shard = f"model-0000{number + 1}-of-00002.safetensors"
        part = {name: weights[name] for name in sorted(weights)[number::2]}
        save_file(part, folder / shard, {"format": "pt"})
        index |= dict.fromkeys(part, shard)
    whole = {"metadata": {}, "weight_map": index}
    (folder / "model.safetensors.index.json").write_text(json.dumps(whole))
    assert torch.equal(load(folder)(CAPTIONS).tokens, expected.tokens)
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ValueError, match=r"lacks .*\(part of\) model.safetensors"):
        load(folder)


@pytest.mark.parametrize(("family", "part"), [("t5", "wi_0"), ("clip", "fc1"), ("bert", "value")])
def test_a_missing_weight_is_never_made_up(
    family: str, part: str, copy: Callable[[str], Path]
) -> None:
    folder = copy(family)
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in sorted(weights) if part in name and "decoder" not in name)
    del weights[name]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match="has no weight"):
        load(folder)


def test_an_unknown_family_is_named(copy: Callable[[str], Path]) -> None:
    folder = copy("bert")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "gpt2"}))
    with pytest.raises(ValueError, match=r"is gpt2, not in .*t5"):
        load(folder)
    (folder / "config.json").write_text(json.dumps(config | {"hidden_act": "relu"}))
    with pytest.raises(ValueError, match="BERT with relu"):
        load(folder)


def test_the_first_t5s_carry_only_a_sentencepiece_model(
    copy: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sentencepiece = pytest.importorskip("sentencepiece")
    folder = copy("t5")
    for file in folder.glob("*token*"):
        file.unlink()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CAPTIONS * 20), model_prefix=str(folder / "spiece"), vocab_size=35,
        pad_id=0, eos_id=1, unk_id=2, bos_id=-1, hard_vocab_limit=False, minloglevel=2,
    )  # fmt: skip
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "spiece.model"))
    tokenizer = text.load_tokenizer(folder)
    for caption in CAPTIONS:
        assert tokenizer.encode(caption).ids == [*pieces.encode(caption), 1]
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(ValueError, match=r"pip install 'openimagen\[t5\]'"):
        text.load_tokenizer(folder)


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
    assert counting.asked == [["a cat", "a fox"], ["a mat"]]


def test_the_cache_says_what_the_encoder_says(counting: Counting) -> None:
    cached = CachedEncoder(counting)
    captions = [*CAPTIONS, CAPTIONS[0]]
    first, direct = cached(captions), counting(captions)
    assert torch.equal(first.mask, direct.mask) and first.tokens.dtype == direct.tokens.dtype
    torch.testing.assert_close(first.tokens, direct.tokens, rtol=2**-11, atol=1e-7)
    again = cached(captions)
    assert torch.equal(again.tokens, first.tokens) and torch.equal(again.mask, first.mask)
    assert cached(["a mat", ""]).mask.sum(1).tolist() == [4, 2]  # trimmed to the longest asked for
    assert (cached.width, cached.max_tokens) == (counting.width, counting.max_tokens)
    assert cached.identity == counting.identity


def test_the_least_recently_used_caption_is_forgotten(counting: Counting) -> None:
    cached = CachedEncoder(counting, capacity=2)
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


def test_warming_encodes_in_batches_and_ahead(counting: Counting) -> None:
    cached = CachedEncoder(counting)
    cached.warm(["a cat", "a cat", "a fox", "a mat", "an old fox"], batch=2)
    assert counting.asked == [["a cat"], ["a fox", "a mat"], ["an old fox"]]
    counting.asked.clear()
    cached(["an old fox", "a cat"])
    assert counting.asked == []
