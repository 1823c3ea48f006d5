"""The watermark: read back after what happens to pictures, unseen, and never invented."""

import io
import itertools
from collections.abc import Callable
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageEnhance

from openimagen import Imagen
from openimagen.door import Safety
from openimagen.safety import error_correction
from openimagen.safety.transforms import cosines, dithered, enlarged, haar
from openimagen.safety.watermark import (
    SMALLEST,
    Mark,
    can_carry,
    cell_of,
    embed,
    model_number,
    read,
    seed_number,
)

MARK = Mark(model_number("emoji"), seed_number(7))
Attack = Callable[[Image.Image], Image.Image]


@cache
def picture(size: int) -> Image.Image:
    """What the shipped model draws, as it draws it."""
    safety = Safety(watermark=False, picture_filter=False, credentials=False)
    drawn = Imagen.from_pretrained("emoji", safety=safety)("red apple", seed=7, size=size)[0]
    assert isinstance(drawn, Image.Image)
    return drawn


@cache
def graded(size: int) -> Image.Image:
    """A sky: slowly from one colour to another."""
    across = Image.linear_gradient("L").resize((size, size))
    return Image.merge("RGB", [across.point(lambda v, k=k: 60 + k + v // 3) for k in (0, 40, 90)])


@cache
def plain(size: int) -> Image.Image:
    """A ground of one colour."""
    return Image.new("RGB", (size, size), (90, 140, 200))


@cache
def flat(size: int) -> Image.Image:
    """The hardest: two plain shapes on white."""
    image = Image.new("RGB", (size, size), "white")
    pen = ImageDraw.Draw(image)
    pen.ellipse((size // 8, size // 8, size // 2, size // 2), fill=(230, 40, 60))
    pen.rectangle((size // 2, size // 2, 7 * size // 8, 7 * size // 8), fill=(40, 90, 210))
    return image


def saved(form: str, quality: int) -> Attack:
    def attack(image: Image.Image) -> Image.Image:
        buffer = io.BytesIO()
        image.save(buffer, form, quality=quality)
        return Image.open(buffer)

    return attack


def half(image: Image.Image) -> Image.Image:
    return image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS)


def cropped(image: Image.Image) -> Image.Image:
    left, top = image.width // 20 + 3, image.height // 20 + 1
    return image.crop((left, top, image.width - left, image.height - top))


ATTACKS: dict[str, Attack] = {
    "none": lambda image: image,
    "jpeg": saved("JPEG", 75),
    "webp": saved("WEBP", 75),
    "half": half,
    "there and back": lambda image: half(image).resize(image.size, Image.Resampling.BICUBIC),
    "cropped": cropped,
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.8),
    "paler": lambda image: ImageEnhance.Contrast(image).enhance(0.8),
    "harder": lambda image: ImageEnhance.Contrast(image).enhance(1.2),
    "half, jpeg": lambda image: saved("JPEG", 75)(half(image)),
    "cropped, jpeg": lambda image: saved("JPEG", 75)(cropped(image)),
}


def psnr(one: Image.Image, other: Image.Image) -> float:
    error = np.mean((np.asarray(one, float) - np.asarray(other, float)) ** 2)
    return float(10 * np.log10(255**2 / error))


# --- what it survives -----------------------------------------------------------------------------


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("size", [1024, 256])
def test_the_mark_outlives_what_happens_to_pictures(size: int, attack: str) -> None:
    assert read(ATTACKS[attack](embed(picture(size), MARK))) == MARK


@pytest.mark.parametrize("attack", ["none", "jpeg", "half", "cropped", "darker"])
def test_it_holds_in_plain_shapes_on_white(attack: str) -> None:
    assert read(ATTACKS[attack](embed(flat(1024), MARK))) == MARK


@pytest.mark.parametrize(
    "shape", [(256, 256), (300, 257), (1024, 640), (512, 1000), (777, 999), (2048, 2100)]
)
def test_any_shape_that_is_large_enough_carries_it(shape: tuple[int, int]) -> None:
    image = picture(1024).resize(shape)
    marked = embed(image, MARK)
    assert marked.size == shape and read(marked) == MARK


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF))
def test_whatever_it_says_is_read(model: int, seed: int) -> None:
    assert read(embed(picture(256), Mark(model, seed))) == Mark(model, seed)


# --- what it costs --------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [picture, flat])
@pytest.mark.parametrize("size", [1024, 256])
def test_it_is_not_seen(make: Callable[[int], Image.Image], size: int) -> None:
    image = make(size)
    marked = embed(image, MARK)
    assert psnr(image, marked) >= 42
    assert np.abs(change_of(image)).max() <= 4
    assert marked.tobytes() == embed(image, MARK).tobytes() != image.tobytes()


def change_of(image: Image.Image) -> npt.NDArray[np.int64]:
    """What marking adds to each pixel, [h w 3]."""
    return np.asarray(embed(image, MARK), np.int64) - np.asarray(image, np.int64)


SMOOTH = pytest.mark.parametrize("make", [plain, graded])


@SMOOTH
@pytest.mark.parametrize("size", [1024, 256])
def test_in_smooth_places_no_weave_is_seen(make: Callable[[int], Image.Image], size: int) -> None:
    """The steps from pixel to pixel are the same everywhere: not higher where samples meet."""
    change, samples = change_of(make(size))[..., 1], cell_of((size, size)) // 8
    for steps in (np.diff(change, axis=1), np.diff(change.T, axis=1)):
        heights = np.abs(steps).mean(0)
        where = np.arange(size - 1) % samples
        by_place = [heights[where == place].mean() for place in range(samples)]
        assert max(by_place) < 1.1 * min(by_place)


@SMOOTH
def test_in_smooth_places_no_cell_ends_in_a_step(make: Callable[[int], Image.Image]) -> None:
    """What the eye makes of the dither, means of 4 by 4, goes on softly, also across cells."""
    means = change_of(make(1024))[..., 1].reshape(256, 4, 256, 4).mean((1, 3))
    for steps in (np.abs(np.diff(means, axis=1)), np.abs(np.diff(means.T, axis=1))):
        assert np.quantile(steps, 0.99) < 1
        borders = np.arange(255) % 8 == 7
        assert steps[:, borders].mean() < 1.4 * steps[:, ~borders].mean()


def test_what_is_drawn_changes_less_than_half_a_level() -> None:
    change = change_of(picture(1024))[..., 1].reshape(256, 4, 256, 4).mean((1, 3))
    assert np.sqrt(np.mean(change**2)) < 0.5


def test_white_ground_stays_white() -> None:
    image = flat(1024)
    marked = np.asarray(embed(image, MARK))
    corner = np.asarray(image)[:100, :100]
    assert (corner == 255).all() and (marked[:100, :100] == 255).all()


def test_alpha_and_what_it_hides_stay_as_they_are() -> None:
    image = picture(256).convert("RGBA")
    alpha = Image.radial_gradient("L").resize((256, 256))
    alpha.paste(0, (0, 0, 80, 256))
    image.putalpha(alpha)
    before, after = np.asarray(image), np.asarray(embed(image, MARK))
    assert (before[..., 3] == after[..., 3]).all()
    assert (before[:, :80] == after[:, :80]).all() and (before != after).any()


def test_a_small_picture_is_left_alone() -> None:
    assert can_carry((SMALLEST, 4000)) and not can_carry((SMALLEST - 1, 4000))
    image = picture(64)
    assert embed(image, MARK).tobytes() == image.tobytes()
    with pytest.raises(ValueError, match="is RGB or RGBA, not L: convert it first"):
        embed(Image.new("L", (256, 256)), MARK)


# --- what has none --------------------------------------------------------------------------------


def test_clean_pictures_have_none() -> None:
    rng = np.random.default_rng(0)
    clean = [
        picture(1024),
        picture(256),
        flat(1024),
        flat(256),
        Image.new("RGB", (512, 512), "white"),
        Image.linear_gradient("L").resize((400, 300)),
        *(Image.fromarray(rng.integers(0, 256, (256, 256, 3), np.uint8)) for _ in range(8)),
    ]
    views = itertools.product(clean, [ATTACKS[name] for name in ("none", "cropped")])
    assert [read(attack(image)) for image, attack in views] == [None] * 2 * len(clean)


@pytest.mark.parametrize(
    "image",
    [
        Image.new("RGB", (1, 1)),
        Image.new("1", (300, 300)),
        Image.new("P", (300, 300)),
        Image.new("I;16", (300, 300)),
        Image.new("F", (300, 300), float("nan")),
        Image.new("CMYK", (300, 300)),
        Image.new("LA", (300, 300)),
        Image.new("RGBA", (300, 300)).convert("RGBa"),
        Image.new("LA", (300, 300)).convert("La"),
        Image.new("RGB", (30_000, 110)),
    ],
    ids=lambda image: f"{image.mode} {image.size}",
)
def test_reading_never_fails(image: Image.Image) -> None:
    assert read(image) is None


# --- its parts ------------------------------------------------------------------------------------


@given(st.integers(0, 2**32 - 1), st.data())
@settings(max_examples=40, deadline=None)
def test_three_wrong_chips_of_each_word_are_set_right(value: int, data: st.DataObject) -> None:
    chips = error_correction.encode(value).copy()
    for word in range(5):
        for place in data.draw(st.sets(st.integers(0, 23), max_size=3)):
            chips[24 * word + place] *= -1
    assert error_correction.decode(chips) == value


def test_words_differ_in_eight_chips_at_least() -> None:
    words = error_correction.codebook()
    differing = (24 - words[:64] @ words.T) / 2
    differing[np.arange(64), np.arange(64)] = 24
    assert differing.min() == 8


def test_noise_is_no_message() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(2000, 120)).astype(np.float32)
    assert [error_correction.decode(row) for row in noise] == [None] * 2000


def test_wavelets_and_cosines_keep_what_there_is() -> None:
    plane = np.random.default_rng(0).normal(size=(16, 24)).astype(np.float32)
    assert sum(np.sum(band**2) for band in haar(plane)) == pytest.approx(np.sum(plane**2))
    np.testing.assert_allclose(cosines(8) @ cosines(8).T, np.eye(8), atol=1e-6)


def test_large_and_whole_the_change_is_what_it_was() -> None:
    across = np.sin(np.arange(64) / 3).astype(np.float32)
    plane = across + across[:, None]
    large = enlarged(plane, 4)
    np.testing.assert_allclose(large.reshape(64, 4, 64, 4).mean((1, 3)), plane, atol=0.02)
    level = dithered(np.full((64, 64), 0.3, np.float32))
    assert level.mean() == pytest.approx(0.3, abs=0.01) and set(level.ravel()) == {0, 1}


def test_numbers_are_hashes_that_stay() -> None:
    assert (model_number("emoji"), seed_number(7)) == (model_number("emoji"), seed_number(7))
    assert len({seed_number(seed) for seed in range(500)}) > 490
    assert all(0 <= seed_number(seed) < 2**16 for seed in range(100))
