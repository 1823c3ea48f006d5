"""A model on disk: `model.json` and one safetensors file per stage, each held to its sha256.

Never a pickle, neither written nor read: a model folder is anybody's.
"""

import glob
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from openimagen import eight_bits
from openimagen.cascade import Cascade, Stage
from openimagen.config import Config, ModelConfig, UNetConfig
from openimagen.files import write_whole
from openimagen.unet import UNet

FORMAT_VERSION = 1
EMBEDDED = Path(__file__).parent / "models"
HUB_FILES = ["model.json", "*.safetensors", "*.md"]


class WeightsFile(Config):
    """Where a stage's weights lie, and what they must hash to."""

    file: str
    sha256: str


class ModelFile(Config):
    """The contents of `model.json`."""

    format_version: int
    model: ModelConfig
    weights: dict[str, WeightsFile]  # by stage name; an untrained stage has none


def save(cascade: Cascade, folder: Path, dtype: torch.dtype | None = None) -> None:
    """Write the cascade's trained stages and its `model.json`; weights in `dtype` if given.

    torch.int8 is `eight_bits.pack`.

    Whole or invisible: weights have their hash in their names, so that none replaces another;
    `model.json`, renamed into place, turns to the new ones. Those it named before are deleted, and
    what saves that were cut short have left. Stages with the same weights share a file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    before = _weights_in(folder) | _left_in(folder, [stage.config.name for stage in cascade.stages])
    weights: dict[str, WeightsFile] = {}
    for stage in cascade.stages:
        if stage.net is not None:
            blob = _as_blob(stage.net, dtype)
            weights[stage.config.name] = _save(stage.config.name, blob, folder, weights)
    contents = ModelFile(format_version=FORMAT_VERSION, model=cascade.config, weights=weights)
    write_whole(folder / "model.json", contents.model_dump_json(indent=1) + "\n")
    for file in before - {weight.file for weight in weights.values()}:
        (folder / file).unlink(missing_ok=True)


def _weights_in(folder: Path) -> set[str]:
    """Weight files of the model that is in the folder; none if it cannot be read."""
    try:
        files = [weight.file for weight in read_model_file(folder).weights.values()]
    except ValueError:
        return set()
    return {file for file in files if _is_plain(file)}


def _left_in(folder: Path, stages: Sequence[str]) -> set[str]:
    """Files as saving these stages makes them, finished or not."""
    hashed = "-" + 8 * "[0-9a-f]" + ".safetensors"
    patterns = [glob.escape(name) + hashed for name in stages if _is_plain(f"{name}.safetensors")]
    patterns += [f".{pattern}.*.partial" for pattern in (*patterns, "model.json")]
    return {path.name for pattern in patterns for path in folder.glob(pattern)}


def _is_plain(file: str) -> bool:
    """Whether it names a safetensors file in this very folder."""
    return not {"/", "\\", "\0"} & set(file) and file.endswith(".safetensors")


def _as_blob(net: UNet, dtype: torch.dtype | None) -> bytes:
    state = {name: tensor.cpu() for name, tensor in net.state_dict().items()}
    if dtype == torch.int8:
        state = eight_bits.pack(state)
    elif dtype is not None:
        state = {name: tensor.to(dtype) for name, tensor in state.items()}
    return save_tensors({name: tensor.contiguous() for name, tensor in state.items()})


def _save(name: str, blob: bytes, folder: Path, written: Mapping[str, WeightsFile]) -> WeightsFile:
    sha256 = hashlib.sha256(blob).hexdigest()
    for file in written.values():
        if file.sha256 == sha256:
            return file
    plain = f"{name}-{sha256[:8]}.safetensors"
    if not _is_plain(plain):
        raise ValueError(f"stage {name!r} needs a name that a file can have")
    write_whole(folder / plain, blob)
    return WeightsFile(file=plain, sha256=sha256)


def load(
    folder: Path,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    stages: Sequence[str] | None = None,
) -> Cascade:
    """Read a model folder; `stages` names those whose weights are wanted, all by default.

    Raises ValueError, in one line, for a folder that is no model, is newer than this program, has
    an unknown key, lacks a file, or holds a file whose bytes have changed.
    """
    contents = read_model_file(folder)
    names = {stage.name for stage in contents.model.stages}
    if strangers := set(contents.weights) - names:
        raise ValueError(f"{folder}: weights for {sorted(strangers)}, which are no stages of it")
    device = torch.device(device)
    loaded = []
    for config in contents.model.stages:
        file = contents.weights.get(config.name)
        net = None
        if file is not None and (stages is None or config.name in stages):
            net = _load_net(config.unet, folder, file).to(device)
            net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        loaded.append(Stage(config, net))
    return Cascade(contents.model, tuple(loaded), device, dtype)


def read_model_file(folder: Path) -> ModelFile:
    """Read and check `model.json` alone."""
    path = folder / "model.json"
    if not path.is_file():
        is_run = (folder / "export/model.json").is_file()
        hint = f"it is a run, its model is {folder}/export" if is_run else "it has no model.json"
        raise ValueError(f"{folder} is no model folder: {hint}")
    try:
        raw: dict[str, Any] = json.loads(path.read_bytes())
        version = int(raw["format_version"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ValueError(f"{path} is damaged: restore it from where the model came from") from None
    if version != FORMAT_VERSION:
        raise ValueError(
            f"{folder} has format version {version}, this program reads {FORMAT_VERSION}: "
            "upgrade openimagen"
        )
    try:
        return ModelFile.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"{path}: {where}: {first['msg']}") from None


def _load_net(config: UNetConfig, folder: Path, file: WeightsFile) -> UNet:
    path = folder / file.file
    if not _is_plain(file.file):
        raise ValueError(f"{folder}/model.json wants {file.file!r}: no safetensors file beside it")
    if not path.is_file():
        raise ValueError(f"{folder} lacks {file.file}: restore it from where the model came from")
    blob = path.read_bytes()
    if hashlib.sha256(blob).hexdigest() != file.sha256:
        raise ValueError(
            f"{path} has changed since it was written (its sha256 differs): "
            "restore it from where the model came from"
        )
    try:
        stored = load_tensors(blob)
    except (SafetensorError, KeyError, ValueError, RuntimeError):
        raise ValueError(f"{path} is no safetensors file; nothing else is read") from None
    try:
        with torch.device("meta"):
            net = UNet(config)
        net.load_state_dict(eight_bits.unpack(stored), assign=True)
    except (KeyError, RuntimeError, TypeError, ValueError):
        raise ValueError(f"{path} does not fit the network that model.json describes") from None
    return net.eval().requires_grad_(False)


# --- finding it ---------------------------------------------------------------------------------


def embedded_models() -> list[str]:
    """Names of the models inside the package."""
    return sorted(path.parent.name for path in EMBEDDED.glob("*/model.json"))


def find_model(name: str | Path) -> Path:
    """Folder of an embedded model, a local folder, or a hub id. ValueError if there is none."""
    if name in embedded_models():
        return EMBEDDED / str(name)
    folder = Path(name)
    if folder.is_dir():
        return folder
    if str(name).rstrip("/").count("/") == 1 and not str(name).startswith((".", "/", "~")):
        return _from_hub(str(name).rstrip("/"))
    known = ", ".join(embedded_models()) or "none"
    raise ValueError(f"no model {name}: embedded models are {known}; else give a model folder")


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=HUB_FILES))
    except Exception as error:  # whatever the HTTP library of the day raises
        raise ValueError(
            f"model {name} is no folder here and the hub cannot be asked ({type(error).__name__}): "
            "give a local model folder"
        ) from error
