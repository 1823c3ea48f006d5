"""Prompts of known content in GenEval's six categories, for things that there are icons of."""

import random
from collections.abc import Callable, Sequence
from itertools import count

from openimagen.data.colours import COLOURS
from openimagen.data.nouns import article, plural
from openimagen.data.scenes import OPPOSITE, Scene, Thing

TAGS = ("single_object", "two_object", "counting", "colors", "position", "color_attr")
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
COLOURED = ("colors", "color_attr")
MOST = 4  # things counted
PATIENCE = 1000  # draws for each scene that is wanted
OBJECTS = {  # what to call it -> its icon: things that the sets draw alike, and that differ
    **{name: name for name in (
        *("airplane", "avocado", "backpack", "banana", "bell", "bicycle", "broccoli", "bus"),
        *("butterfly", "cactus", "candle", "carrot", "chair", "cow", "crab", "crown", "doughnut"),
        *("elephant", "fish", "giraffe", "guitar", "hamburger", "handbag", "horse", "house", "key"),
        *("ladder", "laptop", "lemon", "mushroom", "pear", "penguin", "pizza", "robot", "rocket"),
        *("sailboat", "skateboard", "spoon", "star", "strawberry", "teddy bear", "trophy"),
        *("turtle", "umbrella", "wine glass", "zebra"),
    )},
    "apple": "red apple", "book": "closed book", "car": "automobile", "clock": "mantelpiece clock",
    "dress": "dress", "heart": "red heart", "ice cream": "ice cream", "knife": "kitchen knife",
    "t-shirt": "t shirt", "top hat": "top hat", "tree": "deciduous tree", "truck": "delivery truck",
}  # fmt: skip


def scene_prompts(
    names: Sequence[str],
    each: int = 80,
    seed: int = 0,
    *,
    coloured: Sequence[str] | None = None,
    start: str = "",
    keep: Callable[[Scene], bool] = lambda scene: True,
) -> list[Scene]:
    """`each` scenes of every category, or as many as there are, all different.

    A function of the arguments alone. `coloured`: the names for which another colour makes sense;
    None for all. `start` comes before each caption, as GenEval's "a photo of ". Of the scenes that
    `keep` does not let pass, none; then they may be fewer. ValueError for fewer than two names.
    """
    painted = [*names] if coloured is None else [name for name in names if name in set(coloured)]
    if len(set(names)) < 2 or len(painted) < 2:
        raise ValueError(f"scenes of {len(set(names))} names, {len(painted)} to colour: give two")
    scenes = list[Scene]()
    for tag in TAGS:
        rng = random.Random(f"{seed} {tag}")
        of = painted if tag in COLOURED else list(names)
        found = dict[str, Scene]()
        most = min(each, _many(tag, len(of)))
        for tried in count():
            if len(found) == most or (tried > PATIENCE * most):
                break
            scene = random_scene(tag, of, rng, start)
            if keep(scene):
                found[scene.caption] = scene
        scenes += found.values()
    return scenes


def random_scene(tag: str, names: Sequence[str], rng: random.Random, start: str = "") -> Scene:
    """A scene of one of GenEval's categories. ValueError for no such category."""
    one, other = rng.sample(names, 2)
    match tag:
        case "single_object":
            return Scene(f"{start}{article(one)}", tag, (Thing(one),))
        case "two_object":
            return Scene(
                f"{start}{article(one)} and {article(other)}", tag, (Thing(one), Thing(other))
            )
        case "counting":
            count = rng.randint(2, MOST)
            caption = f"{start}{NUMBERS[count]} {plural(one)}"
            return Scene(caption, tag, (Thing(one, count),), (Thing(one, count + 1),))
        case "colors":
            colour = rng.choice(COLOURS)
            return Scene(f"{start}{article(f'{colour} {one}')}", tag, (Thing(one, colour=colour),))
        case "position":  # GenEval names the thing that lies so first, and lists it last
            how = rng.choice(tuple(OPPOSITE))
            things = Thing(other), Thing(one, position=(how, 0))
            return Scene(f"{start}{article(one)} {how} {article(other)}", tag, things)
        case "color_attr":
            colours = rng.sample(COLOURS, 2)
            words = [f"{colour} {name}" for colour, name in zip(colours, (one, other), strict=True)]
            things = Thing(one, colour=colours[0]), Thing(other, colour=colours[1])
            return Scene(f"{start}{article(words[0])} and {article(words[1])}", tag, things)
    raise ValueError(f"no category {tag!r}: choose from {', '.join(TAGS)}")


def _many(tag: str, count: int) -> int:
    """How many scenes there are of a category."""
    pairs, colours = count * (count - 1), len(COLOURS)
    return {
        "single_object": count,
        "two_object": pairs,
        "counting": (MOST - 1) * count,
        "colors": colours * count,
        "position": len(OPPOSITE) * pairs,
        "color_attr": colours * (colours - 1) * pairs,
    }[tag]
