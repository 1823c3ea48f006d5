"""FID-30K: the paper's protocol on COCO, streamed, resumed, shared by as many ranks as there are.

30,000 captions by lot from the validation set are drawn; the reference is all of its pictures, each
cut to its central square and brought to 256 by antialiased bicubic (Saharia et al., 2022, 4).

RUN/drawing/             what the model drew, once: captioned data
RUN/features/EffLite2/   features of drawn and real pictures, `BLOCK` a file
RUN/fid30k.json          the figures
"""

import json
import os
import re
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from openimagen.data.faults import Faults
from openimagen.data.images import load
from openimagen.data.sample import Fault, Item
from openimagen.evaluate.captioned import Captioned
from openimagen.evaluate.drawing import BATCH, Drawing, Model, SamplingOverrides, Shard
from openimagen.evaluate.feature_blocks import FeatureBlocks
from openimagen.evaluate.features import Features
from openimagen.evaluate.files import claim
from openimagen.evaluate.prompts import Prompt
from openimagen.evaluate.quality import (
    Collection,
    Quality,
    at_side,
    decoded,
    least_pictures,
    measured,
)
from openimagen.files import write_whole
from openimagen.progress import Watch, unwatched


@dataclass(frozen=True)
class Protocol:
    """What is measured, in numbers; the paper's by default."""

    prompts: int = 30_000
    seed: int = 0  # of the lot, and of the first picture
    side: int = 256  # that pictures are compared at
    # of the model's own settings; size: if None, the smallest that is no less
    overrides: SamplingOverrides = field(default_factory=SamplingOverrides)
    cut: bool = False  # captions that are too long, instead of refusing them
    drop: bool = False  # pictures whose features are there


@dataclass(frozen=True)
class Fid30k:
    """What came of it; no figures while other ranks have blocks to do."""

    run: str
    protocol: dict[str, Any]
    missing: int  # blocks of pictures
    quality: Quality | None

    def __str__(self) -> str:
        if self.quality is None:
            return (
                f"{self.run}  this rank has done its share; {self.missing} blocks of pictures are "
                "still with others, the last of whom measures"
            )
        facts = self.protocol
        return (
            f"{facts['model']} at {facts['size']}, {facts['prompts']} captions of "
            f"{facts['reference']}, seed {facts['seed']}\n{self.quality}"
        )

    def figures(self) -> dict[str, Any]:
        """All of it, for `json.dumps`."""
        found = {} if self.quality is None else self.quality.figures()
        return {"run": self.run, "missing": self.missing, "protocol": self.protocol} | found


def fid30k(
    model: Model,
    data: Captioned,
    features: Features,
    run: Path,
    protocol: Protocol,
    *,
    weights: str | None = None,
    watch: Watch = unwatched,
    shard: Shard | None = None,
) -> Fid30k:
    """Draw captions of `data`, look at all pictures, and measure, as far as it is not done yet.

    `run`: a folder that all ranks see. Each does its share; whoever ends last measures. `weights`:
    where those of the features came from. In memory are the features, 4 d bytes a picture, and
    three times as much while distances are taken.
    Raises ValueError for too few captions or pictures, and for a folder with something else in it.
    """
    if (fewest := min(protocol.prompts, len(data))) < (needed := least_pictures()):
        raise ValueError(f"{fewest} pictures on one side: the distances need at least {needed}")
    drawing = _drawing(model, data, run, protocol)
    if drawing.side < protocol.side:
        warnings.warn(
            f"{model.name} draws {drawing.side} pixels: --side {protocol.side} enlarges them",
            stacklevel=2,
        )
    folder = run / "features" / re.sub(r"[^A-Za-z0-9]+", "-", features.name)
    work = _Work(data, drawing, features, folder, protocol, watch, shard or Shard())
    work.claim(weights)
    work.look()
    work.draw()
    facts, missing = work.facts(), len(work.real.missing()) + len(work.drawn.missing())
    if missing:
        return Fid30k(str(run), facts, missing, None)
    found = Fid30k(str(run), facts, 0, work.measure())
    write_whole(run / "fid30k.json", json.dumps(found.figures(), indent=1) + "\n")
    return found


def _drawing(model: Model, data: Captioned, run: Path, protocol: Protocol) -> Drawing:
    overrides, sides = protocol.overrides, [stage.side for stage in model.cascade.config.stages]
    size = overrides.size or min((s for s in sides if s >= protocol.side), default=sides[-1])
    settings = replace(overrides, size=size).settings(model)
    prompts = [Prompt(text) for _, text in data.chosen(protocol.prompts, protocol.seed)]
    return Drawing(model, prompts, run / "drawing", 1, protocol.seed, size, settings)


@dataclass(frozen=True)
class _Work:
    """The protocol as one of the ranks goes through it."""

    data: Captioned
    drawing: Drawing
    features: Features
    folder: Path  # of the features
    protocol: Protocol
    watch: Watch
    shard: Shard

    @property
    def real(self) -> FeatureBlocks:
        return FeatureBlocks(self.folder, "real", len(self.data))

    @property
    def drawn(self) -> FeatureBlocks:
        return FeatureBlocks(self.folder, "drawn", len(self.drawing))

    def claim(self, weights: str | None) -> None:
        """See that what lies in the folders already is of the same protocol."""
        self.drawing.prepare(cut=self.protocol.cut)
        identity = {
            "drawing": self.drawing.identity(),
            "reference": self.data.fingerprint(),
            "side": self.protocol.side,
            "weights": weights,
        }
        claim(self.folder / "blocks.json", identity, "other features")

    def look(self) -> None:
        """The features of this rank's share of the real pictures."""
        share = self.real.share(self.shard)
        missing, total = self.real.missing(share), sum(map(len, share))
        done = total - sum(map(len, missing))
        with (
            self.watch(f"looking at {self.data.path.name}", "pictures") as advance,
            ThreadPoolExecutor(os.cpu_count()) as pool,
        ):
            advance(done, total)
            for block, items in self.data.blocks(missing):
                seen = list(pool.map(self._shown, items))
                rows = self.features(each for each in seen if isinstance(each, Image.Image))
                faults = [each for each in seen if isinstance(each, Fault)]
                self.real.keep(block, rows, {fault.name: fault.reason for fault in faults})
                advance(done := done + len(block), total)

    def _shown(self, item: Item) -> Image.Image | Fault:
        picture = decoded(item)
        return picture if isinstance(picture, Fault) else at_side(picture, self.protocol.side)

    def draw(self) -> None:
        """The pictures of this rank's share of the captions, and their features."""
        share = self.drawn.share(self.shard)
        missing, total = self.drawn.missing(share), sum(map(len, share))
        done = total - sum(map(len, missing))
        with self.watch(f"drawing {self.drawing.model.name}", "pictures") as advance:
            advance(done, total)
            for block in missing:
                for first in block[::BATCH]:
                    batch = range(first, min(first + BATCH, block.stop))
                    self.drawing.fill(batch)
                    advance(done := done + len(batch), total)
                files = [self.drawing.file(number) for number in block]
                pictures = (at_side(load(file), self.protocol.side) for file in files)
                self.drawn.keep(block, self.features(pictures), {})
                for file in files if self.protocol.drop else ():
                    file.unlink(missing_ok=True)

    def measure(self) -> Quality:
        """All distances, when the features of all pictures are there."""
        rows, broken = self.real.read()
        if len(rows) < (needed := least_pictures()):
            raise ValueError(f"{self.data.path} has {len(rows)} pictures that can be read: "
                             f"the distances need at least {needed}")  # fmt: skip
        drawn, _ = self.drawn.read()
        sides = (
            self._collection(self.data.path, rows, broken),
            self._collection(self.drawing.folder, drawn, {}),
        )
        found = measured(rows, drawn, self.features.name, self.watch)
        return Quality(self.features.name, self.protocol.side, *sides, found)

    def _collection(self, path: Path, rows: Tensor, broken: dict[str, str]) -> Collection:
        faults, side = Faults(broken), self.protocol.side
        counts = faults.counts()
        return Collection(str(path), len(rows), side, side, len(faults), counts, faults.named)

    def facts(self) -> dict[str, Any]:
        """What another would have to know to measure the same."""
        drawing, cascade = self.drawing, self.drawing.model.cascade
        stages = cascade.adjusted(cascade.stages_between(0, drawing.size), drawing.settings)
        return {
            "model": drawing.model.name,
            "sha256": drawing.model.sha256,
            "reference": str(self.data.path),
            "prompts": len(drawing),
            "seed": drawing.seed,
            "cut": self.protocol.cut,
            "size": drawing.side,
            "side": self.protocol.side,
            "resize": "central square, antialiased bicubic",
            "sampling": {
                stage.config.name: stage.config.sampling.model_dump(mode="json")
                for stage in stages.values()
            },
        }
