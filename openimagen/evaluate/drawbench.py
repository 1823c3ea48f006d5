"""Make a study: what two models drew, or one beside real pictures, for people to judge.

STUDY/drawings/first, second  what the models drew: captioned data; no rater is shown these files
STUDY/study.json, pictures/   the study itself, which `openimagen evaluate rate STUDY` serves
STUDY/sheets/                 instead, where one model drew alone: a contact sheet of each category
"""

import io
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from openimagen.data.images import load
from openimagen.data.sheet import captioned_sheet, thumbnail
from openimagen.evaluate.drawing import Drawing, SamplingOverrides, Shard, load_model
from openimagen.evaluate.gallery import Gallery, find_gallery, find_pairs, is_gallery
from openimagen.evaluate.prompts import Prompt
from openimagen.evaluate.study.design import Kind
from openimagen.evaluate.study.folder import Entry, check_study, write_study
from openimagen.files import write_whole
from openimagen.progress import Watch, unwatched

SHOWN = 40  # prompts on a contact sheet
CONTROLS = 8

Side = Drawing | Gallery


@dataclass(frozen=True)
class Plan:
    """A study to be made."""

    out: Path
    kind: Kind
    names: tuple[str, str]
    prompts: Sequence[Prompt]
    sides: tuple[Side, Side]
    pixels: int | None  # of the squares that raters see
    seed: int
    per_rater: int | None = None

    def check(self) -> None:
        """ValueError, before anything is drawn, for what would make no study."""
        if (self.out / "votes.sqlite").exists():
            raise ValueError(f"{self.out} holds votes on a study: choose another folder")
        texts = [(prompt.category or "all", prompt.text) for prompt in self.prompts]
        check_study(self.kind, self.names, texts, len(self.sides[0].files(0)), self.pixels)
        sizes = {size for side in self.sides for size in side.sizes()}
        if self.pixels is None and (len(sizes) > 1 or len({*min(sizes)}) > 1):
            words = " and ".join(f"{width}x{height}" for width, height in sorted(sizes)[:2])
            raise ValueError(
                f"pictures are {words}: say --side {min(map(min, sizes))}, or another for the "
                "squares that raters see"
            )

    def write(self) -> None:
        """Write the study, whose pictures are all there."""
        entries = (
            Entry(prompt.text, prompt.category or "all", *(side.files(n) for side in self.sides))
            for n, prompt in enumerate(self.prompts)
        )
        several = len({prompt.text for prompt in self.prompts}) > 1
        write_study(
            self.out,
            self.kind,
            self.names,
            entries,
            seed=self.seed,
            side=self.pixels,
            controls=CONTROLS if several else 0,
            per_rater=self.per_rater,
        )


@dataclass(frozen=True)
class Made:
    """What came of it."""

    out: str
    texts: int
    samples: int  # of each text and model
    models: tuple[str, ...]
    missing: int  # pictures that other ranks are still to draw

    def __str__(self) -> str:
        who = " against ".join(self.models)
        what = f"{self.texts} texts, {self.samples} pictures each, {who}"
        if self.missing:
            return f"{self.out}  {what}: {self.missing} pictures are still with other ranks"
        if len(self.models) == 1:
            return f"{self.out}  {what}: see drawings/first and sheets"
        return f"{self.out}  {what}\nserve it: openimagen evaluate rate {self.out} --invite NAME"

    def figures(self) -> dict[str, Any]:
        """All of it, for `json.dumps`."""
        return asdict(self)


@dataclass(frozen=True)
class Order:
    """What is asked for, whatever the study: which model, how it draws, where it all goes."""

    model: str
    out: Path
    overrides: SamplingOverrides
    seed: int = 0
    pixels: int | None = None
    cut: bool = False
    device: torch.device | str = "cpu"

    def drawing(self, model: str, prompts: Sequence[Prompt], which: str, samples: int) -> Drawing:
        """Of a model, the first or the second."""
        loaded = load_model(model, self.device)
        settings, folder = self.overrides.settings(loaded), self.out / "drawings" / which
        return Drawing(loaded, prompts, folder, samples, self.seed, self.overrides.size, settings)


def drawbench(
    order: Order,
    prompts: Sequence[Prompt],
    *,
    against: str | None = None,
    names: tuple[str, str] | None = None,
    samples: int = 8,
    watch: Watch = unwatched,
    shard: Shard | None = None,
) -> Made:
    """DrawBench's study (Saharia et al., 2022, 4.1): `samples` pictures a prompt of two models.

    `against`: another model, which is then in memory too, or a captioned folder of pictures that
    another system made. Without, the model draws alone. What is there already is not drawn again.
    Each rank draws its share; the one that finds all pictures there writes the study.
    Raises ValueError, before anything is drawn, for what would make no study.
    """
    first = order.drawing(order.model, prompts, "first", samples)
    if against is None:
        return _alone(order, first, watch, shard)
    second: Side
    if is_gallery(against):
        second = find_gallery(Path(against), prompts, samples)
    else:
        second = order.drawing(against, prompts, "second", samples)
    shown = names or (_label(order.model), _label(against))
    sides = first, second
    plan = Plan(order.out, "drawbench", shown, prompts, sides, order.pixels, order.seed)
    return _carried_out(plan, order, watch, shard)


def realism(
    order: Order,
    real: Path,
    *,
    pairs: int = 200,
    per_rater: int | None = 50,
    name: str | None = None,
    watch: Watch = unwatched,
    shard: Shard | None = None,
) -> Made:
    """The study on COCO (Saharia et al., 2022, 4.2): a drawn picture against the real one.

    `real`: COCO or a captioned folder, of which `pairs` pictures are taken by lot, each with one of
    its captions. `per_rater`: how many one rater sees. As `drawbench` in all else.
    """
    chosen = find_pairs(real, pairs, order.seed)
    prompts = [Prompt(text) for _, text in chosen]
    drawing = order.drawing(order.model, prompts, "first", 1)
    gallery = Gallery([[file] for file, _ in chosen])
    names = name or _label(order.model), "real"
    pixels = order.pixels or drawing.side
    plan = Plan(
        order.out, "realism", names, prompts, (drawing, gallery), pixels, order.seed, per_rater
    )
    return _carried_out(plan, order, watch, shard)


# --- the work -------------------------------------------------------------------------------------


def _carried_out(plan: Plan, order: Order, watch: Watch, shard: Shard | None) -> Made:
    plan.check()
    drawings = [side for side in plan.sides if isinstance(side, Drawing)]
    missing = _drawn(drawings, plan.names, order, watch, shard)
    if not missing:
        plan.write()
    samples = len(plan.sides[0].files(0))
    return Made(str(order.out), len(plan.prompts), samples, plan.names, missing)


def _alone(order: Order, drawing: Drawing, watch: Watch, shard: Shard | None) -> Made:
    name = _label(order.model)
    missing = _drawn([drawing], [name], order, watch, shard)
    if not missing:
        write_sheets(drawing, order.out / "sheets")
    return Made(str(order.out), len(drawing.prompts), drawing.samples, (name,), missing)


def _drawn(
    drawings: Sequence[Drawing],
    names: Sequence[str],
    order: Order,
    watch: Watch,
    shard: Shard | None,
) -> int:
    """Draw this rank's share; how many pictures are then still to be drawn."""
    for drawing in drawings:  # whatever is wrong with any of them
        drawing.prepare(cut=order.cut)
    for drawing, name in zip(drawings, names, strict=False):
        with watch(f"drawing {name}", "pictures") as advance:
            drawing.draw(advance, shard, cut=True)  # it has been looked at
    return sum(len(drawing.missing()) for drawing in drawings)


def _label(model: str) -> str:
    """A model's name as results have it: the end of a long path."""
    return model.rstrip("/")[-80:]


# --- contact sheets -------------------------------------------------------------------------------


def write_sheets(drawing: Drawing, folder: Path) -> None:
    """A contact sheet of each category's first prompts, `samples` pictures a row."""
    folder.mkdir(parents=True, exist_ok=True)
    numbers: dict[str, list[int]] = {}
    for number, prompt in enumerate(drawing.prompts):
        numbers.setdefault(prompt.category or "all", []).append(number)
    for category, some in numbers.items():
        cells = [
            (thumbnail(load(file)), drawing.prompts[number].text)
            for number in some[:SHOWN]
            for file in drawing.files(number)
        ]
        sheet = io.BytesIO()
        captioned_sheet(cells, drawing.samples).save(sheet, "PNG")
        write_whole(folder / f"{re.sub(r'[^A-Za-z0-9]+', '-', category)}.png", sheet.getvalue())
