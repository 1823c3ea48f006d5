"""Does a picture show what its text says? The form that every measure of it has here.

Three measures: prototype retrieval (`retrieval`, offline), CLIP score (`clip_score`, with the
user's weights), and GenEval's checks of composition (`composition`, without any network).
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from PIL import Image

from openimagen.evaluate.prompts import Prompt
from openimagen.evaluate.sheet import Cell


@dataclass(frozen=True)
class Score:
    """A figure with its 95% bootstrap interval over prompts; higher is better.

    `ceiling`: what real pictures get, where there are some; `chance`: what any pictures would.
    """

    name: str  # with its features, as in "R@1 (EffLite2)"
    value: float
    low: float
    high: float
    prompts: int
    ceiling: float | None = None
    chance: float | None = None


@runtime_checkable
class Alignment(Protocol):
    """A measure: pictures and the prompts that they were drawn from in, scores out."""

    def check(self, prompts: Sequence[Prompt]) -> None:
        """ValueError for prompts that cannot be measured, before anything is drawn."""
        ...

    def __call__(self, pictures: Iterable[Image.Image], prompts: Sequence[Prompt]) -> list[Score]:
        """Scores of one picture for each prompt, the main one first."""
        ...


class Judge(ABC):
    """An alignment that says of each picture whether it is right."""

    @abstractmethod
    def check(self, prompts: Sequence[Prompt]) -> None:
        """As `Alignment`."""

    @abstractmethod
    def judge(
        self, pictures: Iterable[Image.Image], prompts: Sequence[Prompt]
    ) -> tuple[list[Score], list[Cell]]:
        """The scores, and a cell of a contact sheet for each picture."""

    def __call__(self, pictures: Iterable[Image.Image], prompts: Sequence[Prompt]) -> list[Score]:
        """The scores alone."""
        return self.judge(pictures, prompts)[0]
