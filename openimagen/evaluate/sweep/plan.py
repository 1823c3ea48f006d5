"""What a sweep is to draw, and how it is to be looked at."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from openimagen.cascade import network_calls
from openimagen.config import SamplingConfig
from openimagen.data.source import Shards, open_pictures
from openimagen.evaluate.alignment import Alignment
from openimagen.evaluate.drawing import Drawing, Model
from openimagen.evaluate.features import Features
from openimagen.evaluate.prompts import Prompt
from openimagen.evaluate.sweep.result import Identity
from openimagen.evaluate.sweep.settings import Place, Setting, places


@dataclass(frozen=True)
class Plan:
    """What to draw and how to look at it.

    `alignments`: by names that say all that their scores depend on,
    but for the prompts. `size`: side to draw, the last stage's if None. `side`: to bring all
    pictures to, real ones too; as large as they are drawn if None. `cut`: draw prompts that are too
    long for the model, too.
    """

    model: Model
    prompts: Sequence[Prompt]
    real: Path
    over: Sequence[Setting]
    folder: Path
    features: Features
    alignments: Mapping[str, Alignment]
    samples: int = 1
    seed: int = 0
    size: int | None = None
    side: int | None = None
    cut: bool = False

    @property
    def drawn(self) -> int:
        """Side of the drawn pictures."""
        return self.size or self.model.cascade.config.stages[-1].side

    @cached_property
    def places(self) -> list[Place]:
        """Its points."""
        return places(self.over, self.model.cascade, self.size)

    @cached_property
    def identity(self) -> Identity:
        """What all its points share."""
        texts = json.dumps([prompt.text for prompt in self.prompts]).encode()
        return Identity(
            model=self.model.sha256,
            prompts=hashlib.sha256(texts).hexdigest(),
            samples=self.samples,
            seed=self.seed,
            size=self.drawn,
            side=self.side or self.drawn,
            features=self.features.name,
            real=fingerprint(self.real),
            alignment=tuple(self.alignments),
        )

    def work(self, place: Place) -> int:
        """How often the networks are called at a point."""
        each = [SamplingConfig.model_validate(sampling) for sampling in place.settings.values()]
        calls = sum(network_calls(one) * (1 if one.guidance == 1 else 2) for one in each)
        return len(self.prompts) * self.samples * calls

    def drawing(self, place: Place) -> Drawing:
        """The pictures of a point."""
        folder, settings = self.folder / place.name, place.overrides
        return Drawing(
            self.model, self.prompts, folder, self.samples, self.seed, self.size, settings
        )


def fingerprint(path: Path) -> str:
    """sha256 of the names and sizes of a collection's files. ValueError if there are none."""
    source = open_pictures(path)
    files = source.paths if isinstance(source, Shards) else [pair.path for pair in source.pairs]
    root = os.path.commonpath([file.parent for file in files])
    lines = [f"{file.relative_to(root).as_posix()} {file.stat().st_size}\n" for file in files]
    return hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()
