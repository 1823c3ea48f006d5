"""`Output.save`: files that say what made them, one for each picture; and calls that are wrong."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from openimagen.cascade import Cascade
from openimagen.imagen import Imagen
from openimagen.verify import verify


@pytest.fixture
def imagen(tiny: Cascade) -> Imagen:
    return Imagen(tiny)


@pytest.mark.parametrize(("suffix", "kind"), [("png", "PNG"), ("jpg", "JPEG"), ("webp", "WEBP")])
def test_a_saved_picture_says_what_made_it(
    imagen: Imagen, tmp_path: Path, suffix: str, kind: str
) -> None:
    out = imagen("a fox", seed=0)
    out.save(tmp_path / f"fox.{suffix}")
    found = verify(tmp_path / f"fox.{suffix}").credentials
    assert (found.status, found.model, found.edited) == ("untrusted", "tiny", False)
    with Image.open(tmp_path / f"fox.{suffix}") as picture:
        assert picture.format == kind
        if kind == "PNG":
            assert picture.tobytes() == out[0].tobytes()
    with pytest.raises(ValueError, match="pictures are written as"):
        out.save(tmp_path / "fox.bmp")


def test_an_edited_picture_says_so(imagen: Imagen, tmp_path: Path) -> None:
    imagen.edit(Image.new("RGB", (64, 64), "grey"), "fox", seed=0).save(tmp_path / "fox.png")
    assert verify(tmp_path / "fox.png").credentials.edited


def test_each_of_several_pictures_is_written(imagen: Imagen, tmp_path: Path) -> None:
    out = imagen(["a fox", "a dog"], seed=0, num_images_per_prompt=2)
    out.save(tmp_path / "new" / "fox.png")
    names = ["fox.png", "fox-2.png", "fox-3.png", "fox-4.png"]
    for name, picture in zip(names, out.images, strict=True):
        with Image.open(tmp_path / "new" / name) as written:
            assert written.tobytes() == picture.tobytes()
    out.save(tmp_path / "one" / "dog.png", 2)
    assert [file.name for file in (tmp_path / "one").iterdir()] == ["dog.png"]


def test_the_others_are_written_before_a_withheld_one_is_told(
    imagen: Imagen, tmp_path: Path
) -> None:
    out = imagen(["a nude woman", "a fox"], seed=0, size=16)
    with pytest.raises(ValueError, match="there is no picture 0: "):
        out.save(tmp_path / "fox.png")
    assert [file.name for file in tmp_path.glob("*.png")] == ["fox-2.png"]


WRONG = """
from PIL import Image
from openimagen.editing import Source
from openimagen.imagen import check_prompts, choose_seeds
picture = Image.new("RGB", (8, 8))
for call in (
    lambda: check_prompts(None), lambda: check_prompts(["a fox", 7]),
    lambda: choose_seeds("7", 1, None), lambda: choose_seeds([1, 1.5], 2, None),
    lambda: Source("apple.png"), lambda: Source(picture, "mask.png"),
):
    try:
        call()
    except TypeError as error:
        print(error)
"""


def test_a_value_of_a_wrong_type_is_told_what_it_should_be() -> None:
    """In a process without the tests' own type checks, which would speak first."""
    done = subprocess.run([sys.executable, "-c", WRONG], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "a prompt is text, or a list of texts, not None",
        "a prompt is text, or a list of texts, not ['a fox', 7]",
        "a seed is a whole number, or a list of them, not '7'",
        "a seed is a whole number, or a list of them, not [1, 1.5]",
        "'apple.png' is no picture: give PIL.Image.open(FILE)",
        "'mask.png' is no picture: give PIL.Image.open(FILE)",
    ]
