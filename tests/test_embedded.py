"""The model that ships: it is whole, small enough, and draws what it is asked for."""

import numpy as np
import pytest

from openimagen import Imagen
from openimagen.model_folder import find_model, read_model_file


@pytest.fixture(scope="module")
def imagen() -> Imagen:
    return Imagen.from_pretrained("emoji", device="cpu")


def colour(imagen: Imagen, prompt: str) -> np.ndarray:
    """Mean colour, red green blue in [0, 1], of where four 64-pixel pictures are not white."""
    drawn = imagen(prompt, seed=0, num_images_per_prompt=4, size=64, output_type="np")
    pixels = np.concatenate([image.reshape(-1, 3) for image in drawn.images])
    inked = pixels[pixels.min(axis=1) < 0.85]
    return np.asarray(inked.mean(axis=0))


def test_colours_follow_the_prompt(imagen: Imagen) -> None:
    red, green = colour(imagen, "red heart"), colour(imagen, "green heart")
    assert red[0] > red[1] + 0.2
    assert green[1] > green[0] + 0.1


def test_all_three_stages_draw_the_same_picture(imagen: Imagen) -> None:
    stages = imagen("red apple", seed=1, output_type="np").stages
    pictures = [pictures[0] for pictures in stages.values()]
    assert [picture.shape for picture in pictures] == [(s, s, 3) for s in (64, 256, 1024)]
    small = [
        picture.reshape(64, p, 64, p, 3).mean(axis=(1, 3))
        for picture, p in zip(pictures, (1, 4, 16), strict=True)
    ]
    assert np.abs(small[0] - small[1]).mean() < 0.04
    assert np.abs(small[1] - small[2]).mean() < 0.02


def test_its_card_and_licences_come_with_it() -> None:
    folder = find_model("emoji")
    assert (folder / "MODEL_CARD.md").is_file()
    assert read_model_file(folder).model.licence
    weights = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    assert weights <= 26e6
