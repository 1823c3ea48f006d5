"""Prototype retrieval of prompts that name a style, each looked up among real pictures of it.

And whether the style is right, too: of all real pictures of the name, the one in the style asked
for should be the nearest. R@1 alone can be had by drawing the style that is known best, whatever
is asked for.
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
from openimagen.progress import Advance


@dataclass(frozen=True)
class StyledPrototypes(Judge):
    """R@1 and R@5 over several galleries, and the share of pictures in the right style.

    `of`: text of a prompt -> its style, its name there; `galleries`: style -> pictures by name;
    `styles`: name -> pictures by style.
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
        one = next(iter(self.galleries.values()))
        title = f" of unseen (name, style) ({one.features.name})"
        with one.watch("styles", "pictures") as advance:
            right = self._style(drawn, texts, title, advance)
        return [*scores(each, texts, title), right], [looked.cell for looked in each]

    def _style(
        self, drawn: Sequence[Image.Image], texts: Sequence[str], title: str, advance: Advance
    ) -> Score:
        """The share of pictures nearest to the icon of their name in the style asked for."""
        found = list[Found]()
        for picture, text in zip(drawn, texts, strict=True):
            style, name = self.of[text]
            found += self.styles[name].find([picture], [style])
            advance(len(found), len(texts))
        share = share_interval([each.hits[1] for each in found], texts)
        chance = fmean(each.chance[1] for each in found)
        return Score(f"style{title}", *share, len(set(texts)), None, chance)

    def _named(self, prompts: Sequence[Prompt], style: str) -> list[tuple[int, str]]:
        """Numbers and names of the prompts of a style."""
        known = [self.of[prompt.text] for prompt in prompts]
        return [(number, name) for number, (there, name) in enumerate(known) if there == style]
