"""What a change of the embedded model's base is worth, at a fixed cost:

python docs/ablations.py icons/fluent-emoji --seconds 200 "" train.base.optimizer=adamw ...

Each argument is a row: settings as of `openimagen train --set`, joined by blanks. The base is
trained from nothing on every fifth picture for as many CPU-seconds on one thread, in batches of 32
at rate 1e-3; what is printed is the error of x0 with / without the text at several noise levels, on
pictures it was trained on.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor

from openimagen import recipes
from openimagen.config import Recipe
from openimagen.data.dataset import Batch, PictureSet
from openimagen.data.folder import Pictures, read_folder
from openimagen.data.images import to_float
from openimagen.diffusion import add_noise, denoiser
from openimagen.text import CachedEncoder, Encoder, TextEncoder
from openimagen.train.loop import train_step
from openimagen.train.run import make_trainee, resolved
from openimagen.train.run_data import cache_folder
from openimagen.train.trainee import Trainee

EVERY, SHOWN = 5, 128  # pictures: one in so many is trained on; so many are measured on
LEVELS = (3.0, 2.0, 1.0, 0.0, -1.0)  # ln sigma
TIMED = 10  # steps that tell how many fit the time
CPU = torch.device("cpu")
SMALL = (  # the recipe as a CPU has time for it
    *("train.base.illustrations=null", "train.base.compile=false", "train.base.batch=32"),
    *("train.base.learning_rate=1e-3", "train.base.warmup_images=1600"),
)


@dataclass(frozen=True)
class Row:
    """What came of one change."""

    settings: str
    images: int
    errors: list[tuple[float, float]]  # with and without the text, at each level

    def __str__(self) -> str:
        cells = [f"{own:.4f} / {bare:.4f}" for own, bare in self.errors]
        return f"| {' | '.join([self.settings or 'as it is', f'{self.images:,}', *cells])} |"


def ablate(
    recipe: Recipe, settings: str, data: PictureSet, encoder: Encoder, seconds: float
) -> Row:
    """Train with some settings for some CPU-seconds, and measure."""
    plan = resolved(recipes.override(recipe, [*SMALL, *settings.split()]), CPU)
    if plan.model.text != recipe.model.text:
        raise ValueError(f"{settings}: all rows read one text; docs/places.py varies it")
    trial = trainee_of(plan, 1_000_000)
    train(trial, data, encoder, 2)  # the first steps are slow
    start = time.process_time()
    train(trial, data, encoder, TIMED)
    each = (time.process_time() - start) / TIMED
    steps = int(seconds / each)
    trainee = trainee_of(plan, steps * trial.train.batch)
    train(trainee, data, encoder, steps)
    return Row(settings, trainee.images, errors(trainee, data, encoder))


def trainee_of(plan: Recipe, images: int) -> Trainee:
    """The base, fresh, for a run of so many images."""
    plan = recipes.override(plan, [f"train.base.images={images}"])
    return make_trainee(plan, "base", Path("nowhere"), CPU)


def train(trainee: Trainee, data: PictureSet, encoder: Encoder, steps: int) -> None:
    """So many steps."""
    for _ in range(steps):
        batch: Batch = data.batch(trainee.next_batch().mine)
        train_step(trainee, batch, encoder)


@torch.no_grad()
def errors(trainee: Trainee, data: PictureSet, encoder: Encoder) -> list[tuple[float, float]]:
    """Mean squared error of x0, at each level, with and without the text."""
    examples = [data[number] for number in range(SHOWN)]
    x = torch.stack([to_float(example.image) for example in examples])
    text = encoder([example.caption for example in examples]).to(CPU, torch.float32)
    eps = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    net = trainee.net.eval()
    found = []
    for level in LEVELS:
        log_snr = torch.full((SHOWN,), -2 * level)
        z = add_noise(x, eps, log_snr)

        def error(words: object, z: Tensor = z, log_snr: Tensor = log_snr) -> float:
            with torch.autocast("cpu", torch.bfloat16, trainee.train.precision == "bfloat16"):
                x0 = denoiser(net, trainee.config.diffusion, words)(z, log_snr)
            return (x0.float() - x).square().mean().item()

        found.append((error(text), error(text.null())))
    return found


def main(
    data: Path,
    settings: Annotated[list[str], typer.Argument(metavar="SETTINGS")],
    seconds: Annotated[float, typer.Option(help="CPU-seconds of each row.")] = 200.0,
    recipe: str = "emoji",
) -> None:
    """Print a table, row by row."""
    torch.set_num_threads(1)
    plan = recipes.load(recipe)
    pictures = Pictures(read_folder(data).pairs[::EVERY], {})
    shown = PictureSet(pictures, plan.model.stages[0].side, cache=cache_folder())
    encoder = CachedEncoder(TextEncoder.load(plan.model.text))
    encoder([text for pair in pictures.pairs for text in pair.captions])  # at no row's cost
    print(f"| settings | images | {' | '.join(f'{level:g}' for level in LEVELS)} |")
    print("|---" * (2 + len(LEVELS)) + "|")
    for each in settings:
        print(ablate(plan, each, shown, encoder, seconds), flush=True)


if __name__ == "__main__":
    typer.run(main)
