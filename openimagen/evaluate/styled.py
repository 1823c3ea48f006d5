"""Prototype retrieval of prompts that name a style, each looked up among real pictures of it.

And whether the style is right: of all real pictures of the name, the one in the style asked for
should be the nearest. Either score alone can be had for nothing: names by drawing the style that is
known best whatever is asked for, styles by drawing anything in them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from PIL import Image

from openimagen.evaluate.alignment import Judge, Score
from openimagen.evaluate.bootstrap import share_interval
from openimagen.evaluate.prompts import Prompt
from openimagen.evaluate.retrieval import Found, Prototypes, scores
from openimagen.evaluate.sheet import Cell


@dataclass(frozen=True)
class StyledPrototypes(Judge):
    """R@1 and R@5 over several galleries, and the share of pictures in the right style.

    `of`: text of a prompt -> its style, its name there; `galleries`: style -> pictures by name;
    `styles`: name -> pictures by style, two or more; names that are in one alone are left out.
    """

    of: Mapping[str, tuple[str, str]]
    galleries: Mapping[str, Prototypes]
    styles: Mapping[str, Prototypes]

    def check(self, prompts: Sequence[Prompt]) -> None:
        """ValueError for a prompt that no gallery is known for."""
        for prompt in prompts:
            if prompt.text not in self.of:
                raise ValueError(f"no style is known for {prompt.text!r}: name one of the corpus")
        for style, gallery in self.galleries.items():
            if named := self._named(prompts, style):
                gallery.check([Prompt(name) for _, name in named])

    def judge(
        self, pictures: Iterable[Image.Image], prompts: Sequence[Prompt]
    ) -> tuple[list[Score], list[Cell]]:
        """The scores, and each picture beside the real one, with the name that it is nearest to."""
        self.check(prompts)
        drawn, found = list(pictures), dict[int, Found]()
        for style, gallery in self.galleries.items():
            if named := self._named(prompts, style):
                numbers = [number for number, _ in named]
                looked = gallery.find((drawn[n] for n in numbers), [name for _, name in named])
                found |= dict(zip(numbers, looked, strict=True))
        each, texts = [found[number] for number in range(len(prompts))], [p.text for p in prompts]
        said = [*scores(each, texts, self._of), *self._style(drawn, texts)]
        return said, [looked.cell for looked in each]

    @property
    def _one(self) -> Prototypes:
        return next(iter(self.galleries.values()))

    @property
    def _of(self) -> str:
        return f" of unseen (name, style) ({self._one.features.name})"

    def _style(self, drawn: Sequence[Image.Image], texts: Sequence[str]) -> list[Score]:
        """The share of pictures that are nearest to the icon of their name in the style asked for.

        No score where no name is in two styles.
        """
        found, known = list[Found](), list[str]()
        with self._one.watch("styles", "pictures") as advance:
            for number, (picture, text) in enumerate(zip(drawn, texts, strict=True), 1):
                style, name = self.of[text]
                if name in self.styles:
                    found += self.styles[name].find([picture], [style])
                    known.append(text)
                advance(number, len(texts))
        if not found:
            return []
        share = share_interval([each.hits[1] for each in found], known)
        chance = fmean(each.chance[1] for each in found)
        return [Score(f"style{self._of}", *share, len(set(known)), None, chance)]

    def _named(self, prompts: Sequence[Prompt], style: str) -> list[tuple[int, str]]:
        """Numbers and names of the prompts of a style."""
        known = [self.of[prompt.text] for prompt in prompts]
        return [(number, name) for number, (there, name) in enumerate(known) if there == style]
