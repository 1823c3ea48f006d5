"""Examples composed on the fly from illustrations: a pure function of (seed, ticket)."""

import random
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from openimagen.config import Illustrations
from openimagen.data.batch import Example, View
from openimagen.data.colours import paint, paintable
from openimagen.data.decode import load_rgba, square
from openimagen.data.faults import Faults
from openimagen.data.folder import Picture
from openimagen.data.illustrations import Illustration, Lesson, Lessons
from openimagen.data.images import to_tensor
from openimagen.data.nouns import article
from openimagen.data.picture_cache import decoded, opened, reason_of
from openimagen.data.picture_set import DRAW, PictureSet
from openimagen.data.scenes import Scene, Thing, compose, ground, trimmed
from openimagen.data.wording import with_style
from openimagen.progress import Advance

LOOKED_AT = 64  # pixels, of a picture that is asked whether it can be painted
WHITE = (255, 255, 255)


class IllustrationSet(PictureSet):
    """Lessons made of illustrations, as an endless stream of examples, indexed by ticket.

    Icons on the ground that the caption says and scenes of them, at `side` x `side` or, with
    `crop`, a part. Held out are icons of names, or of names in their style, that are in no lesson.
    `cache` is as for PictureSet, with alpha. Illustrations smaller than `side` are left out:
    `too_small` of them.
    """

    def __init__(
        self,
        illustrations: Sequence[Illustration],
        plan: Illustrations,
        side: int,
        *,
        crop: int | None = None,
        align: int = 4,
        seed: int = 0,
        cache: Path | None = None,
        on_progress: Advance | None = None,
    ) -> None:
        self.view, self.seed = View(side, crop, align), seed
        self.faults = Faults({}, names=sys.maxsize)
        self._cache: Path | None = None
        sound = [number for number, each in enumerate(illustrations) if each.side >= side]
        self._rows, self.too_small = sound, len(illustrations) - len(sound)
        if cache is not None:
            paths = [illustrations[number].path for number in sound]
            self._cache, broken = decoded(paths, side, cache, "RGBA", on_progress)
            self._rows = [row for row, path in enumerate(paths) if str(path) not in broken]
            sound = [sound[row] for row in self._rows]
            self.faults.add(broken)
        self.illustrations = [illustrations[number] for number in sound]
        shown = (each for each in self.illustrations if not each.is_unseen)
        self.pairs = tuple(Picture(each.path, (each.name,)) for each in shown)
        count = len(self.illustrations)
        can = [plan.scenes > 0 and self._is_paintable(number) for number in range(count)]
        self.lessons = Lessons(self.illustrations, plan, can)
        self.held = None

    def example(self, ticket: int, faults: dict[str, str]) -> Example:
        """What a lesson shows; in place of one with a broken icon comes another."""
        for attempt in range(len(self)):
            rng = random.Random(f"{self.seed} {DRAW} {ticket} {attempt}")
            lesson = self.lessons.lesson(rng)
            icons = self._icons(lesson, faults)
            if len(icons) == len(lesson.icons):
                return self._shown(lesson, icons, rng)
        raise ValueError("no picture could be read; see `openimagen data check`")

    @property
    def held_pictures(self) -> int:
        """How many icons are in no lesson."""
        return len(self.illustrations) - len(self.pairs)

    def held_out(self, count: int) -> list[Example]:
        """Icons of unseen pairs of a name and a style, asked for by both."""
        found = list[Example]()
        for number, icon in enumerate(self.illustrations):
            if len(found) < count and icon.is_unseen:
                rng = random.Random(f"{self.seed} {number}")
                words = with_style(article(icon.name), icon.style, rng)
                scene = Scene(words, "", (Thing(icon.name),), ground=(WHITE,))
                lesson = Lesson(words, scene, {icon.name: number}, True)
                found.append(self._shown(lesson, self._icons(lesson, {}), rng))
        return found

    def _icons(self, lesson: Lesson, faults: dict[str, str]) -> dict[str, Image.Image]:
        """The icons of a lesson; without those that are broken, which go into `faults`."""
        icons = dict[str, Image.Image]()
        for name, number in lesson.icons.items():
            path = self.illustrations[number].path
            try:
                icon = self._icon(number)
                icons[name] = icon if lesson.whole else trimmed(icon)
            except ValueError as error:
                faults[str(path)] = reason_of(path, error)
        return icons

    def _shown(self, lesson: Lesson, icons: dict[str, Image.Image], rng: random.Random) -> Example:
        page = self._drawn(lesson, icons, rng)
        window = self.view.window(np.random.default_rng(rng.getrandbits(64)))
        return Example(to_tensor(page)[:, *window], lesson.caption)

    def _drawn(
        self, lesson: Lesson, icons: dict[str, Image.Image], rng: random.Random
    ) -> Image.Image:
        """The whole picture, RGB."""
        if not lesson.whole:
            return compose(lesson.scene, icons, self.view.side, rng.getrandbits(32))
        (thing,) = lesson.scene.include
        icon = icons[thing.name]
        if thing.colour:
            icon = paint(icon, thing.colour)
        page = ground(lesson.scene.ground, self.view.side)
        page.paste(icon, (0, 0), icon)
        return page

    def _is_paintable(self, number: int) -> bool:
        try:
            return paintable(self._icon(number, LOOKED_AT))
        except ValueError:  # broken: named when it is asked for
            return False

    def _icon(self, number: int, side: int | None = None) -> Image.Image:
        """An illustration as it is, RGBA."""
        if self._cache is None:
            return square(load_rgba(self.illustrations[number].path), side or self.view.side)
        levels = opened(self._cache)[self._rows[number]].transpose(1, 2, 0)
        icon = Image.fromarray(np.ascontiguousarray(levels))
        return icon if side is None else square(icon, side)
