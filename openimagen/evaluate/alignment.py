"""Does a picture show what its text says? The form that every measure of it has here.

Three measures: prototype retrieval (`retrieval`, offline), CLIP score (`clip_score`, with the
user's weights), and GenEval's checks of composition (`composition`, without any network).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from PIL import Image

from openimagen.evaluate.prompts import Prompt


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
