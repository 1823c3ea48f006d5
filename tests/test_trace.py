"""The strip shows each stage from noise to picture, of the first picture alone."""

import numpy as np
import pytest
import torch
from PIL import Image

from openimagen.cascade import Cascade, Progress
from openimagen.data.images import to_pil
from openimagen.imagen import Imagen
from openimagen.trace import BAND, LABEL, MARGIN, TILE, Trace


def tile(strip: Image.Image, band: int, line: int, column: int) -> np.ndarray:
    """Pixels of one tile: line 0 is what the stage sees, 1 what it makes out."""
    left = MARGIN + column * (TILE + MARGIN)
    top = MARGIN + band * BAND + LABEL + line * (TILE + MARGIN)
    return np.asarray(strip.crop((left, top, left + TILE, top + TILE))).astype(float)


def report(call: int, calls: int, z: float, x0: float, stage: str = "base") -> Progress:
    """Two grey pictures, the second the first's negative."""
    sign = torch.tensor([1.0, -1.0]).view(2, 1, 1, 1).expand(2, 3, 4, 4)
    return Progress(stage, call, calls, 0.0, z * sign, x0 * sign)


def test_a_tile_for_each_step_of_the_first_picture() -> None:
    trace = Trace()
    for call in (1, 2, 3):
        trace(report(call, 3, z=-1 + call / 4, x0=call / 4))
    trace(report(1, 1, z=-5.0, x0=5.0, stage="sr"))
    strip = trace.strip()
    assert strip.mode == "RGB"
    assert strip.size == (4 * (TILE + MARGIN) + MARGIN, BAND + MARGIN)
    for column, call in enumerate((1, 2, 3)):
        assert np.all(abs(tile(strip, 0, 0, column) - 127.5 * call / 4) <= 0.5)
        assert np.all(abs(tile(strip, 0, 1, column) - 127.5 * (1 + call / 4)) <= 0.5)
    assert (tile(strip, 0, 0, 3).max(), tile(strip, 0, 1, 3).min()) == (0, 255)  # clipped
    left = MARGIN + 3 * (TILE + MARGIN)
    for box in ((0, 0, left, LABEL), (left, 0, strip.width, LABEL)):
        assert (np.asarray(strip.crop(box)) < 128).any()  # there is writing


def test_what_does_not_fit_beside_the_others_stands_below_them() -> None:
    trace = Trace()
    for stage, steps in (("base", 8), ("sr256", 2), ("sr1024", 1)):
        for call in range(1, steps + 1):
            trace(report(call, steps, z=0.0, x0=1.0, stage=stage))
    strip = trace.strip()
    assert strip.size == (10 * (TILE + MARGIN) + MARGIN, 2 * BAND + MARGIN)
    assert tile(strip, 0, 1, 9).min() == tile(strip, 1, 1, 0).min() == 255
    assert tile(strip, 0, 0, 9).max() == tile(strip, 1, 0, 0).max() == 128
    assert tile(strip, 1, 0, 1).min() == 255  # nothing


@pytest.mark.parametrize("steps", [1, 2, 8, 9, 250])
def test_at_most_eight_steps_first_and_last_among_them(steps: int) -> None:
    trace = Trace()
    for call in range(1, steps + 1):
        trace(report(call, steps, z=0.0, x0=2 * call / steps - 1))
    strip, columns = trace.strip(), min(steps, 8)
    assert strip.width == columns * (TILE + MARGIN) + MARGIN
    greys = [tile(strip, 0, 1, column).mean() for column in range(columns)]
    assert greys == sorted(set(greys)) or steps == 1
    assert greys[0] == pytest.approx(255 / steps, abs=0.6) and greys[-1] == 255
    if columns > 1:
        gaps = np.diff(greys)
        assert gaps.max() - gaps.min() <= 255 / steps + 1


def test_later_batches_are_let_pass() -> None:
    trace = Trace()
    for x0 in (0.5, -0.5):
        for call in (1, 2):
            trace(report(call, 2, z=0.0, x0=x0))
    strip = trace.strip()
    assert strip.width == 2 * (TILE + MARGIN) + MARGIN
    assert tile(strip, 0, 1, 1).mean() == pytest.approx(0.75 * 255, abs=0.6)


def test_the_last_tile_is_the_picture(tiny: Cascade) -> None:
    trace = Trace()
    out = Imagen(tiny)("fox", seed=2, num_images_per_prompt=2, on_step=trace, output_type="pt")
    strip = trace.strip()
    assert strip.size == (9 * (TILE + MARGIN) + MARGIN, BAND + MARGIN)
    for number, images in enumerate(out.stages.values()):
        picture = to_pil(images[0] * 2 - 1).resize((TILE, TILE), Image.Resampling.BOX)
        first, last = 3 * number, 3 * number + 2
        assert abs(tile(strip, 0, 1, last) - np.asarray(picture)).max() <= 1
        assert tile(strip, 0, 0, first).std() > tile(strip, 0, 1, last).std()  # noise is wilder
