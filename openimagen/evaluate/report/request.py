"""What to measure a model on, for a report."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from openimagen.evaluate.drawing import Drawing, Model
from openimagen.evaluate.prompts import Prompt
from openimagen.evaluate.speed import Draw

GUIDANCE = (1.0, 1.5, 2.0, 3.0, 5.0)  # weights that the sweep goes over


@dataclass(frozen=True)
class Request:
    """What to measure a model on.

    `data`: captioned pictures that it was trained on. `unseen`: others of the same names, which it
    was not. `scenes`: icons with alpha, to ask for scenes of. `icons`, in place of these three: the
    illustration corpus, of which it was trained on what is not held back. `clip`: a CLIP's folder
    or hub id.
    `prompts`: what to draw, instead of `names` captions of `data`. `size`: side that the measured
    pictures are drawn at, the first stage's if None; `side`: that all are looked at with. `cut`:
    draw prompts that are too long for the model, too. `draw`: what is timed; None times nothing.
    """

    model: Model
    out: Path
    data: Path | None = None
    unseen: Path | None = None
    scenes: Path | None = None
    icons: Path | None = None
    clip: str | None = None
    prompts: Sequence[Prompt] | None = None
    names: int = 200
    seed: int = 0
    size: int | None = None
    side: int | None = None
    cut: bool = False
    guidance: Sequence[float] = GUIDANCE
    draw: Draw | None = None
    hourly: float | None = None  # price of this machine
    version: str = ""  # of openimagen
    command: str = ""  # what was typed

    @property
    def drawn(self) -> int:
        """Side of the pictures that are measured."""
        return self.size or self.model.cascade.config.stages[0].side

    @property
    def looked_at(self) -> int:
        """Side that pictures are brought to."""
        return self.side or self.drawn

    def drawing(self, name: str, prompts: Sequence[Prompt], size: int | None) -> Drawing:
        """Pictures of prompts, one each, kept in the folder."""
        folder = self.out / "pictures" / name
        return Drawing(self.model, prompts, folder, seed=self.seed, size=size)
