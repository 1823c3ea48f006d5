"""Feature networks by their names on the command line."""

from collections.abc import Callable

import torch

from openimagen.evaluate.features import EffLite2, Features

Load = Callable[[str | None, torch.device], Features]


def load_features(name: str, weights: str | None, device: torch.device) -> Features:
    """The network of that name. ValueError if there is none, or its weights cannot be had."""
    if name not in NETWORKS:
        raise ValueError(f"no features {name!r}: choose from {', '.join(NETWORKS)}")
    return NETWORKS[name](weights, device)


def _lite2(weights: str | None, device: torch.device) -> Features:
    if weights is not None:
        raise ValueError("efflite2 has its weights in its package: leave --weights out")
    return EffLite2(device)


NETWORKS: dict[str, Load] = {"efflite2": _lite2}
