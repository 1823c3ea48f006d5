"""What a model of the illustration corpus was shown and what it was not, as exams.

Names that it was shown; names in styles in which it was not shown them; names that it was shown in
no style; and scenes, in the main style, of colours and relations that it was not shown with these
things.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from openimagen.config import Illustrations
from openimagen.data.colours import own_colour, paintable
from openimagen.data.icons import STYLES
from openimagen.data.illustrations import Illustration, is_unseen, read_illustrations
from openimagen.data.scene_prompts import OBJECTS, scene_prompts
from openimagen.data.scenes import Scene, read_icon
from openimagen.data.unseen import is_unseen_name
from openimagen.evaluate.composition import Composition, prompt_of
from openimagen.evaluate.exams import Exam
from openimagen.evaluate.features import Features
from openimagen.evaluate.prompts import Prompt
from openimagen.evaluate.retrieval import Gallery, Prototypes
from openimagen.evaluate.styled import StyledPrototypes
from openimagen.progress import Watch, unwatched

T = TypeVar("T")
EACH = 60  # scenes of a category
COMPOSED = ("colors", "position", "color_attr")  # categories whose combinations are held back
ICON_SIDE = 128  # pixels, of the icons that scenes are known by


@dataclass(frozen=True)
class Corpus:
    """The icons of a folder. `main`: the style of a prompt that names none."""

    folder: Path
    icons: tuple[Illustration, ...]
    main: str = Illustrations().main

    @cached_property
    def shown(self) -> list[Illustration]:
        """Those that a model may have been trained on."""
        return [icon for icon in self.icons if not icon.is_unseen]

    @cached_property
    def held(self) -> list[Illustration]:
        """Those whose name it was shown, but not in this style, nor the same file as another's."""
        names = {icon.name for icon in self.shown}
        held = [icon for icon in self.icons if icon.is_unseen and icon.name in names]
        sizes = {icon.path.stat().st_size for icon in held}
        same = {icon.path.read_bytes() for icon in self.shown if icon.path.stat().st_size in sizes}
        return [icon for icon in held if icon.path.read_bytes() not in same]

    def of(self, style: str) -> dict[str, Illustration]:
        """All icons of a style, by name."""
        return {icon.name: icon for icon in self.icons if icon.style == style}

    @cached_property
    def _by_name(self) -> dict[str, list[Illustration]]:
        found: dict[str, list[Illustration]] = {}
        for icon in self.icons:
            found.setdefault(icon.name, []).append(icon)
        return found

    def named(self, name: str) -> list[Illustration]:
        """The icons of a name, in whatever style."""
        return self._by_name[name]

    def other(self, icon: Illustration) -> Illustration | None:
        """The same thing in another style, the main one first; None if it is in none."""
        others = [each for each in self.named(icon.name) if each != icon]
        return min(others, key=lambda each: (each.style != self.main, each.style), default=None)


def read_corpus(folder: Path) -> Corpus:
    """ValueError unless the folder has icons of several styles, the main one among them."""
    corpus = Corpus(folder, tuple(read_illustrations(folder)))
    styles = {icon.style for icon in corpus.icons}
    if corpus.main not in styles or len(styles) < 2:
        raise ValueError(
            f"{folder} has icons of {', '.join(sorted(styles))}: {corpus.main} and another style "
            f"are needed; make them with `openimagen data icons {folder}`"
        )
    return corpus


@dataclass(frozen=True)
class _Look:
    """How pictures are looked at."""

    features: Features
    side: int | None
    watch: Watch

    def prototypes(self, gallery: Gallery, real: Gallery, title: str = "") -> Prototypes:
        return Prototypes(gallery, self.features, real, self.side, self.watch, title=title)


def corpus_exams(
    corpus: Corpus,
    features: Features,
    names: int = 200,
    seed: int = 0,
    side: int | None = None,
    watch: Watch = unwatched,
) -> list[Exam]:
    """Retrieval of seen names, of unseen pairs of name and style, of new names; composition.

    `names` of the first two, chosen by the seed; ValueError if there are not as many. Of the third
    all, for they are few; without any, that exam is left out.
    """
    comparable = [icon for icon in corpus.of(corpus.main).values() if corpus.other(icon)]
    seen = [icon.name for icon in comparable if not icon.is_unseen]
    new = [icon.name for icon in comparable if is_unseen_name(icon.name)]
    more = random.Random(seed).sample(seen, max(0, min(names - len(new), len(seen))))
    look = _Look(features, side, watch)
    exams = [
        _plain("seen", corpus, _lot(seen, names, seed), [], look),
        _unseen(corpus, names, seed, look),
        *([_plain("new", corpus, new, more, look)] if new else []),
        _composed(corpus, seed, side),
    ]
    for exam in exams:
        exam.alignment.check(exam.prompts)
    return exams


def _plain(which: str, corpus: Corpus, names: list[str], more: list[str], look: _Look) -> Exam:
    """Plain names, looked up among them and `more` in the main style.

    Real icons of another style are the ceiling.
    """
    main = corpus.of(corpus.main)
    gallery = {name: [main[name].path] for name in (*names, *more)}
    others = {name: corpus.other(main[name]) for name in names}
    real = {name: [other.path] for name, other in others.items() if other}
    measure = look.prototypes(gallery, real, f"{which} names")
    return Exam(which, measure, [Prompt(name) for name in names])


def _unseen(corpus: Corpus, count: int, seed: int, look: _Look) -> Exam:
    """Names with styles, looked up in that style; real icons of other styles are the ceiling."""
    chosen = _lot(corpus.held, count, seed)
    galleries, real = dict[str, Gallery](), dict[str, Gallery]()
    for style in sorted({icon.style for icon in chosen}):
        there = corpus.of(style)
        asked = [icon.name for icon in chosen if icon.style == style]
        more = sorted({*there}.difference(asked))
        random.Random(f"{seed} {style}").shuffle(more)
        gallery = [*asked, *more][: max(count, len(asked))]
        galleries[style] = {name: [there[name].path] for name in gallery}
        others = {name: corpus.other(there[name]) for name in asked}
        real[style] = {name: [other.path] for name, other in others.items() if other}
    prompts, quiet = {styled_prompt(icon): icon for icon in chosen}, replace(look, watch=unwatched)
    measure = StyledPrototypes(
        {text: (icon.style, icon.name) for text, icon in prompts.items()},
        {style: look.prototypes(of, real[style]) for style, of in galleries.items()},
        {name: quiet.prototypes(of, {}) for name, of in _styles(corpus, chosen).items()},
    )
    return Exam("unseen", measure, [Prompt(text) for text in prompts])


def _styles(corpus: Corpus, chosen: Sequence[Illustration]) -> dict[str, Gallery]:
    """Of each name, in at least two styles, as it was shown in one: style -> its picture."""
    each = {icon.name: corpus.named(icon.name) for icon in chosen}
    return {name: {icon.style: [icon.path] for icon in icons} for name, icons in each.items()}


def _composed(corpus: Corpus, seed: int, side: int | None) -> Exam:
    """Scenes of common things; colours and relations are those that were held back."""
    shown = {icon.name: icon for icon in corpus.of(corpus.main).values() if not icon.is_unseen}
    icons = {
        called: read_icon(shown[name].path, ICON_SIDE)
        for called, name in OBJECTS.items()
        if name in shown
    }
    painted = [name for name, icon in icons.items() if paintable(icon)]
    natural = {icon.name for icon in corpus.icons}  # "green apple" is an icon
    natural |= {f"{own_colour(icon)} {called}" for called, icon in icons.items()}
    natural |= {f"white {called}" for called in icons}  # nobody sees it on white

    def is_asked(scene: Scene) -> bool:
        if scene.tag not in COMPOSED:
            return True
        words = {f"{thing.colour} {thing.name}" for thing in scene.include}
        return is_unseen(scene) and not words & natural

    scenes = scene_prompts([*icons], EACH, seed, coloured=painted, keep=is_asked)
    in_style = f", in {STYLES[corpus.main].words}"
    styled = [replace(scene, caption=scene.caption + in_style) for scene in scenes]
    prompts = [prompt_of(scene) for scene in styled]
    return Exam("composition", Composition(icons, None, side), prompts)


def styled_prompt(icon: Illustration) -> str:
    """A name with its style."""
    return f"{icon.name}, in {STYLES[icon.style].words}"


def _lot(things: Sequence[T], count: int, seed: int) -> list[T]:
    if len(things) < count:
        raise ValueError(
            f"{count} names wanted, there are {len(things)}: say --names {len(things)}"
        )
    return random.Random(seed).sample(things, count)
