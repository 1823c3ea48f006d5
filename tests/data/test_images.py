"""Pictures of every kind become the pixels one would see; what is no picture becomes a reason."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from openimagen.data.images import load, square, to_float, to_pil, to_tensor

Array = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]


def noise(*shape: int) -> Array:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def saved(tmp_path: Path, image: Image.Image, name: str = "a.png", **options: object) -> Path:
    image.save(tmp_path / name, **options)
    return tmp_path / name


def pixels(path: Path) -> Array:
    image = load(path)
    assert image.mode == "RGB"
    return np.asarray(image)


def over_white(colour: Array, alpha: Array) -> Array:
    exact = (colour * (alpha / 255.0)[..., None]) + 255 - alpha[..., None]
    return np.floor(exact + 0.5).astype(np.uint8)


# --- load -----------------------------------------------------------------------------------------


def test_rgb_comes_back_to_the_bit(tmp_path: Path) -> None:
    colour = noise(5, 7, 3)
    assert np.array_equal(pixels(saved(tmp_path, Image.fromarray(colour))), colour)


def test_alpha_is_composited_on_white_exactly(tmp_path: Path) -> None:
    grey, alpha = np.meshgrid(np.arange(256), np.arange(256))  # every pair of values
    picture = np.stack([grey, grey, 255 - grey, alpha], axis=-1).astype(np.uint8)
    path = saved(tmp_path, Image.fromarray(picture, "RGBA"))
    assert np.array_equal(pixels(path), over_white(picture[..., :3], picture[..., 3]))


@pytest.mark.parametrize("mode", ["LA", "P", "L", "RGB"])
def test_other_kinds_of_transparency_show_white(tmp_path: Path, mode: str) -> None:
    image = Image.new("RGBA", (2, 1), (0, 0, 0, 255))
    image.putpixel((1, 0), (40, 40, 40, 0))
    if mode in ("LA", "P"):
        path = saved(tmp_path, image.convert(mode))
    else:  # one colour stands for "nothing here"
        clear = 40 if mode == "L" else (40, 40, 40)
        path = saved(tmp_path, image.convert("RGB").convert(mode), transparency=clear)
    assert pixels(path).tolist() == [[[0, 0, 0], [255, 255, 255]]]


def test_palette_grey_and_bilevel(tmp_path: Path) -> None:
    red = Image.new("RGB", (4, 4), (255, 0, 0))
    assert pixels(saved(tmp_path, red.convert("P")))[0, 0].tolist() == [255, 0, 0]
    assert pixels(saved(tmp_path, Image.new("L", (4, 4), 77)))[0, 0].tolist() == [77] * 3
    assert pixels(saved(tmp_path, Image.new("1", (4, 4), 1)))[0, 0].tolist() == [255] * 3


def test_cmyk(tmp_path: Path) -> None:
    cyan = Image.new("CMYK", (8, 8), (255, 0, 0, 0))
    shown = pixels(saved(tmp_path, cyan, "a.jpg", quality=100)).astype(int)
    assert np.abs(shown - [0, 255, 255]).max() <= 3


def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path) -> None:
    grey = np.array([[0, 128, 129, 257 * 100, 65535]], dtype=np.uint16)
    for name in ("a.png", "a.tif"):
        shown = pixels(saved(tmp_path, Image.fromarray(grey), name))
        assert shown[0, :, 0].tolist() == [0, 0, 1, 100, 255]


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png"])
def test_an_animation_shows_its_first_frame(tmp_path: Path, name: str) -> None:
    first, second = Image.new("RGB", (8, 8), (255, 0, 0)), Image.new("RGB", (8, 8), (0, 0, 255))
    lossless = {"lossless": True} if name == "a.webp" else {}
    path = saved(tmp_path, first, name, save_all=True, append_images=[second], **lossless)
    assert pixels(path)[4, 4].tolist() == [255, 0, 0]


def test_a_turned_photograph_is_set_upright(tmp_path: Path) -> None:
    image = Image.new("RGB", (8, 4))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by 90 degrees
    path = saved(tmp_path, image, "a.jpg", exif=exif)
    assert load(path).size == (4, 8)


def test_what_is_no_picture_is_a_named_reason(tmp_path: Path) -> None:
    whole = saved(tmp_path, Image.fromarray(noise(64, 64, 3)), "whole.png").read_bytes()
    contents = {"cut.png": whole[: len(whole) // 2], "none.png": b"", "text.jpg": b"no picture"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    saved(tmp_path, Image.new("F", (2, 2)), "float.tif")
    for name in (*contents, "float.tif", "missing.png"):
        with pytest.raises(ValueError, match=name) as caught:
            load(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.new("1", (3000, 3000)))
    path.write_bytes(path.read_bytes()[:60])  # so decoding would fail for another reason
    with pytest.raises(ValueError, match="over 1000000 pixels"):
        load(path, max_pixels=1_000_000)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")  # as pytest resets it
@pytest.mark.parametrize("side", [10_000, 20_000])
def test_a_bomb_is_refused_by_default(tmp_path: Path, side: int) -> None:
    """In the same words where Pillow would warn and where it would refuse."""
    huge = saved(tmp_path, Image.new("1", (side, side)))
    with pytest.raises(ValueError, match=f"^{huge}: over 89478485 pixels: "):
        load(huge)


def test_pillow_says_nothing_of_bombs_beside(tmp_path: Path) -> None:
    huge = saved(tmp_path, Image.new("1", (10_000, 10_000)))
    script = f"from openimagen.data.images import load; load(open({str(huge)!r}, 'rb').read())"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert "Warning" not in done.stderr and done.stderr.endswith("pixels: 10000 x 10000\n")


# --- square ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [1, 2, 3, 4, 16])
def test_a_whole_factor_is_the_mean_of_areas(factor: int) -> None:
    image = Image.fromarray(noise(8 * factor, 8 * factor, 3))
    blocks = np.asarray(image, dtype=float).reshape(8, factor, 8, factor, 3)
    error = np.asarray(square(image, 8)) - blocks.mean(axis=(1, 3))
    assert np.abs(error).max() < 0.56  # rounded; Pillow's thirds are a little off


def test_the_low_resolution_pair_of_a_crop_is_the_crop_of_the_pair() -> None:
    image = Image.fromarray(noise(64, 64, 3))
    crop = image.crop((12, 20, 44, 52))
    assert np.array_equal(np.asarray(square(crop, 8)), np.asarray(square(image, 16))[5:13, 3:11])


def test_the_centre_is_kept() -> None:
    image = Image.new("RGB", (30, 10), (255, 0, 0))
    image.paste((0, 255, 0), (10, 0, 20, 10))
    for side in (5, 10, 7, 20):  # average, as it is, Lanczos down, Lanczos up
        for turned in (image, image.transpose(Image.Transpose.ROTATE_90)):
            shown = square(turned, side)
            assert shown.size == (side, side)
            assert np.asarray(shown).reshape(-1, 3).tolist() == [[0, 255, 0]] * side**2


def test_other_factors_are_antialiased() -> None:
    stripes = np.zeros((99, 99, 3), dtype=np.uint8)
    stripes[:, ::2] = 255  # finer than the result can show
    middle = np.asarray(square(Image.fromarray(stripes), 20))[5:15, 5:15]
    assert np.abs(middle.astype(int) - 128).max() < 25


# --- tensors --------------------------------------------------------------------------------------


def test_tensor_float_and_back() -> None:
    image = Image.fromarray(noise(5, 7, 3))
    tensor = to_tensor(image)
    assert (tensor.shape, tensor.dtype) == ((3, 5, 7), torch.uint8)
    assert tensor[:, 2, 3].tolist() == list(image.getpixel((3, 2)))
    assert np.array_equal(np.asarray(to_pil(to_float(tensor))), np.asarray(image))


def test_float_covers_minus_one_to_one() -> None:
    ends = torch.tensor([0, 255], dtype=torch.uint8).expand(2, 3, 1, 2)
    assert to_float(ends).unique().tolist() == [-1, 1]


def test_to_pil_rounds_and_clips() -> None:
    values = torch.tensor([-9.0, -1 + 0.6 / 127.5, 1 - 0.6 / 127.5, 9.0])
    shown = np.asarray(to_pil(values.expand(3, 1, 4)))
    assert shown[0, :, 0].tolist() == [0, 1, 254, 255]
