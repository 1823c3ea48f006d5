"""How people ask for an illustration: one content, many wordings.

Each function takes the random numbers it may use; the same numbers give the same words.
"""

import random
import re
from collections.abc import Sequence

from openimagen.data.colours import COLOURS
from openimagen.data.icons import STYLES
from openimagen.data.nouns import article, is_countable, plural
from openimagen.data.scene_prompts import NUMBERS, OBJECTS
from openimagen.data.scenes import Scene, Thing

LOOKS = {  # what goes before a noun
    "fluent-emoji": ("3D", "glossy 3D"),
    "fluent-emoji-3d": ("3D rendered",),
    "fluent-emoji-flat": ("flat",),
    "flat-color-icons": ("flat",),
    "twemoji": ("flat",),
}
OTHER_NAMES = {  # beside those in OBJECTS; never what another emoji is called, as "cat" is
    "airplane": ("plane",), "bicycle": ("bike",), "cooking": ("fried egg",),
    "deciduous tree": ("broadleaf tree",), "doughnut": ("donut",),
    "evergreen tree": ("fir tree", "pine tree"), "french fries": ("fries",),
    "glasses": ("spectacles",), "hamburger": ("burger",), "hot beverage": ("coffee", "cup of tea"),
    "lady beetle": ("ladybug",), "laptop": ("notebook computer",), "locomotive": ("steam train",),
    "mobile phone": ("smartphone",), "panda": ("panda bear",), "sailboat": ("sailing boat",),
    "shortcake": ("cake",), "sport utility vehicle": ("SUV", "jeep"),
    "steaming bowl": ("noodle soup",), "sun": ("sunshine",), "t shirt": ("shirt",),
    "tangerine": ("orange", "mandarin"), "teddy bear": ("teddy",), "television": ("TV",),
    "wrapped gift": ("gift",),
}  # fmt: skip
for _word, _name in OBJECTS.items():
    if _word != _name:
        OTHER_NAMES[_name] = (*OTHER_NAMES.get(_name, ()), _word)

RELATIONS = {
    "left of": ("left of", "to the left of", "on the left of"),
    "right of": ("right of", "to the right of", "on the right of"),
    "above": ("above", "over", "on top of"),
    "below": ("below", "under", "beneath"),
    "inside": ("inside", "in", "inside of"),
}
SIZE_WORDS = {"small": ("small", "little", "tiny"), "big": ("big", "large", "huge")}
_FRONT = re.compile(rf"(an?|{'|'.join(NUMBERS)}|\d+) (.*)")


def icon_words(name: str, tags: Sequence[str], rng: random.Random) -> str:
    """A caption for what one icon shows."""
    called = rng.choice((name, *OTHER_NAMES[name])) if name in OTHER_NAMES else name
    others = [tag for tag in tags if tag not in called.split()]
    match rng.choices(("name", "article", "tags", "shuffled"), (40, 40, 12, 8))[0]:
        case "article" if is_countable(called):
            return article(called)
        case "tags" if others:
            return ", ".join([called, *rng.sample(others, min(len(others), rng.randint(1, 4)))])
        case "shuffled" if len(others) > 1:
            words = [called, *rng.sample(others, min(len(others), 3))]
            return ", ".join(rng.sample(words, len(words)))
    return called


def scene_words(scene: Scene, rng: random.Random) -> str:
    """A caption for a scene: its things, their colours, sizes and how they lie."""
    words = [_thing_words(thing, rng) for thing in scene.include]
    if (position := scene.include[-1].position) is None:
        return rng.choice((" and ", " and ", " and ", " with ", ", ")).join(words)
    return f"{words[-1]} {rng.choice(RELATIONS[position[0]])} {words[position[1]]}"


def _thing_words(thing: Thing, rng: random.Random) -> str:
    others = OTHER_NAMES.get(thing.name, ())
    if thing.colour:
        others = tuple(name for name in others if not has_colour(name))  # no "green orange"
    called = rng.choice((thing.name, thing.name, *others))
    before = [rng.choice(SIZE_WORDS[thing.size])] if thing.size else []
    before += [thing.colour] if thing.colour else []
    if thing.count > 1:
        number = rng.choice((NUMBERS[thing.count], NUMBERS[thing.count], str(thing.count)))
        return " ".join([number, *before, plural(called)])
    return article(" ".join([*before, called]))


def with_ground(words: str, colours: Sequence[str], rng: random.Random) -> str:
    """A caption that names the ground too: by one colour word, or two that run into each other."""
    first, last = colours[0], colours[-1]
    if len(colours) == 2:
        gradients = (
            f"on a gradient from {first} to {last}",
            f"on {article(first)} to {last} gradient",
            f"on {article(first)} and {last} gradient background",
        )
        return f"{words} {rng.choice(gradients)}"
    on = f" on {article(first)} background"
    return words + rng.choice((on, on, f" on {first}", f", {first} background"))


def with_style(words: str, style: str, rng: random.Random) -> str:
    """A caption that names the style too: "..., in noto style", "a 3D ..."."""
    if style in LOOKS and rng.random() < 0.3:
        look = rng.choice(LOOKS[style])
        if (found := _FRONT.fullmatch(words)) is None:
            return f"{look} {words}"
        front, noun = found.groups()
        return f"{'a' if front in ('a', 'an', 'one') else front} {look} {noun}"
    known = STYLES[style].words if style in STYLES else f"{style} style"
    return f"{words}{rng.choice((', in ', ' in ', ', '))}{known}"


def has_colour(name: str) -> bool:
    """Whether a name says a colour, so that it cannot be asked for in another."""
    return any(word in COLOURS for word in name.split())
