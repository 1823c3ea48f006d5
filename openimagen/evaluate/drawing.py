"""Draw the pictures of many prompts into a folder: once, resumably, by as many ranks as there are.

What is drawn is captioned data like any other: `metadata.jsonl` names the text of each picture.
`drawing.json` says what it was drawn with; a folder is never a mixture of two.
"""

import hashlib
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from openimagen import model_folder
from openimagen.cascade import Cascade
from openimagen.data.images import load, to_pil
from openimagen.evaluate.files import claim
from openimagen.evaluate.prompts import Prompt
from openimagen.files import write_whole
from openimagen.progress import Advance
from openimagen.text import TextEncoder

BATCH = 8  # pictures drawn at once; always the same ones, so that resuming changes no bit

Settings = Sequence[Mapping[str, Any]]  # as in `Cascade.sample`


@dataclass(frozen=True)
class Model:
    """A cascade to be measured, and who it is."""

    name: str  # as it was asked for
    sha256: str  # of model.json, which has the weights' own
    cascade: Cascade
    weights: Mapping[str, str] = field(default_factory=dict)  # sha256 of each stage's, by name


def load_model(name: str, device: torch.device | str = "cpu") -> Model:
    """Load an embedded model, a model folder or a hub id. ValueError if there is none."""
    folder = model_folder.find_model(name)
    cascade = model_folder.load(folder, device)
    known = model_folder.read_model_file(folder).weights
    weights = {stage: file.sha256 for stage, file in known.items()}
    written = (folder / "model.json").read_bytes()
    return Model(name, hashlib.sha256(written).hexdigest(), cascade, weights)


@dataclass(frozen=True)
class SamplingOverrides:
    """How a model is to draw; None is its own way. Steps and guidance: one, or one each stage."""

    size: int | None = None
    steps: Sequence[int] | None = None
    guidance: Sequence[float] | None = None
    sampler: str | None = None

    def settings(self, model: Model) -> Settings:
        """What `Drawing` takes. ValueError for a size or a number of stages not the model's."""
        return model.cascade.settings(
            self.size, steps=self.steps, guidance=self.guidance, sampler=self.sampler
        )


@dataclass(frozen=True)
class Shard:
    """Which of several ranks this is; they share a folder, and need not talk to each other."""

    number: int = 0
    count: int = 1

    @classmethod
    def of_environment(cls) -> "Shard":
        """What torchrun, or whoever sets RANK and WORLD_SIZE, says."""
        number, count = os.environ.get("RANK", "0"), os.environ.get("WORLD_SIZE", "1")
        if not (number.isdecimal() and count.isdecimal() and int(number) < int(count)):
            raise ValueError(f"RANK {number} of WORLD_SIZE {count}: count ranks from 0")
        return cls(int(number), int(count))

    def share(self, count: int, size: int) -> list[range]:
        """The blocks of `size` numbers, of those below `count`, that are this rank's to do."""
        firsts = range(self.number * size, count, self.count * size)
        return [range(first, min(first + size, count)) for first in firsts]


@dataclass(frozen=True)
class Drawing:
    """`samples` pictures of each prompt, in a folder.

    Picture number p * samples + s is sample s of prompt p; it is drawn with the seed `seed` + its
    number. `size` and `settings` as in `Cascade.sample`.
    """

    model: Model
    prompts: Sequence[Prompt]
    folder: Path
    samples: int = 1
    seed: int = 0
    size: int | None = None
    settings: Settings = ()

    def __len__(self) -> int:
        return len(self.prompts) * self.samples

    @property
    def side(self) -> int:
        """Pixels of the pictures."""
        return self.size or self.model.cascade.config.stages[-1].side

    def sizes(self) -> set[tuple[int, int]]:
        """Width and height of the pictures: one."""
        return {(self.side, self.side)}

    def file(self, number: int) -> Path:
        """Where picture `number` lies, or will."""
        return self.folder / f"{number:06}.png"

    def files(self, prompt: int) -> list[Path]:
        """The pictures of a prompt."""
        return [self.file(prompt * self.samples + sample) for sample in range(self.samples)]

    def missing(self) -> list[int]:
        """Numbers of the pictures that are not there yet."""
        return [number for number in range(len(self)) if not self.file(number).exists()]

    def pictures(self) -> Iterator[Image.Image]:
        """All of them, read one by one. ValueError for one that is not there, or is damaged."""
        return (load(self.file(number)) for number in range(len(self)))

    def draw(self, advance: Advance, shard: Shard | None = None, *, cut: bool = False) -> None:
        """Draw what is not there yet; a rank draws its share. Raises as `prepare`."""
        self.prepare(cut=cut)
        blocks, done = (shard or Shard()).share(len(self), BATCH), 0
        for block in blocks:
            self.fill(block)
            advance(done := done + len(block), sum(map(len, blocks)))

    def prepare(self, *, cut: bool = False) -> None:
        """Say in the folder what it is for.

        Raises ValueError if it holds anything else, for a size or settings that the model does not
        have, and unless `cut` if a prompt has more tokens than the model reads.
        """
        cascade = self.model.cascade
        cascade.adjusted(cascade.stages_between(0, self.size), self.settings)
        if not cut:
            check_fit(self.model, self.prompts)
        claim(self.folder / "drawing.json", self.identity(), "another drawing")
        lines = "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in self._rows())
        write_whole(self.folder / "metadata.jsonl", lines)

    def fill(self, block: range) -> None:
        """Draw a block of `Shard.share`'s if a picture of it is not there."""
        if all(self.file(number).exists() for number in block):
            return
        texts = [self.prompts[number // self.samples].text for number in block]
        seeds = [self.seed + number for number in block]
        sample = self.model.cascade.sample
        images = sample(texts, seeds, settings=self.settings, size=self.size)[-1]
        for number, image in zip(block, images, strict=True):
            file = io.BytesIO()
            to_pil(image).save(file, "PNG", compress_level=1)
            write_whole(self.file(number), file.getvalue())

    def identity(self) -> dict[str, Any]:
        """What the pictures depend on."""
        texts = json.dumps([prompt.text for prompt in self.prompts]).encode()
        settings = [dict(setting) for setting in self.settings] if any(self.settings) else []
        return {
            "model": self.model.sha256,
            "prompts": hashlib.sha256(texts).hexdigest(),
            "samples": self.samples,
            "seed": self.seed,
            "size": self.side,
            "settings": settings,
        }

    def _rows(self) -> Iterator[dict[str, Any]]:
        for number in range(len(self)):
            prompt = self.prompts[number // self.samples]
            row: dict[str, Any] = {"file_name": self.file(number).name, "text": prompt.text}
            if prompt.category:
                row["category"] = prompt.category
            yield row | {"seed": self.seed + number} | dict(prompt.content or {})


def check_fit(model: Model, prompts: Sequence[Prompt]) -> None:
    """ValueError if a prompt has more tokens than the model's encoder reads."""
    texts = list(dict.fromkeys(prompt.text for prompt in prompts))
    model.cascade.encode(texts[:1])  # loads the encoder
    encoder = model.cascade.encoder
    if isinstance(encoder, TextEncoder) and (long := encoder.cut(texts)):
        raise ValueError(
            f"{len(long)} of {len(texts)} prompts are over the {encoder.max_tokens} tokens that "
            f'{model.name} reads, as "{long[0][:40]}...": leave them out, or say --cut'
        )
