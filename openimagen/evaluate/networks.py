"""Feature networks by their names on the command line."""

import warnings
from collections.abc import Callable
from pathlib import Path

import torch

from openimagen.evaluate.features import EffLite2, Features
from openimagen.evaluate.inception import FILE, Inception
from openimagen.evaluate.transformer_features import CLIP_HUB, DINO_HUB, load_clip, load_dinov2


def load_features(name: str, weights: str | None, device: torch.device) -> Features:
    """The network of that name. ValueError if there is none, or its weights cannot be had."""
    if name not in NETWORKS:
        raise ValueError(f"no features {name!r}: choose from {', '.join(NETWORKS)}")
    return NETWORKS[name](weights, device)


def _lite2(weights: str | None, device: torch.device) -> Features:
    if weights is not None:
        raise ValueError("efflite2 has its weights in its package: leave --weights out")
    return EffLite2(device)


def _inception(weights: str | None, device: torch.device) -> Features:
    if weights is None:
        raise ValueError(f"inception needs its weights: give the published {FILE} as --weights")
    network = Inception(Path(weights), device)
    if network.name != "Inception":
        warnings.warn(f"{weights} is not the published {FILE}: no figure is FID", stacklevel=3)
    return network


NETWORKS: dict[str, Callable[[str | None, torch.device], Features]] = {
    "efflite2": _lite2,
    "inception": _inception,
    "clip": lambda weights, device: load_clip(weights or CLIP_HUB, device),
    "dinov2": lambda weights, device: load_dinov2(weights or DINO_HUB, device),
}
