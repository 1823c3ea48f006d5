"""An encoder is found whole, on this machine first, and never as a pickle."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import CAPTIONS, load

from openimagen import encoder_files
from openimagen.config import TextConfig
from openimagen.embeddings import parse
from openimagen.text import TextEncoder

# --- finding it -----------------------------------------------------------------------------------


@pytest.mark.parametrize("offline", [True, False])
def test_a_missing_encoder_names_its_download(
    offline: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attempts: list[object]
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", offline)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ValueError, match=r"not on this machine .* `hf download acme/t5`") as error:
        encoder_files.find_encoder("acme/t5")
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


def test_weights_in_torch_s_own_format_are_read_as_tensors_only(
    copy: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = copy("t5")
    expected = load(folder)(CAPTIONS)
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    assert torch.equal(load(folder)(CAPTIONS).tokens, expected.tokens)
    torch.save({**weights, "trap": Trap(tmp_path / "sprung")}, folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match="more than tensors"):
        load(folder)
    assert not (tmp_path / "sprung").exists()


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[Path, str]]:
        return Path.write_text, (self.path, "sprung")


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
    tokenizer = encoder_files.load_tokenizer(folder)
    for caption in CAPTIONS:
        assert tokenizer.encode(caption).ids == [*pieces.encode(caption), 1]
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(ValueError, match=r"pip install 'openimagen\[t5\]'"):
        encoder_files.load_tokenizer(folder)


def test_an_encoder_is_named_with_or_without_its_limit() -> None:
    assert parse("a@b:32") == TextConfig(encoder="a@b", max_tokens=32)
    assert parse("a@b@3+6:32") == TextConfig(encoder="a@b", max_tokens=32, layers=(3, 6))
    for name in ("minilm", "c:/t5", "org/t5:x", ":3"):
        assert parse(name) == TextConfig(encoder=name)
    with pytest.raises(ValueError, match="t5:0: a limit of 0 tokens leaves no caption"):
        parse("t5:0")
