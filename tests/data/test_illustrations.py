"""Lessons say what they show, and never what is held back."""

import json
import random
import re
from collections import Counter
from pathlib import Path

import pytest

from openimagen.config import Illustrations
from openimagen.data.colours import COLOURS, tint
from openimagen.data.illustrations import (
    Illustration,
    Lesson,
    Lessons,
    ground_of,
    is_unseen,
    read_illustrations,
)
from openimagen.data.scene_prompts import NUMBERS, OBJECTS
from openimagen.data.scenes import Scene, Thing
from openimagen.data.unseen import is_unseen_colour, is_unseen_pair, is_unseen_relation
from openimagen.data.wording import OTHER_NAMES, RELATIONS, SIZE_WORDS, scene_words, with_style
from tests.data.corpus import NAMES, STYLES, write_corpus

PLAN = Illustrations()
CALLED = {icon: word for word, icon in OBJECTS.items()}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> list[Illustration]:
    return read_illustrations(write_corpus(tmp_path_factory.mktemp("icons")))


def lessons(corpus: list[Illustration], count: int = 4000, **plan: object) -> list[Lesson]:
    school = Lessons(corpus, PLAN.model_copy(update=plan), [True] * len(corpus))
    return [school.lesson(random.Random(number)) for number in range(count)]


def test_all_icons_are_read_with_what_they_show(corpus: list[Illustration]) -> None:
    assert len(corpus) == len(NAMES) * len(STYLES)
    assert {(each.name, each.style) for each in corpus} == {(n, s) for n in NAMES for s in STYLES}
    assert all(each.path.exists() and each.side == 32 for each in corpus)


def test_nothing_that_is_held_back_is_shown(corpus: list[Illustration]) -> None:
    held = [(each.name, each.style) for each in corpus if is_unseen_pair(each.name, each.style)]
    assert held  # or this test could not fail
    for lesson in lessons(corpus):
        things = lesson.scene.include
        for number in lesson.icons.values():
            assert not is_unseen_pair(corpus[number].name, corpus[number].style)
        for thing in things:
            assert thing.colour is None or not is_unseen_colour(thing.name, thing.colour)
            if thing.position:
                relation, other = thing.position
                assert not is_unseen_relation(thing.name, relation, things[other].name)


def test_it_is_a_function_of_the_random_numbers(corpus: list[Illustration]) -> None:
    assert lessons(corpus, 200) == lessons(corpus, 200)
    assert len({lesson.caption for lesson in lessons(corpus, 500)}) > 300


def test_shares_are_those_of_the_plan(corpus: list[Illustration]) -> None:
    made = lessons(corpus)
    styles = Counter(corpus[next(iter(lesson.icons.values()))].style for lesson in made)
    assert styles["fluent-emoji"] / len(made) == pytest.approx(0.45, abs=0.03)
    scenes = [lesson for lesson in made if lesson.scene.tag != "single_object"]
    assert len(scenes) / len(made) == pytest.approx(0.5, abs=0.03)
    grounds = [lesson for lesson in made if lesson.scene.ground != ((255, 255, 255),)]
    assert len(grounds) / len(made) == pytest.approx(0.25, abs=0.03)


def test_other_styles_are_shown_by_their_icons_and_each_icon_as_often(tmp_path: Path) -> None:
    many = {"fluent-emoji": 10, "noto": 60, "twemoji": 20}
    icons = [
        Illustration(tmp_path, f"thing {number}", style)
        for style, count in many.items()
        for number in range(count)
    ]
    made = lessons(icons, 6000, scenes=0.0)
    shown = Counter(next(iter(lesson.icons.values())) for lesson in made)
    seen = {number for number, each in enumerate(icons) if not each.is_unseen}
    assert shown.keys() == seen
    main = {number for number in seen if icons[number].style == "fluent-emoji"}
    for group, share in ((main, 0.45), (seen - main, 0.55)):
        expected = 6000 * share / len(group)
        assert all(abs(shown[number] - expected) < 5 * expected**0.5 for number in group)


def test_a_caption_says_what_is_there(corpus: list[Illustration]) -> None:
    """Each thing by one of its names, its number, colour and size; the relation; the ground."""
    for lesson in lessons(corpus, 1500):
        for thing in lesson.scene.include:
            names = {
                thing.name,
                *OTHER_NAMES.get(thing.name, ()),
                OBJECTS.get(thing.name, thing.name),
            }
            assert any(name[:4] in lesson.caption for name in names), lesson.caption
            if thing.count > 1:
                assert any(
                    word in lesson.caption for word in (NUMBERS[thing.count], str(thing.count))
                )
            if thing.colour:
                assert thing.colour in lesson.caption
            if thing.size:
                assert any(word in lesson.caption for word in SIZE_WORDS[thing.size])
            if thing.position:
                assert any(word in lesson.caption for word in RELATIONS[thing.position[0]])
        if lesson.scene.ground != ((255, 255, 255),):
            assert sum(colour in lesson.caption for colour in COLOURS) >= len(lesson.scene.ground)


def test_relations_are_told_the_right_way_round() -> None:
    for relation, words in RELATIONS.items():
        scene = Scene("", "position", (Thing("dog"), Thing("cat", position=(relation, 0))))
        said = {scene_words(scene, random.Random(number)) for number in range(50)}
        assert said == {f"a cat {word} a dog" for word in words}


def test_each_colour_and_size_is_said_of_its_own_thing() -> None:
    things = Thing("dog", colour="red", size="big"), Thing("cat", colour="blue", size="small")
    said = {
        scene_words(Scene("", "color_attr", things), random.Random(number)) for number in range(200)
    }
    for words in said:
        dog, cat = re.split(" and | with |, ", words)
        assert dog in {f"a {size} red dog" for size in SIZE_WORDS["big"]}
        assert cat in {f"a {size} blue cat" for size in SIZE_WORDS["small"]}
    assert len(said) > 9  # in many words


def test_what_the_exams_ask_for_is_taught(tmp_path: Path) -> None:
    """A robot is no animal, and broccoli cannot be counted; yet they are among `OBJECTS`."""
    icons = [
        Illustration(tmp_path, name, "fluent-emoji", (), "smileys-emotion")
        for name in OBJECTS.values()
    ]
    seen = [each.name for each in icons if not each.is_unseen]
    school = Lessons(icons, PLAN, [True] * len(icons))
    assert school.things["fluent-emoji"].keys() == {
        called for called, name in OBJECTS.items() if name in seen
    }
    assert len(seen) > 40


def test_one_thing_that_is_common_is_not_asked_for_twice(tmp_path: Path) -> None:
    names = ("banana", "widget", "lever", "gadget")
    icons = [Illustration(tmp_path, name, "noto", (), "objects") for name in names]
    school = Lessons(icons, Illustrations(common=1.0, scenes=1.0, main="noto"), [True] * 4)
    assert len(school.things["noto"]) > 2 and {*names} & {*OBJECTS} == {"banana"}
    drawn = [school.lesson(random.Random(number)).scene for number in range(100)]
    assert {each.name for scene in drawn for each in scene.include} == {*school.things["noto"]}


def test_no_icon_goes_by_the_name_of_another() -> None:
    others = [other for names in OTHER_NAMES.values() for other in names]
    assert len({*others}) == len(others)
    assert not {*others} & OTHER_NAMES.keys()
    assert all(OBJECTS[other] in OTHER_NAMES for other in others if other in OBJECTS)


@pytest.mark.parametrize(
    ("words", "looking"),
    [
        ("a cat left of a dog", "a flat cat left of a dog"),
        ("an owl", "a flat owl"),
        ("three red apples", "three flat red apples"),
        ("4 cows", "4 flat cows"),
        ("cherry blossom", "flat cherry blossom"),
        ("antelope", "flat antelope"),
    ],
)
def test_a_look_goes_before_the_first_noun(words: str, looking: str) -> None:
    said = {with_style(words, "twemoji", random.Random(number)) for number in range(40)}
    assert looking in said and all(words in each or each == looking for each in said)


def test_a_style_is_named_as_often_as_asked(corpus: list[Illustration]) -> None:
    unnamed = lessons(corpus, 300, named=0.0, named_main=0.0)
    assert not any("style" in lesson.caption or "3D" in lesson.caption for lesson in unnamed)
    for lesson in lessons(corpus, 600, named=1.0, named_main=1.0):
        style = corpus[next(iter(lesson.icons.values()))].style
        said = {with_style("x", style, random.Random(number)) for number in range(40)}
        marks = {word for words in said for word in words.replace(",", "").split()}
        marks -= {"x", "in", "style"}
        assert any(mark in lesson.caption for mark in marks)


def test_what_has_a_colour_in_its_name_is_called_without_it(corpus: list[Illustration]) -> None:
    painted = [
        thing.name
        for lesson in lessons(corpus)
        for thing in lesson.scene.include
        if thing.colour and "apple" in thing.name
    ]
    assert set(painted) == {"apple"} and OBJECTS["apple"] == "red apple"


def test_unseen_scenes_are_told() -> None:
    names = [f"thing {number}" for number in range(60)]
    shown = [Scene("", "", (Thing(name, colour="pink"),)) for name in names]
    assert [is_unseen(scene) for scene in shown if is_unseen(scene)]
    assert not all(is_unseen(scene) for scene in shown)


def test_a_black_ground_is_no_grey() -> None:
    grounds = [ground_of("black", random.Random(seed)) for seed in range(50)]
    assert len(set(grounds)) > 9 and max(map(max, grounds)) < 64


def test_tints_run_from_full_to_white() -> None:
    for colour in COLOURS:
        assert tint(colour, 1.0) == (255, 255, 255)
        assert all(a <= b for a, b in zip(tint(colour, 0.2), tint(colour, 0.6), strict=True))


def test_a_folder_without_icons_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no icons: make them with `openimagen data icons"):
        read_illustrations(tmp_path)
    (tmp_path / "metadata.jsonl").write_text(json.dumps({"file_name": "a.png", "text": "a"}))
    with pytest.raises(ValueError, match=r"metadata.jsonl:1 has no file_name, name and style"):
        read_illustrations(tmp_path)


def test_of_one_style_and_one_name_no_scene_is_made(tmp_path: Path) -> None:
    icons = [Illustration(tmp_path / "a.png", name, "noto", (), "objects") for name in ("owl",)]
    icons = [icon for icon in icons if not icon.is_unseen]
    assert all(lesson.scene.tag == "single_object" for lesson in lessons(icons, 50))
    with pytest.raises(ValueError, match="all icons are held back"):
        lessons([], 1)


def test_kinds_of_scenes_come_as_often_as_the_plan_says(corpus: list[Illustration]) -> None:
    none = dict.fromkeys(PLAN.kinds, 0)
    some = lessons(corpus, 600, scenes=1.0, **none | {"position": 3, "counting": 1})
    counts = Counter(lesson.scene.tag for lesson in some)
    assert counts.keys() == {"position", "counting"}
    assert abs(counts["position"] / 600 - 0.75) < 4 * (0.75 * 0.25 / 600) ** 0.5
    with pytest.raises(ValueError, match="scenes of no kind: give counting, position"):
        Illustrations(**none)
    assert Illustrations(scenes=0, **none).kinds == none


def test_things_that_sets_draw_alike_come_as_often_as_the_plan_says(
    corpus: list[Illustration],
) -> None:
    every = {CALLED.get(each.name, each.name) for each in corpus}
    assert every & {*OBJECTS} and every - {*OBJECTS}  # or this test could not fail
    some = lessons(corpus, 300, scenes=1.0, common=1.0, grounds=0.0)
    assert {thing.name for lesson in some for thing in lesson.scene.include} <= {*OBJECTS}
