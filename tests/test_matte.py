"""A thing on a plain ground comes off it with the alpha it was put there with."""

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from openimagen.matte import cut_out

SIDE = 256
WHITE, BLUE = (255, 255, 255), (40, 90, 200)


def thing(ink: tuple[int, int, int] = (210, 40, 40), side: int = SIDE) -> Image.Image:
    """A disc with a white eye and a dark bar that sticks out of it, on nothing, smooth-edged."""
    big = Image.new("RGBA", (4 * side, 4 * side), (*ink, 0))
    pen, unit = ImageDraw.Draw(big), side // 16
    pen.ellipse((12 * unit, 12 * unit, 48 * unit, 48 * unit), (*ink, 255))
    pen.ellipse((20 * unit, 20 * unit, 28 * unit, 28 * unit), (255, 255, 255, 255))
    pen.rectangle((44 * unit, 28 * unit, 58 * unit, 32 * unit), (20, 20, 30, 255))
    return big.reduce(4)


def on(ground: tuple[int, int, int], image: Image.Image) -> Image.Image:
    page = Image.new("RGBA", image.size, ground)
    page.alpha_composite(image)
    return page.convert("RGB")


def levels(image: Image.Image) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    return np.asarray(image).astype(np.int64)


@pytest.mark.parametrize("ground", [WHITE, (255, 240, 200), (70, 78, 96), BLUE])
@pytest.mark.parametrize("side", [64, 256, 512])
def test_alpha_is_what_it_was(ground: tuple[int, int, int], side: int) -> None:
    true = thing(side=side)
    found = cut_out(on(ground, true))
    assert (found.mode, found.size) == ("RGBA", true.size)
    away = np.abs(levels(found)[..., 3] - levels(true)[..., 3])
    assert away.mean() < 255 * 0.004
    assert ((levels(found)[..., 3] > 127) == (levels(true)[..., 3] > 127)).mean() > 0.995


def test_put_on_its_own_ground_it_is_the_picture_again() -> None:
    page = on(WHITE, thing())
    assert np.abs(levels(on(WHITE, cut_out(page))) - levels(page)).max() <= 12


@pytest.mark.parametrize("other", [(0, 0, 0), BLUE])
def test_no_halo_is_left_on_another_ground(other: tuple[int, int, int]) -> None:
    true = thing()
    found, wanted = levels(on(other, cut_out(on(WHITE, true)))), levels(on(other, true))
    edge = (levels(true)[..., 3] > 5) & (levels(true)[..., 3] < 250)
    plain = np.dstack([levels(on(WHITE, true)), 255 * (levels(true)[..., 3] > 127)])
    kept = levels(on(other, Image.fromarray(plain.astype(np.uint8), "RGBA")))
    ours, theirs = (np.abs(each - wanted).max(2)[edge].mean() for each in (found, kept))
    assert ours < 0.3 * theirs


def test_white_inside_stays_and_a_white_thing_with_a_line_around_it_too() -> None:
    found = levels(cut_out(on(WHITE, thing())))
    assert found[6 * 16, 6 * 16].tolist() == [255, 255, 255, 255]
    ring = Image.new("RGB", (SIDE, SIDE), "white")
    ImageDraw.Draw(ring).ellipse((40, 40, 200, 200), "white", "black", 6)
    assert levels(cut_out(ring))[120, 120, 3] == 255
    assert levels(cut_out(ring))[5, 5, 3] == 0


def test_a_pale_thing_with_no_line_around_it_stays_whole_and_thin_haze_goes() -> None:
    page = Image.new("RGB", (SIDE, SIDE), (254, 254, 253))
    pen = ImageDraw.Draw(page)
    pen.ellipse((60, 40, 200, 200), (238, 238, 242))
    pen.rectangle((20, 230, 235, 236), (246, 246, 248))
    wavering = levels(page) + np.random.default_rng(0).normal(0, 0.8, (SIDE, SIDE, 3))
    drawn = Image.fromarray(wavering.round().clip(0, 255).astype(np.uint8))
    alpha = levels(cut_out(drawn))[..., 3]
    body = Image.new("L", (SIDE, SIDE))
    ImageDraw.Draw(body).ellipse((68, 48, 192, 192), 255)
    assert (alpha[np.asarray(body) > 0] == 255).mean() > 0.99
    assert alpha[225:].max() == 0


def test_noise_and_softness_of_a_drawn_picture_leave_no_specks() -> None:
    true = thing()
    soft = levels(on(WHITE, true).filter(ImageFilter.GaussianBlur(0.8)))
    noisy = soft + np.random.default_rng(0).normal(0, 4, soft.shape)
    found = levels(cut_out(Image.fromarray(noisy.clip(0, 255).astype(np.uint8))))[..., 3]
    outside = np.asarray(true.getchannel("A").filter(ImageFilter.MaxFilter(15))) == 0
    assert found[outside].max() == 0
    inside = np.asarray(true.getchannel("A").filter(ImageFilter.MinFilter(15))) == 255
    assert found[inside].min() == 255


def test_a_thing_at_the_edge_of_the_page_is_cut_out_all_the_same() -> None:
    page = Image.new("RGB", (SIDE, SIDE), "white")
    ImageDraw.Draw(page).rectangle((100, 150, 180, 255), (30, 120, 60))
    alpha = levels(cut_out(page))[..., 3]
    assert alpha[200, 140] == 255 and alpha[254, 140] == 255 and alpha[254, 20] == 0


def test_it_does_not_change_what_it_is_given_and_says_the_same_again() -> None:
    page = on(WHITE, thing())
    before = page.tobytes()
    assert cut_out(page).tobytes() == cut_out(page).tobytes()
    assert page.tobytes() == before


def test_a_picture_without_a_plain_ground_is_refused() -> None:
    ramp = Image.linear_gradient("L").convert("RGB")
    with pytest.raises(ValueError, match=r'no plain ground .* ask for one, as in "on a white back'):
        cut_out(ramp)
