"""All that a run leaves behind, in a form that tells whether two runs are the same to the bit."""

import hashlib
import json
from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
from torch import Tensor
from torch.distributed.checkpoint.state_dict_loader import _load_state_dict_from_keys

from openimagen import model_folder


def left_by(out: Path) -> dict[str, Any]:
    """What is in each file of a run, but for times of day; a checkpoint counts as one file."""
    left: dict[str, Any] = {"events": events_of(out)}
    for path in out.rglob("*"):
        name = path.relative_to(out).as_posix()
        if path.is_dir() and path.name.isdigit():
            left[name] = flat(_load_state_dict_from_keys(checkpoint_id=path))
        elif name == "log.jsonl":
            left[name] = [*map(timeless, path.read_text().splitlines())]
        elif path.is_file() and not (name.startswith("events/") or path.parent.name.isdigit()):
            left[name] = digest(path.read_bytes())
    return left


def flat(tree: dict[str, Any], above: str = "") -> dict[str, Any]:
    """What a checkpoint holds, by dotted name."""
    here: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            here |= flat(value, f"{above}{key}.")
        elif isinstance(value, Tensor):
            here[above + key] = digest(value.numpy().tobytes())
        else:
            here[above + key] = json.loads(value) if isinstance(value, bytes) else value
    return here


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def timeless(line: str) -> dict[str, Any]:
    entry = json.loads(line)
    return {key: value for key, value in entry.items() if key != "time" and "second" not in key}


def events_of(out: Path) -> set[tuple[str, int, float]]:
    """TensorBoard's points, but for the rate. Those of after a checkpoint come again, the same."""
    return {
        (value.tag, event.step, value.simple_value)
        for file in out.glob("events/*/*")
        for event in LegacyEventFileLoader(str(file)).Load()
        for value in event.summary.value
        if "second" not in value.tag
    }


def weights_in(folder: Path) -> dict[str, str]:
    """The hash of each stage's weights."""
    weights = model_folder.read_model_file(folder).weights
    return {name: file.sha256 for name, file in weights.items()}
