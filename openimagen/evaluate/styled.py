"""Prototype retrieval of prompts that name a style, each looked up among real pictures of it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from PIL import Image

from openimagen.evaluate.alignment import Judge, Score
from openimagen.evaluate.prompts import Prompt
from openimagen.evaluate.retrieval import Found, Prototypes, scores
from openimagen.evaluate.sheet import Cell


@dataclass(frozen=True)
class StyledPrototypes(Judge):
    """R@1 and R@5 over several galleries. `of`: text of a prompt -> its gallery, its name there."""

    of: Mapping[str, tuple[str, str]]
    galleries: Mapping[str, Prototypes]

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
        each = [found[number] for number in range(len(prompts))]
        one = next(iter(self.galleries.values()))
        of = f" of unseen (name, style) ({one.features.name})"
        return scores(each, [prompt.text for prompt in prompts], of), [
            looked.cell for looked in each
        ]

    def _named(self, prompts: Sequence[Prompt], style: str) -> list[tuple[int, str]]:
        """Numbers and names of the prompts of a style."""
        known = [self.of[prompt.text] for prompt in prompts]
        return [(number, name) for number, (there, name) in enumerate(known) if there == style]
