"""What an upscaler is worth, beside others and at other augmentation levels:

python docs/upscaling.py ICONS sr1024 emoji runs/emoji/export --level 0.1 --level 0.3

A row for each model and level. "Kept": icons that were kept from training, made smaller and raised
again by the stage; median and lowest PSNR, in dB. "Drawn": names of the main style as the model
draws them up to the stage; FD-EffLite2 of crops of their middles to those of real icons. What is
below the stage is each model's own, so models are comparable if they share that. ICONS is what
`openimagen data icons` made, at the stage's side or more.
"""

import random
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, TypeVar

import torch
import typer
from torch import Tensor

from openimagen import model_folder
from openimagen.cascade import Cascade, Pictures
from openimagen.data.decode import load, square
from openimagen.data.illustrations import Illustration
from openimagen.data.images import to_float, to_tensor
from openimagen.evaluate.corpus import read_corpus
from openimagen.evaluate.features import EffLite2
from openimagen.evaluate.frechet import frechet

T = TypeVar("T")
BATCH = 8
CROP, MIDDLE = 256, 512  # pixels that features see at once; side of what is looked at


class Upscaler:
    """A stage of a model above the base."""

    def __init__(self, cascade: Cascade, name: str) -> None:
        self.cascade = cascade
        self.number = [stage.config.name for stage in cascade.stages].index(name)
        self.below, self.side = (
            stage.config.side for stage in cascade.stages[self.number - 1 : self.number + 1]
        )

    def raised(self, names: Sequence[str], pictures: Pictures, level: float) -> Pictures:
        """Pictures of the side below, at the stage's."""
        return self.cascade.sample(
            names,
            range(len(names)),
            settings=self.cascade.settings(None, aug_level=level),
            size=self.side,
            start=self.number,
            lowres=pictures,
        )[0]

    def drawn(self, names: Sequence[str]) -> Pictures:
        """What the model draws below the stage."""
        return self.cascade.sample(names, range(len(names)), size=self.below)[-1]


def real(icons: Sequence[Illustration], side: int) -> Pictures:
    """Icons on white, in [-1, 1]."""
    return torch.stack([to_float(to_tensor(square(load(icon.path), side))) for icon in icons])


def middles(pictures: Pictures) -> Pictures:
    """The middle of each, in crops: one of a picture of 256 pixels, four of larger ones."""
    side = min(pictures.shape[-1], MIDDLE)
    edge = (pictures.shape[-1] - side) // 2
    middle = pictures[..., edge : edge + side, edge : edge + side]
    crops = middle.unfold(2, CROP, CROP).unfold(3, CROP, CROP)  # [b 3 rows columns 256 256]
    return crops.permute(0, 2, 3, 1, 4, 5).flatten(0, 2)


def psnr(pictures: Pictures, truth: Pictures) -> Tensor:
    """Of each, in dB."""
    return 10 * torch.log10(4 / (pictures - truth).square().mean((1, 2, 3)))


def main(
    icons: Path,
    stage: str,
    models: Annotated[list[str], typer.Argument(metavar="MODEL")],
    level: Annotated[list[float], typer.Option(help="aug_level, once or several times")],
    kept: Annotated[int, typer.Option(min=1, help="icons to raise")] = 48,
    names: Annotated[int, typer.Option(min=1, help="pictures to draw")] = 200,
) -> None:
    """Print a table, row by row."""
    corpus, lot, look = read_corpus(icons), random.Random(0), EffLite2()
    truth = lot.sample([icon for icon in corpus.icons if icon.is_unseen], kept)
    shown = [icon for icon in corpus.shown if icon.style == corpus.main]
    asked = [icon.name for icon in lot.sample(shown, names)]
    upscalers = [
        Upscaler(model_folder.load(model_folder.find_model(model)), stage) for model in models
    ]
    side = upscalers[0].side
    reference = torch.cat([look(middles(real(some, side))) for some in parts(shown)])
    print(
        "| model | aug_level | kept: dB, median / lowest | drawn: FD-EffLite2 |\n|---|---|---|---|"
    )
    for model, upscaler in zip(models, upscalers, strict=True):
        below = [upscaler.drawn(some) for some in parts(asked)]
        for each in level:
            ratios = [ratio for some in parts(truth) for ratio in ratios_of(upscaler, some, each)]
            raised = (
                upscaler.raised(some, pictures, each)
                for some, pictures in zip(parts(asked), below, strict=True)
            )
            distance = frechet(reference, torch.cat([look(middles(each)) for each in raised])).value
            cells = f"{statistics.median(ratios):.1f} / {min(ratios):.1f} | {distance:.1f}"
            print(f"| {model} | {each:g} | {cells} |", flush=True)


def ratios_of(upscaler: Upscaler, icons: Sequence[Illustration], level: float) -> list[float]:
    """PSNR of each icon, made smaller and raised again, to the icon itself."""
    names = [icon.name for icon in icons]
    raised = upscaler.raised(names, real(icons, upscaler.below), level)
    return psnr(raised, real(icons, upscaler.side)).tolist()


def parts(of: Sequence[T]) -> Iterator[Sequence[T]]:
    """So many at once."""
    return (of[first : first + BATCH] for first in range(0, len(of), BATCH))


if __name__ == "__main__":
    typer.run(main)
