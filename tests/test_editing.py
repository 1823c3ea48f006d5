"""Editing: the forward process to where restoring starts, and pixels that are kept."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from openimagen.cascade import Cascade, PictureNoise, Progress
from openimagen.drawing import advance, prepare
from openimagen.editing import (
    Source,
    begin,
    held,
    log_snr_of,
    restored,
    squared,
    unsquared,
)


def noise_picture(width: int, height: int, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(pixels)


def half(width: int, height: int) -> Image.Image:
    """A mask: the left half is drawn anew."""
    mask = Image.new("L", (width, height), 0)
    ImageDraw.Draw(mask).rectangle((0, 0, width // 2 - 1, height), fill=255)
    return mask


# --- the start ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("strength", "sigma"), [(1 / 6, 0.258819), (1 / 3, 0.5), (1 / 2, 0.707107), (2 / 3, 0.866025)]
)
def test_strength_is_a_time_of_the_cosine_schedule(
    tiny: Cascade, strength: float, sigma: float
) -> None:
    log_snr = torch.tensor(log_snr_of(sigma), dtype=torch.float64)
    assert math.isclose((-log_snr).sigmoid().sqrt().item(), sigma, rel_tol=1e-9)
    source = Source(noise_picture(16, 16), strength=strength)
    known = source.known()
    assert known is not None
    start = begin(tiny, 0, [5], [known])
    eps = PictureNoise([5], 0, torch.device("cpu")).draw(3, 16, 16)
    expected = math.sqrt(1 - sigma**2) * known.picture + sigma * eps
    assert start.latents is not None
    torch.testing.assert_close(start.latents, expected, atol=1e-5, rtol=1e-5)


def test_restoring_walks_from_the_strength_down(tiny: Cascade) -> None:
    seen: list[Progress] = []
    drawing = prepare(tiny, "fox", 0, source=Source(noise_picture(16, 16), strength=1 / 3))
    advance(tiny, [drawing], seen.append)
    assert math.isclose(seen[0].log_snr, math.log(0.75 / 0.25), rel_tol=1e-5)
    assert len(seen) == tiny.stages[0].config.sampling.steps
    assert all(a.log_snr < b.log_snr for a, b in pairwise(seen))
    above: list[Progress] = []
    advance(tiny, [drawing], above.append)  # the stage above draws from noise, as always
    plain: list[Progress] = []
    other = prepare(tiny, "fox", 0)
    advance(tiny, [other])
    advance(tiny, [other], plain.append)
    assert torch.equal(above[0].z, plain[0].z)


def test_full_strength_is_drawing_anew(tiny: Cascade) -> None:
    """At the end of the schedule the picture's share is too small to see."""
    images = []
    for source in (None, Source(noise_picture(16, 16), strength=1.0)):
        drawing = prepare(tiny, "fox", 0, size=16, source=source)
        advance(tiny, [drawing])
        assert drawing.image is not None
        images.append(drawing.image)
    assert (images[0] - images[1]).abs().mean() < 0.1


# --- what is kept ---------------------------------------------------------------------------------


def test_estimates_are_held_where_the_picture_is_known() -> None:
    pictures, guess = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4)
    masks = (torch.rand(2, 1, 4, 4) > 0.5).float()
    held_guess = held(pictures, masks)(lambda z, log_snr: guess)(pictures, torch.zeros(2))
    assert torch.equal(held_guess, masks * guess + (1 - masks) * pictures)


@pytest.mark.parametrize("size", [16, 32, 64])
def test_known_pixels_are_exact_in_the_result(tiny: Cascade, size: int) -> None:
    picture, mask = noise_picture(size, size), half(size, size)
    drawing = prepare(tiny, "fox", 1, size=size, source=Source(picture, mask))
    while drawing.ahead:
        advance(tiny, [drawing])
    result = np.asarray([*drawing.pictures().values()][-1])
    kept = np.asarray(mask) == 0
    assert np.array_equal(result[kept], np.asarray(picture)[kept])
    assert not np.array_equal(result[~kept], np.asarray(picture)[~kept])


def test_a_pixel_is_drawn_anew_if_any_part_of_it_is() -> None:
    mask = Image.new("L", (64, 64), 0)
    mask.putpixel((33, 2), 255)
    known = Source(noise_picture(64, 64), mask).known()
    assert known is not None
    small = known.shrunk(16).mask
    assert small is not None and small.sum() == 1 and small[0, 0, 8] == 1
    assert known.shrunk(64) is known


# --- shapes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(40, 30), (30, 40), (33, 33), (1, 50), (101, 100)])
def test_squaring_is_undone(shape: tuple[int, int]) -> None:
    picture = noise_picture(*shape)
    square = squared(picture)
    assert square.width == square.height == max(shape)
    assert unsquared(square, shape).tobytes() == picture.tobytes()
    larger = unsquared(square.resize((512, 512)), shape)
    assert max(larger.size) == 512
    assert math.isclose(larger.width / larger.height, shape[0] / shape[1], rel_tol=0.1) or 1 in (
        *shape,
    )


def test_a_result_has_the_proportions_of_its_source(tiny: Cascade) -> None:
    picture, mask = noise_picture(60, 30), half(60, 30)
    drawing = prepare(tiny, "fox", 0, source=Source(picture, mask))
    while drawing.ahead:
        advance(tiny, [drawing])
    assert [image.size for image in drawing.pictures().values()] == [(16, 8), (32, 16), (64, 32)]


def test_the_source_fills_what_is_kept_of_a_larger_result() -> None:
    drawn, source = Image.new("RGB", (64, 64), "blue"), Image.new("RGB", (16, 16), "red")
    result = restored(drawn, source, half(16, 16))
    assert result.getpixel((10, 10)) == (0, 0, 255) and result.getpixel((50, 10)) == (255, 0, 0)


# --- what is wrong --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"strength": 0.0}, "strength is 0.0"),
        ({"strength": 1.5}, "strength is 1.5"),
        ({"strength": math.nan}, "strength is nan"),
        ({"mask": Image.new("L", (8, 9), 255)}, "the mask is 8x9, the picture 16x16"),
        ({"mask": Image.new("L", (16, 16), 0)}, "nothing to draw"),
    ],
)
def test_a_wrong_source_is_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message) as refusal:
        Source(noise_picture(16, 16), **wrong)  # type: ignore[arg-type]
    assert "\n" not in str(refusal.value)


def test_too_little_noise_is_refused(tiny: Cascade) -> None:
    source = Source(noise_picture(16, 16), strength=1e-6)
    with pytest.raises(ValueError, match="less noise than the model knows"):
        prepare(tiny, "fox", 0, source=source)
