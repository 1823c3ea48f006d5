"""The illustration corpus as lessons: an icon in its style, or a scene composed of several.

A lesson is a pure function of the random numbers it is given: what is in the picture, on which
ground, and how somebody would have asked for it. What `unseen` holds back is in none.
"""

import dataclasses
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from PIL import Image

from openimagen.config import Illustrations
from openimagen.data.colours import COLOURS, tint
from openimagen.data.decode import FORMATS
from openimagen.data.nouns import is_countable
from openimagen.data.scene_prompts import OBJECTS, random_scene
from openimagen.data.scenes import INSIDE, SIZES, Colour, Scene, Thing
from openimagen.data.unseen import (
    is_unseen_colour,
    is_unseen_name,
    is_unseen_pair,
    is_unseen_relation,
)
from openimagen.data.wording import (
    has_colour,
    icon_words,
    scene_words,
    with_ground,
    with_style,
)

THINGS = {"animals-nature", "food-drink", "travel-places", "activities", "objects"}
SIZED, PUT_INSIDE = 0.2, 0.1  # of two things, and of relations
GRADIENT = 0.3  # of named grounds


@dataclass(frozen=True)
class Illustration:
    """One icon: its picture, what it shows, and in which style."""

    path: Path
    name: str
    style: str
    tags: tuple[str, ...] = ()
    group: str = ""

    @property
    def side(self) -> int:
        """Pixels of its shorter side; 0 if it is no picture."""
        try:
            with Image.open(self.path, formats=FORMATS) as file:
                return min(file.size)
        except OSError:
            return 0

    @property
    def is_unseen(self) -> bool:
        """Whether it is kept for measuring."""
        return is_unseen_pair(self.name, self.style)


def read_illustrations(folder: Path) -> list[Illustration]:
    """All icons in a folder of `openimagen data icons`, sorted. ValueError if there are none."""
    found = list[Illustration]()
    for metadata in sorted(folder.rglob("metadata.jsonl")):
        for number, line in enumerate(metadata.read_text("utf-8").split("\n"), 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                path, tags = metadata.parent / row["file_name"], tuple(row.get("tags", ()))
                found.append(
                    Illustration(path, row["name"], row["style"], tags, row.get("group") or "")
                )
            except (ValueError, KeyError, TypeError):
                raise ValueError(
                    f"{metadata}:{number} has no file_name, name and style: "
                    f"make the icons with `openimagen data icons {folder}`"
                ) from None
    if not found:
        raise ValueError(f"{folder} has no icons: make them with `openimagen data icons {folder}`")
    return found


# --- lessons --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Lesson:
    """What to draw, of icons by their numbers, and the caption for it.

    Of one icon as it is, `scene` has one thing of its name; `whole` says that it is drawn with the
    margins its makers gave it.
    """

    caption: str
    scene: Scene
    icons: Mapping[str, int]  # of the scene's things: which illustration
    whole: bool


class Lessons:
    """What may be taught with some illustrations: those that are not unseen, style by style."""

    def __init__(
        self, illustrations: Sequence[Illustration], plan: Illustrations, paintable: Sequence[bool]
    ) -> None:
        self.all, self.plan, self.paintable = illustrations, plan, paintable
        seen = [number for number, each in enumerate(illustrations) if not each.is_unseen]
        if not seen:
            raise ValueError("all icons are held back for measuring: give more names or styles")

        def style(number: int) -> str:
            return illustrations[number].style

        self.icons = {key: [*of] for key, of in groupby(sorted(seen, key=style), style)}
        self.things = {key: self._things(of) for key, of in self.icons.items()}
        self.weights = self._weights()

    def lesson(self, rng: random.Random) -> Lesson:
        """One of them."""
        style = rng.choices([*self.weights], [*self.weights.values()])[0]
        things = self.things[style]
        if len(things) > 1 and rng.random() < self.plan.scenes:
            scene = self._scene(things, rng)
            words = scene_words(scene, rng)
            icons = {thing.name: things[thing.name] for thing in scene.include}
        else:
            number = rng.choice(self.icons[style])
            icon = self.all[number]
            words, icons = icon_words(icon.name, icon.tags, rng), {icon.name: number}
            scene = Scene(words, "single_object", (Thing(icon.name),))
        scene, words = self._on_ground(scene, words, rng)
        named = self.plan.named_main if style == self.plan.main else self.plan.named
        if rng.random() < named:
            words = with_style(words, style, rng)
        (first, *others) = scene.include
        return Lesson(words, scene, icons, not others and first.count == 1 and not first.size)

    def _things(self, numbers: Sequence[int]) -> dict[str, int]:
        """What scenes are made of: names of single things -> illustration; first `OBJECTS`."""
        named = {self.all[number].name: number for number in numbers}
        things = {name: number for name, number in named.items() if is_thing(self.all[number])}
        return things | {name: named[icon] for name, icon in OBJECTS.items() if icon in named}

    def _weights(self) -> dict[str, float]:
        """How often each style is shown: the main one as the plan says, others by their icons."""
        counts = {style: float(len(of)) for style, of in self.icons.items()}
        main = counts.pop(self.plan.main, None)
        if main is None or not counts:
            return counts or {self.plan.main: 1.0}
        left, total = 1 - self.plan.main_share, sum(counts.values())
        shares = {style: left * count / total for style, count in counts.items()}
        return {self.plan.main: self.plan.main_share} | shares

    def _scene(self, things: Mapping[str, int], rng: random.Random) -> Scene:
        kinds = self.plan.kinds
        kind = rng.choices([*kinds], [*kinds.values()])[0]
        coloured = kind in ("colors", "color_attr")
        names = [
            name
            for name in things
            if not coloured or (self.paintable[things[name]] and not has_colour(name))
        ]
        if len(names) < 2:
            kind, names = "two_object", [*things]
        common = [name for name in names if name in OBJECTS]
        while True:
            pair = [
                rng.choice(common if len(common) > 1 and rng.random() < self.plan.common else names)
                for _ in range(2)
            ]
            if pair[0] != pair[1]:
                scene = _varied(random_scene(kind, pair, rng), rng)
                if not is_unseen(scene):
                    return scene

    def _on_ground(self, scene: Scene, words: str, rng: random.Random) -> tuple[Scene, str]:
        """White, which is not said, unless it would hide a white thing; or colours that are."""
        taken = {thing.colour for thing in scene.include}
        if "white" not in taken and rng.random() >= self.plan.grounds:
            return dataclasses.replace(scene, ground=((255, 255, 255),)), words
        names = [name for name in COLOURS if name not in taken]
        colours = rng.sample(names, 2 if rng.random() < GRADIENT else 1)
        ground = tuple(ground_of(colour, rng) for colour in colours)
        return dataclasses.replace(scene, ground=ground), with_ground(words, colours, rng)


def is_thing(icon: Illustration) -> bool:
    """Whether an icon is of one thing, of a name short enough to say two of."""
    is_short = len(icon.name.split()) <= 2 and icon.name not in OBJECTS.values()
    return is_short and icon.group in THINGS and is_countable(icon.name)


def is_unseen(scene: Scene) -> bool:
    """Whether something in a scene is kept for measuring."""
    things = scene.include
    if any(
        is_unseen_name(OBJECTS.get(each.name, each.name))
        or (each.colour and is_unseen_colour(each.name, each.colour))
        for each in things
    ):
        return True
    return any(
        is_unseen_relation(each.name, each.position[0], things[each.position[1]].name)
        for each in things
        if each.position
    )


def ground_of(colour: str, rng: random.Random) -> Colour:
    """A shade of a colour that one would put something on: from pale to full; black is dark."""
    return tint(colour, rng.uniform(0.0, 0.1 if colour == "black" else 0.65))


def _varied(scene: Scene, rng: random.Random) -> Scene:
    """A scene, at times with sizes, or one thing inside another."""
    *first, last = scene.include
    if scene.tag == "position" and rng.random() < PUT_INSIDE:
        include = (*first, dataclasses.replace(last, position=(INSIDE, 0)))
    elif scene.tag == "two_object" and rng.random() < SIZED:
        sizes = rng.sample([*SIZES], 2)
        include = tuple(
            dataclasses.replace(thing, size=size)
            for thing, size in zip(scene.include, sizes, strict=True)
        )
    elif scene.tag == "colors" and rng.random() < SIZED:
        include = (dataclasses.replace(last, size=rng.choice([*SIZES])),)
    else:
        return scene
    return dataclasses.replace(scene, include=include)
