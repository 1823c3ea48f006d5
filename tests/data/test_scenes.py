"""Scenes are what they say: counted, coloured and placed by pixels that are known."""

import json
import random
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from openimagen.data.nouns import plural
from openimagen.data.scene_prompts import TAGS, random_scene, scene_prompts
from openimagen.data.scenes import BACKGROUNDS, Scene, Thing, compose, read_icon, read_icons

INKS = {"disc": (200, 30, 30), "block": (30, 60, 200), "slab": (20, 120, 40)}


def shape(name: str) -> Image.Image:
    image = Image.new("RGBA", (60, 30) if name == "slab" else (60, 60))
    pen = ImageDraw.Draw(image)
    (pen.ellipse if name == "disc" else pen.rectangle)((0, 0, *image.size), INKS[name])
    return image


ICONS = {name: shape(name) for name in INKS}
NAMES = [f"pan{chr(97 + number)}k" for number in range(20)]


def middle(picture: Image.Image, name: str) -> tuple[float, float] | None:
    """Where the ink of a shape lies in the mean, x and y; None if there is none."""
    levels = np.asarray(picture).astype(int)
    y, x = np.nonzero(np.abs(levels - INKS[name]).max(2) <= 20)
    return (x.mean(), y.mean()) if len(x) > 4 else None


# --- composing ------------------------------------------------------------------------------------


def test_the_same_arguments_the_same_picture() -> None:
    scene = Scene("a disc and a slab", "two_object", (Thing("disc"), Thing("slab")))
    one = compose(scene, ICONS, 64, 3)
    assert one.tobytes() == compose(scene, ICONS, 64, 3).tobytes()
    assert one.tobytes() != compose(scene, ICONS, 64, 4).tobytes()
    assert one.size == (64, 64) and one.mode == "RGB"


@pytest.mark.parametrize("count", range(1, 10))
def test_as_many_as_asked_apart_and_whole(count: int) -> None:
    from scipy import ndimage

    scene = Scene("discs", "counting", (Thing("disc", count),))
    for seed in range(6):
        levels = np.asarray(compose(scene, ICONS, 96, seed)).astype(int)
        ink = np.abs(levels - levels[0, 0]).max(2) > 40
        assert ndimage.label(ndimage.binary_dilation(ink, iterations=1))[1] == count
        edge = np.concatenate([ink[0], ink[-1], ink[:, 0], ink[:, -1]])
        assert not edge.any()


@pytest.mark.parametrize("how", ["left of", "right of", "above", "below"])
def test_the_second_thing_lies_so_to_the_first(how: str) -> None:
    scene = Scene("", "position", (Thing("disc"), Thing("block", position=(how, 0))))
    for seed in range(20):
        picture = compose(scene, ICONS, 64, seed)
        disc, block = middle(picture, "disc"), middle(picture, "block")
        assert disc is not None and block is not None
        x, y = block[0] - disc[0], block[1] - disc[1]
        along, across = (x, y) if how in ("left of", "right of") else (y, x)
        assert abs(along) > abs(across)
        assert (along < 0) == (how in ("left of", "above"))


def test_a_colour_is_painted_and_the_background_lets_it_show() -> None:
    for colour, place in (("white", 0), ("black", 9)):
        scene = Scene("", "colors", (Thing("disc", colour=colour),))
        for seed in range(12):
            picture = compose(scene, ICONS, 48, seed)
            assert picture.getpixel((0, 0)) != BACKGROUNDS[place]
            assert middle(picture, "disc") is None


def test_white_or_coloured_backgrounds() -> None:
    scene = Scene("", "single_object", (Thing("disc"),))
    seen = {compose(scene, ICONS, 32, seed).getpixel((0, 0)) for seed in range(60)}
    assert (255, 255, 255) in seen and len(seen) > 4 and seen <= set(BACKGROUNDS)


def test_it_is_cheap() -> None:
    scenes = scene_prompts(list(ICONS), 3)
    started = time.perf_counter()
    for seed, scene in enumerate(scenes):
        compose(scene, ICONS, 64, seed)
    assert (time.perf_counter() - started) / len(scenes) < 0.03  # 3 ms on an idle core


def test_what_cannot_be_composed() -> None:
    with pytest.raises(ValueError, match='"a cat": there is no icon of cat'):
        compose(Scene("a cat", "", (Thing("cat"),)), ICONS, 64)
    three = (Thing("disc", 2), Thing("slab", position=("above", 0)))
    with pytest.raises(ValueError, match="positions are composed of two things"):
        compose(Scene("", "", three), ICONS, 64)


# --- GenEval's rows -------------------------------------------------------------------------------


def test_a_row_of_genevals_file_is_a_scene_and_back() -> None:
    row = {
        "tag": "position",
        "include": [
            {"class": "chair", "count": 1},
            {"class": "cell phone", "count": 1, "color": "red", "position": ["right of", 0]},
        ],
        "exclude": [{"class": "chair", "count": 2}],
        "prompt": "a photo of a cell phone right of a chair",
    }
    scene = Scene.of_row(row)
    assert scene.include[1] == Thing("cell phone", 1, "red", ("right of", 0))
    assert scene.row() == row == json.loads(json.dumps(scene.row()))


@pytest.mark.parametrize(
    ("include", "complaint"),
    [
        (None, '"x" does not say what to include'),
        ([], '"x" does not say what to include'),
        (["cat"], "cat is no thing: give it class and count"),
        ([{"class": "cat", "count": 0}], "count 1 or more"),
        ([{"class": "cat", "count": 1, "color": "mauve"}], "no colour 'mauve': choose from red"),
        ([{"class": "cat", "count": 1, "position": ["near", 0]}], r"no position \['near', 0\]"),
        ([{"class": "cat", "count": 1, "position": ["above", 0]}], "number of a thing before it"),
    ],
)
def test_what_is_no_content(include: object, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as caught:
        Scene.of_row({"include": include, "prompt": "x"})
    assert "\n" not in str(caught.value)


# --- prompts --------------------------------------------------------------------------------------


def test_prompts_are_of_six_categories_all_different_and_a_function_of_the_seed() -> None:
    scenes = scene_prompts(NAMES, 15, seed=1, coloured=NAMES[:5])
    assert scenes == scene_prompts(NAMES, 15, seed=1, coloured=NAMES[:5])
    assert scenes != scene_prompts(NAMES, 15, seed=2, coloured=NAMES[:5])
    assert [scene.tag for scene in scenes] == [tag for tag in TAGS for _ in range(15)]
    assert len({scene.caption for scene in scenes}) == len(scenes)
    painted = {each.name for s in scenes for each in s.include if each.colour}
    assert painted <= set(NAMES[:5])


def test_what_a_caption_says_is_what_is_included() -> None:
    numbers = {"two": 2, "three": 3, "four": 4}
    for scene in scene_prompts(NAMES, 12, start="a photo of "):
        words = scene.caption.removeprefix("a photo of ").split()
        one, other = scene.include[0], scene.include[-1]
        match scene.tag:
            case "counting":
                assert words == [words[0], f"{one.name}s"] and one.count == numbers[words[0]]
                assert scene.exclude == (Thing(one.name, one.count + 1),)
            case "position":
                how = other.position
                said = f"a {other.name} {how[0] if how else ''} a {one.name}"
                assert " ".join(words) == said and how and how[1] == 0
            case "color_attr":
                assert words[1:3] == [one.colour, one.name]
                assert words[-2:] == [other.colour, other.name] and one.colour != other.colour
            case _:
                assert {thing.name for thing in scene.include} <= set(words)


def test_few_names_make_as_many_as_there_are() -> None:
    scenes = scene_prompts(["cat", "dog"], 80)
    counts = {tag: sum(scene.tag == tag for scene in scenes) for tag in TAGS}
    assert counts == {"single_object": 2, "two_object": 2, "counting": 6, "colors": 20,
                      "position": 8, "color_attr": 80}  # fmt: skip
    with pytest.raises(ValueError, match="scenes of 1 names"):
        scene_prompts(["cat"])
    with pytest.raises(ValueError, match="no category 'texture'"):
        random_scene("texture", ["cat", "dog"], random.Random(0))


def test_words() -> None:
    assert [plural(each) for each in ("bus", "butterfly", "key", "kitchen knife", "fish", "pen")] \
        == ["buses", "butterflies", "keys", "kitchen knives", "fish", "pens"]  # fmt: skip
    assert [plural(each) for each in ("snowman", "cup of tea", "game die", "bowl with spoon")] \
        == ["snowmen", "cups of tea", "game dice", "bowls with spoon"]  # fmt: skip
    captions = {scene.caption for scene in scene_prompts(["apple", "unicorn", "cat"], 3)}
    assert {"an apple", "a unicorn", "a cat"} <= captions


# --- icons ----------------------------------------------------------------------------------------


def write(folder: Path, names: dict[str, Image.Image]) -> Path:
    folder.mkdir()
    for name, image in names.items():
        image.save(folder / f"{name}.png")
        (folder / f"{name}.txt").write_text(name)
    return folder


def test_icons_are_cut_to_what_they_show(tmp_path: Path) -> None:
    page = Image.new("RGBA", (400, 400))
    page.paste(ICONS["slab"].resize((200, 100)), (30, 170))
    icons = read_icons(write(tmp_path / "icons", {"slab": page, "disc": ICONS["disc"]}), side=50)
    assert icons["slab"].size == (50, 25) and icons["disc"].size == (50, 50)
    named = read_icons(tmp_path / "icons", {"plate": "slab", "cat": "cat"})
    assert list(named) == ["plate"]


def test_what_is_no_icon(tmp_path: Path) -> None:
    folder = write(tmp_path / "icons", {"plain": Image.new("RGB", (8, 8)),
                                        "empty": Image.new("RGBA", (8, 8))})  # fmt: skip
    (folder / "broken.png").write_bytes(b"no picture")
    for name, complaint in (
        ("plain", "has no alpha: give icons on nothing"),
        ("empty", "shows nothing"),
        ("broken", "broken.png"),
    ):
        with pytest.raises(ValueError, match=complaint):
            read_icon(folder / f"{name}.png", 64)
    with pytest.raises(ValueError, match="has no icon of cat"):
        read_icons(folder, {"cat": "cat"})
