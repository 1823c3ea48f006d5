"""GenEval's rules by hand; things found in pictures whose content is known."""

import random

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter
from things import COLOURS, SHAPES, grainy, icon

from openimagen.data.scene_prompts import scene_prompts
from openimagen.data.scenes import Scene, Thing, compose
from openimagen.evaluate.composition import Composition, judge, prompt_of, relations
from openimagen.evaluate.objects import Found, Objects
from openimagen.evaluate.prompts import Prompt

ICONS = {shape: icon(shape) for shape in SHAPES}
BLUE = {shape: icon(shape, COLOURS["blue"]) for shape in SHAPES}
OBJECTS = Objects(ICONS)
SCENES = scene_prompts([*SHAPES], 5)
PROMPTS = [prompt_of(scene) for scene in SCENES]
PICTURES = [compose(scene, ICONS, 64, number) for number, scene in enumerate(SCENES)]


# --- rules ----------------------------------------------------------------------------------------


def at(name: str, x: int, y: int, size: int = 20, colour: str = "red") -> Found:
    return Found(name, 1.0, colour, (x, y, x + size, y + size))


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((0, 50, 20, 70), {"left of"}),
        ((90, 50, 110, 70), {"right of"}),
        ((50, 0, 70, 20), {"above"}),
        ((50, 90, 70, 110), {"below"}),
        ((0, 0, 20, 20), {"left of", "above"}),
        ((53, 52, 73, 72), set()),  # within a tenth of both sizes
        ((50, 50, 70, 70), set()),
        ((44, 50, 64, 70), set()),  # 6 apart, of which 4 are leeway: less than half is left
        ((41, 50, 61, 70), {"left of"}),  # 9 apart
    ],
)
def test_relations(box: tuple[int, int, int, int], expected: set[str]) -> None:
    assert relations(box, (50, 50, 70, 70)) == expected


RULES = [
    (Scene("", "", (Thing("cup"),)), [at("cup", 0, 0)], ""),
    (Scene("", "", (Thing("cup"),)), [], "expected cup>=1, found 0"),
    (Scene("", "", (Thing("cup"),)), [at("pot", 0, 0), at("", 9, 9)],
     "expected cup>=1, found 0 (nothing known, pot)"),
    (Scene("", "", (Thing("cup", 3),)), [at("cup", 0, 0), at("cup", 30, 0)],
     "expected cup>=3, found 2"),
    (Scene("", "", (Thing("cup", 1),), (Thing("cup", 2),)), [at("cup", 0, 0), at("cup", 30, 0)],
     "expected cup<2, found 2"),
    (Scene("", "", (Thing("cup", 1),)), [at("cup", 0, 0), at("cup", 30, 0)], ""),
    (Scene("", "", (Thing("cup", 1, "blue"),)), [at("cup", 0, 0)],
     "expected blue cup>=1, found red"),
    (Scene("", "", (Thing("cup", 1, "blue"),)),  # the likeliest cup counts
     [at("cup", 0, 0, colour="blue"), at("cup", 40, 0)], ""),
    (Scene("", "", (Thing("cup", 1, "blue"), Thing("pot", 1, "red"))),
     [at("pot", 0, 0), at("cup", 40, 0, colour="blue")], ""),
    (Scene("", "", (Thing("cup"), Thing("pot", position=("left of", 0)))),
     [at("cup", 40, 0), at("pot", 0, 0)], ""),
    (Scene("", "", (Thing("cup"), Thing("pot", position=("left of", 0)))),
     [at("cup", 0, 0), at("pot", 40, 0)], "expected pot left of cup, found right of it"),
    (Scene("", "", (Thing("cup"), Thing("pot", position=("above", 0)))), [at("pot", 0, 0)],
     "expected cup>=1, found 0 (pot); no cup for pot to be above"),
]  # fmt: skip


@pytest.mark.parametrize(("scene", "found", "fault"), RULES)
def test_genevals_rules(scene: Scene, found: list[Found], fault: str) -> None:
    assert judge(found, scene) == fault


# --- what is found --------------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(len(SCENES)), ids=[s.caption for s in SCENES])
def test_composed_scenes_are_right_and_others_wrong(number: int) -> None:
    scene, found = SCENES[number], OBJECTS(PICTURES[number])
    assert judge(found, scene) == ""
    assert len(found) == sum(thing.count for thing in scene.include)
    others = [other for other in SCENES if other.tag == scene.tag and other != scene]
    wrong = [other for other in others if judge(found, other)]
    assert len(wrong) >= len(others) - 1  # one thing is also in the picture of two


def test_a_graded_background_is_no_thing() -> None:
    ramp = np.linspace(150, 255, 64)[None, :, None] + np.linspace(-40, 0, 64)[:, None, None]
    page = Image.fromarray(np.broadcast_to(ramp.clip(0, 255), (64, 64, 3)).astype(np.uint8))
    assert OBJECTS(page) == []
    small = ICONS["cross"].resize((24, 24))
    page.paste(small, (30, 8), small)
    (found,) = OBJECTS(page)
    assert (found.name, found.colour) == ("cross", "red")
    assert found.box == pytest.approx((30, 8, 54, 32), abs=1)


def test_the_inside_of_a_thing_may_look_like_the_background() -> None:
    """A white plate on white is its rim alone; it is no ring, through which one sees."""
    plate = Image.new("RGBA", (60, 60))
    ImageDraw.Draw(plate).ellipse((0, 0, 59, 59), "white", (60, 60, 60), 4)
    known = Objects({**ICONS, "plate": plate})
    for ground in ("white", (150, 176, 205)):
        page = Image.new("RGB", (64, 64), ground)
        page.paste(plate, (2, 2), plate)
        assert [each.name for each in known(page)] == ["plate"]
    page = Image.new("RGB", (64, 64), "white")
    page.paste(ICONS["ring"].resize((60, 60)), (2, 2), ICONS["ring"].resize((60, 60)))
    assert [each.name for each in known(page)] == ["ring"]


def test_loose_parts_are_one_thing_and_specks_are_none() -> None:
    page = Image.new("RGB", (64, 64), "white")
    pen = ImageDraw.Draw(page)
    pen.ellipse((16, 24, 44, 52), COLOURS["red"])
    for x in (20, 28, 36):  # steam
        pen.rectangle((x, 12, x + 2, 18), (120, 120, 120))
    pen.point((60, 60), "black")
    assert len(OBJECTS(page)) == 1
    pen.ellipse((48, 2, 60, 14), COLOURS["red"])
    pen.rectangle((2, 54, 4, 60), COLOURS["red"])
    assert len(OBJECTS(page)) == 3


def test_a_large_picture_is_the_same_scene() -> None:
    scene = next(scene for scene in SCENES if scene.tag == "counting")
    assert judge(OBJECTS(compose(scene, ICONS, 300, 1)), scene) == ""


def test_what_looks_like_no_icon_has_no_name() -> None:
    page = Image.new("RGB", (64, 64), "white")
    ImageDraw.Draw(page).line((4, 4, 4, 60, 60, 60), "black", 4)
    assert [each.name for each in OBJECTS(page)] == [""]
    assert OBJECTS(Image.new("RGB", (64, 64), (90, 140, 200))) == []


# --- scores ---------------------------------------------------------------------------------------


def test_the_whole_is_the_mean_of_the_categories() -> None:
    """One is all wrong, and one has fewer prompts than the others."""
    pictures = [
        Image.new("RGB", (64, 64)) if scene.tag == "position" else picture
        for scene, picture in zip(SCENES, PICTURES, strict=True)
    ]
    whole, *each = Composition(ICONS)(pictures[2:], PROMPTS[2:])
    assert whole.name == "GenEval (icons)" and whole.prompts == len(PROMPTS) - 2
    assert whole.value == pytest.approx(5 / 6) == np.mean([score.value for score in each])
    assert [score.name.split()[0] for score in each] == list(dict.fromkeys(s.tag for s in SCENES))
    assert each[0].prompts == 3 and each[4].value == 0
    assert each[4].low == 0 and each[4].high == pytest.approx(1 - 0.025 ** (1 / 5))
    assert whole.low <= whole.value <= whole.high
    assert whole.ceiling == 1 and whole.chance is not None and whole.chance < 0.1


def test_the_ceiling_is_that_of_the_other_style() -> None:
    """Of which a disc is a ring, and the ring a disc."""
    other = {**BLUE, "disc": BLUE["ring"], "ring": BLUE["disc"]}
    prompts = [Prompt(f"a {name}", "single_object", {"include": [{"class": name, "count": 1}]})
               for name in SHAPES]  # fmt: skip
    measure = Composition(ICONS, other)
    drawn = [compose(Scene("", "", (Thing(name),)), BLUE, 64) for name in SHAPES]
    scores = measure(drawn, prompts)
    assert scores[0].value == 1 and scores[0].ceiling == pytest.approx(3 / 5)


def test_cells_say_what_is_wrong() -> None:
    _, cells = Composition(ICONS).judge(PICTURES[:2][::-1], PROMPTS[:2])
    assert [cell.text for cell in cells] == [prompt.text for prompt in PROMPTS[:2]]
    assert all(cell.fault.startswith("expected ") for cell in cells)


def test_what_cannot_be_measured() -> None:
    measure = Composition(ICONS)
    for prompt, complaint in (
        (Prompt("a cup"), '"a cup" does not say what to include: give it as GenEval does'),
        (Prompt("a cup", "", {"include": [{"class": "cup", "count": 1}]}),
         r"there is no icon of 'cup' \(1 of 1 lack\)"),
        (Prompt("discs", "", {"include": [{"class": "disc", "count": 2},
                                          {"class": "bar", "count": 1, "position": ["above", 0]}]}),
         '"discs": positions are composed of two things'),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=complaint):
            measure.check([prompt])
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        measure(PICTURES[:1], PROMPTS[:2])


# --- what is worse --------------------------------------------------------------------------------


def test_a_ladder_of_worse_pictures_is_ordered() -> None:
    """Blur, noise, mode collapse and shuffled captions, each from the pictures as they are."""
    measure = Composition(ICONS)

    def score(pictures: list[Image.Image], prompts: list[Prompt] = PROMPTS) -> float:
        return measure(pictures, prompts)[0].value

    best = score(PICTURES)
    blurred = [score([p.filter(ImageFilter.GaussianBlur(r)) for p in PICTURES]) for r in (3, 8)]
    noisy = [score([grainy(p, amount) for p in PICTURES]) for amount in (0.25, 0.7)]
    collapsed = [score([PICTURES[n % k] for n in range(len(PICTURES))]) for k in (5, 1)]
    shuffled = [score(PICTURES, shuffle(PROMPTS, share)) for share in (0.25, 0.5, 1)]
    assert best == 1
    for rungs in (blurred, noisy, collapsed, shuffled):
        assert [best, *rungs] == sorted([best, *rungs], reverse=True), rungs
        assert best > rungs[0] > rungs[-1] or rungs is collapsed, rungs
    assert best > collapsed[0] >= collapsed[1]
    assert max(blurred[-1], noisy[-1], collapsed[-1], shuffled[-1]) < 0.25


def shuffle(prompts: list[Prompt], share: float) -> list[Prompt]:
    """A share of the pictures get each other's prompts; none of them keeps its own."""
    moved = random.Random(0).sample(range(len(prompts)), round(share * len(prompts)))
    given = list(prompts)
    for place, source in zip(moved, moved[1:] + moved[:1], strict=True):
        given[place] = prompts[source]
    return given
