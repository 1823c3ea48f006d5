"""A model on disk: `model.json` and one safetensors file per stage, each held to its sha256.

Never a pickle, neither written nor read: a model folder is anybody's.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from openimagen.cascade import Cascade, Stage
from openimagen.config import Config, ModelConfig, UNetConfig
from openimagen.unet import UNet

FORMAT_VERSION = 1


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

    Whole or invisible: `model.json` is written last, by renaming.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = {}
    for stage in cascade.stages:
        if stage.net is not None:
            state = {
                name: tensor.to("cpu", dtype or tensor.dtype).contiguous()
                for name, tensor in stage.net.state_dict().items()
            }
            blob = save_tensors(state)
            sha256 = hashlib.sha256(blob).hexdigest()
            file = f"{stage.config.name}.safetensors"
            _write(folder / file, blob)
            weights[stage.config.name] = WeightsFile(file=file, sha256=sha256)
    contents = ModelFile(format_version=FORMAT_VERSION, model=cascade.config, weights=weights)
    _write(folder / "model.json", (contents.model_dump_json(indent=1) + "\n").encode())


def _write(path: Path, blob: bytes) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(blob)
    partial.replace(path)


def load(
    folder: Path,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    stages: Sequence[str] | None = None,
) -> Cascade:
    """Read a model folder; `stages` names those whose weights are wanted, all by default.

    Raises ValueError, in one line, for a folder that is no model, is newer than this program, has an
    unknown key, lacks a file, or holds a file whose bytes have changed.
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
            net = _load_net(config.unet, folder, file).to(
                device, memory_format=torch.channels_last
            )
        loaded.append(Stage(config, net))
    return Cascade(contents.model, tuple(loaded), device, dtype)


def read_model_file(folder: Path) -> ModelFile:
    """Read and check `model.json` alone."""
    path = folder / "model.json"
    if not path.is_file():
        raise ValueError(f"{folder} is no model folder: it has no model.json")
    try:
        raw: dict[str, Any] = json.loads(path.read_bytes())
        version = raw["format_version"]
    except (ValueError, KeyError, TypeError):
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
    if Path(file.file).name != file.file:
        raise ValueError(f"{folder}/model.json names a file outside the folder: {file.file}")
    if not path.is_file():
        raise ValueError(f"{folder} lacks {file.file}: restore it from where the model came from")
    blob = path.read_bytes()
    if hashlib.sha256(blob).hexdigest() != file.sha256:
        raise ValueError(
            f"{path} has changed since it was written (its sha256 differs): "
            "restore it from where the model came from"
        )
    with torch.device("meta"):
        net = UNet(config)
    state = {name: tensor.float() for name, tensor in load_tensors(blob).items()}
    try:
        net.load_state_dict(state, assign=True)
    except RuntimeError:
        raise ValueError(f"{path} does not fit the network that model.json describes") from None
    return net.eval().requires_grad_(False)
