"""The model that ships: it is whole, small enough, and draws what it is asked for."""

import numpy as np
import pytest

from openimagen import Imagen, recipes
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


def test_all_three_stages_draw_the_same_picture_in_the_same_colours(imagen: Imagen) -> None:
    stages = imagen(["red apple", "a purple banana", "rocket"], seed=1, output_type="np").stages
    assert [np.shape(pictures) for pictures in stages.values()] == [
        (3, side, side, 3) for side in (64, 256, 1024)
    ]
    for pictures in zip(*stages.values(), strict=True):
        small = [
            picture.reshape(64, p, 64, p, 3).mean(axis=(1, 3))
            for picture, p in zip(pictures, (1, 4, 16), strict=True)
        ]
        assert np.abs(small[0] - small[1]).mean() < 0.04
        assert np.abs(small[1] - small[2]).mean() < 0.02
        for statistic in (np.mean, np.std):
            drift = [np.abs(statistic(p, (0, 1)) - statistic(small[0], (0, 1))) for p in pictures]
            assert np.max(drift) < 0.01


def test_an_icon_off_its_ground_has_a_clear_edge(imagen: Imagen) -> None:
    (icon,) = imagen("red apple", seed=1, size=256, transparent=True).images
    alpha = np.asarray(icon)[..., 3]
    corners = [alpha[y, x] for y in (0, -1) for x in (0, -1)]
    assert corners == [0] * 4 and alpha[128, 128] == 255
    assert 0.2 < (alpha == 0).mean() < 0.8 and ((alpha > 0) & (alpha < 255)).mean() < 0.1


def test_it_is_of_the_recipe() -> None:
    """So that `--init emoji` goes on from it."""
    assert read_model_file(find_model("emoji")).model == recipes.load("emoji").model


def test_its_card_and_licences_come_with_it() -> None:
    folder = find_model("emoji")
    assert (folder / "MODEL_CARD.md").is_file()
    assert read_model_file(folder).model.licence
    weights = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    assert weights <= 26e6
