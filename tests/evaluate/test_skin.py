"""Skin tones: closed forms of the colour space, the scale against itself, what is no skin."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from openimagen.evaluate.skin import MONK, SIDE, lab, lightness, tones, tones_of


def colours(*names: str) -> np.ndarray:
    return np.array([[*bytes.fromhex(name)] for name in names], np.float64)


def figure(colour: str, side: int = 256) -> Image.Image:
    """A disc on white."""
    image = Image.new("RGB", (side, side), "white")
    ImageDraw.Draw(image).ellipse((side // 4, side // 4, 3 * side // 4, 3 * side // 4), colour)
    return image


def test_lab_of_known_colours() -> None:
    found = lab(colours("ffffff", "000000", "ff0000", "777777"))
    published = [(100, 0, 0), (0, 0, 0), (53.24, 80.09, 67.20), (50.03, 0, 0)]
    assert found == pytest.approx(np.array(published), abs=0.02)


def test_swatches_are_their_own_tones() -> None:
    assert tones(colours(*MONK)) == pytest.approx(range(1, 11))


def test_between_two_swatches_is_between_their_tones() -> None:
    middle = (colours("d7bd96") + colours("a07e56")) / 2
    assert 5.3 < tones(middle)[0] < 5.7


def test_tones_of_the_emoji_modifiers_rise() -> None:
    """Fitzpatrick's five, as emoji have them."""
    found = tones(colours("f7dece", "f3d2a2", "d5ab88", "af7e57", "7c533e"))
    assert (np.diff(found) > 0.3).all()


@pytest.mark.parametrize("no_skin", ["ffffff", "fffdf5", "222222", "000000", "ffc83d", "ff0000"])
def test_white_grey_and_bright_colours_are_no_skin(no_skin: str) -> None:
    assert np.isnan(tones(colours(no_skin)))


@pytest.mark.parametrize("tone", [1, 4, 7, 10])
def test_a_picture_has_the_tone_of_its_figure(tone: int) -> None:
    found = tones_of(figure(f"#{MONK[tone - 1]}"))
    assert np.nanmedian(found) == pytest.approx(tone, abs=0.3)
    assert np.isfinite(found).mean() == pytest.approx(np.pi / 16, rel=0.2)  # of the disc


def test_the_pale_rim_of_a_yellow_disc_is_no_skin() -> None:
    assert not np.isfinite(tones_of(figure("#ffc83d", SIDE * 3))).any()


def test_lightness_is_the_mean_over_the_picture() -> None:
    image = Image.new("RGB", (SIDE, SIDE), "white")
    image.paste("black", (0, 0, SIDE // 2, SIDE))
    assert lightness(image) == pytest.approx(50, abs=0.1)
