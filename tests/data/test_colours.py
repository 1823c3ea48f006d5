"""Colour words: what is painted in a colour is called by it, and nothing else changes."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from openimagen.data.colours import COLOURS, NAMES, colour_numbers, paint, paintable


def ball(colour: tuple[int, int, int]) -> Image.Image:
    """Shaded from bright to dark, with a leaf of another colour."""
    image = Image.new("RGBA", (48, 48))
    pen = ImageDraw.Draw(image)
    for step in range(16):
        shade = tuple(int(level * (0.6 + 0.4 * step / 15)) for level in colour)
        pen.ellipse((4 + step, 8 + step, 43 - step, 47 - step), shade)
    pen.rectangle((22, 0, 30, 6), (30, 120, 200) if colour[2] < 100 else (200, 60, 30))
    return image


def words(image: Image.Image) -> list[str]:
    """The colour words of what an RGBA picture shows, the most frequent first."""
    numbers = colour_numbers(image.convert("RGB"))[np.asarray(image.getchannel("A")) > 127]
    counts = np.bincount(numbers, minlength=len(NAMES))
    return [NAMES[number] for number in counts.argsort()[::-1] if counts[number]]


@pytest.mark.parametrize("own", [(230, 40, 40), (60, 150, 60), (240, 210, 60), (170, 170, 175)])
@pytest.mark.parametrize("colour", COLOURS)
def test_what_is_painted_has_that_colour(own: tuple[int, int, int], colour: str) -> None:
    painted = paint(ball(own), colour)
    assert words(painted)[0] == colour
    assert painted.getchannel("A").tobytes() == ball(own).getchannel("A").tobytes()


def test_small_parts_keep_their_colour_and_the_rest_its_shade() -> None:
    plain, painted = ball((230, 40, 40)), paint(ball((230, 40, 40)), "green")
    assert painted.getpixel((26, 3)) == pytest.approx(plain.getpixel((26, 3)), abs=3)
    light = [painted.convert("HSV").getpixel((24, y))[2] for y in (10, 27)]
    assert light[0] < light[1] - 20


@pytest.mark.parametrize("own", [(230, 40, 40), (40, 60, 230)])
@pytest.mark.parametrize("into", [(230, 230, 230), (40, 10, 10), (200, 220, 40)])
def test_where_a_colour_fades_so_does_the_paint(
    own: tuple[int, int, int], into: tuple[int, int, int]
) -> None:
    slope = np.linspace(own, into, 256)[None].repeat(8, 0)
    plain = Image.fromarray(slope.round().astype(np.uint8)).convert("RGBA")
    painted = np.asarray(paint(plain, "green").convert("RGB")).astype(float)
    assert (painted[:, 0] != np.asarray(plain)[:, 0, :3]).any()
    assert np.abs(np.diff(painted, axis=1)).max() < 40


@pytest.mark.parametrize(
    ("levels", "name"),
    [
        ((220, 30, 30), "red"), ((250, 140, 30), "orange"), ((250, 220, 50), "yellow"),
        ((40, 160, 60), "green"), ((40, 90, 220), "blue"), ((130, 60, 190), "purple"),
        ((250, 150, 190), "pink"), ((110, 65, 35), "brown"), ((15, 15, 18), "black"),
        ((245, 245, 245), "white"), ((130, 130, 130), "grey"),
    ],
)  # fmt: skip
def test_plain_colours_have_their_names(levels: tuple[int, int, int], name: str) -> None:
    assert NAMES[colour_numbers(Image.new("RGB", (1, 1), levels))[0, 0]] == name


def test_one_colour_is_paintable_a_motley_is_not() -> None:
    assert paintable(ball((230, 40, 40))) and paintable(ball((170, 170, 175)))
    motley = ball((230, 40, 40))
    for number, colour in enumerate(((30, 90, 200), (40, 170, 60), (240, 220, 60), (90, 30, 140))):
        ImageDraw.Draw(motley).rectangle((12 * number, 8, 12 * number + 8, 47), colour)
    assert not paintable(motley)


def test_no_such_colour() -> None:
    with pytest.raises(ValueError, match="no colour 'mauve': choose from red, orange"):
        paint(ball((230, 40, 40)), "mauve")
