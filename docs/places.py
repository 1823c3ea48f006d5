"""Whether a base learns which thing is where, at a fixed cost:

python docs/places.py icons/fluent-emoji --seconds 240 "" "model.text.layers=[3]" ...

Each argument is a row: settings as of `openimagen train --set`, joined by blanks. A small base
(3.1M parameters, 32 pixels) is trained from nothing, for as many CPU-seconds on one thread, or on
as many pictures, on scenes of two of 16 things: "a cat left of a rocket". What is printed, on
relations that it was not shown: the error of x0 with / without the text, and how much of what the
text is worth is lost if it has the two things in each other's place. A base that knows what there
is, not where, loses 0%.
"""

import dataclasses
import random
import time
from pathlib import Path
from typing import Annotated

import torch
import typer

from openimagen import recipes
from openimagen.config import Recipe
from openimagen.data.dataset import Batch
from openimagen.data.illustrations import read_illustrations
from openimagen.data.images import to_float, to_tensor
from openimagen.data.nouns import article
from openimagen.data.scene_prompts import OBJECTS, random_scene
from openimagen.data.scenes import Icons, Scene, compose, read_icon
from openimagen.data.unseen import is_unseen_relation
from openimagen.diffusion import add_noise, denoiser
from openimagen.text import CachedEncoder, Encoder, TextEncoder
from openimagen.train.loop import train_step
from openimagen.train.run import make_trainee, resolved
from openimagen.train.trainee import Trainee
from openimagen.unet import UNet

THINGS, SHOWN = 16, 128  # of the main style; scenes that are measured on
LEVELS = (1.8, 1.1, 0.4)  # ln sigma
CPU, ICON_SIDE = torch.device("cpu"), 96
UNET, TRAIN = "model.stages.base.unet", "train.base"
SMALL = (
    *("model.stages.base.side=32", "model.stages.base.diffusion.schedule.mean=1.2"),
    *(f"{UNET}.position_side=32", f"{UNET}.width=64", f"{UNET}.multipliers=[1,2]"),
    *(f"{UNET}.blocks=[1,2]", f'{UNET}.attention=["fused","fused"]', f"{UNET}.strides=[1,2]"),
    *(f"{UNET}.fine=0", f"{TRAIN}.batch=64", f"{TRAIN}.learning_rate=1e-3"),
    *(f"{TRAIN}.warmup_images=2000", f"{TRAIN}.illustrations=null", f"{TRAIN}.compile=false"),
)


class Scenes:
    """Scenes of two things, on white: endless, or those kept for measuring."""

    def __init__(self, icons: Icons, side: int, seed: int, unseen: bool) -> None:
        self.icons, self.side, self.unseen = icons, side, unseen
        self.rng = random.Random(seed)

    def scene(self) -> Scene:
        """The next one."""
        while True:
            scene = random_scene("position", [*self.icons], self.rng)
            other, one = scene.include
            assert one.position
            if is_unseen_relation(one.name, one.position[0], other.name) == self.unseen:
                return dataclasses.replace(scene, ground=((255, 255, 255),))

    def batch(self, count: int) -> tuple[Batch, list[str]]:
        """Pictures and captions, and captions with the things in each other's place."""
        scenes = [self.scene() for _ in range(count)]
        pages = [
            compose(scene, self.icons, self.side, self.rng.getrandbits(32)) for scene in scenes
        ]
        images = torch.stack([to_tensor(page) for page in pages])
        return Batch(images, [scene.caption for scene in scenes]), [*map(swapped, scenes)]


def swapped(scene: Scene) -> str:
    """The caption of what it is not."""
    other, one = scene.include
    assert one.position
    return f"{article(other.name)} {one.position[0]} {article(one.name)}"


def row(
    recipe: Recipe,
    settings: str,
    icons: Icons,
    seconds: float,
    images: int | None = None,
    *,
    averaged: bool = False,
) -> str:
    """Train with some settings for some CPU-seconds, or on some images, and measure."""
    plan = resolved(recipes.override(recipe, [*SMALL, *settings.split()]), CPU)
    encoder = CachedEncoder(TextEncoder.load(plan.model.text))
    plan = recipes.override(plan, [f"{UNET}.text_width={encoder.width}"])
    side, train = plan.model.stages[0].side, plan.train["base"]
    scenes, before = Scenes(icons, side, 0, unseen=False), time.process_time()
    trial = trainee_of(plan, 1_000_000)
    for _ in range(10):  # how many steps there is time for; the encoder's cache fills as well
        train_step(trial, scenes.batch(train.batch)[0], encoder)
    steps = int(seconds / ((time.process_time() - before) / 10))
    if images is not None:
        steps = -(-images // train.batch)
    trainee, before = trainee_of(plan, steps * train.batch), time.process_time()
    for _ in range(steps):
        train_step(trainee, scenes.batch(train.batch)[0], encoder)
    took = f"{trainee.images:,} | {time.process_time() - before:.0f}"
    net = trainee.ema.net if averaged else trainee.net
    cells = measured(trainee, net.eval(), Scenes(icons, side, 1, unseen=True), encoder)
    return f"| {settings or 'as it is'} | {took} | {' | '.join(cells)} |"


def trainee_of(plan: Recipe, images: int) -> Trainee:
    """The base, fresh, for a run of so many images."""
    plan = recipes.override(plan, [f"train.base.images={images}"])
    return make_trainee(plan, "base", Path("nowhere"), CPU)


@torch.no_grad()
def measured(trainee: Trainee, net: UNet, scenes: Scenes, encoder: Encoder) -> list[str]:
    """Error with / without the text, and the share of their difference that places are worth."""
    batch, wrong = scenes.batch(SHOWN)
    x = to_float(batch.image)
    eps = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    text, other = (encoder(captions).to(CPU, torch.float32) for captions in (batch.captions, wrong))
    cells = []
    for level in LEVELS:
        log_snr = torch.full((SHOWN,), -2 * level)
        z = add_noise(x, eps, log_snr)
        errors = []
        for words in (text, other, text.null()):
            with torch.autocast("cpu", torch.bfloat16, trainee.train.precision == "bfloat16"):
                x0 = denoiser(net, trainee.config.diffusion, words)(z, log_snr)
            errors.append((x0.float() - x).square().mean().item())
        right, swap, bare = errors
        cells.append(f"{right:.4f} / {bare:.4f}, {(swap - right) / (bare - right):.0%}")
    return cells


def main(
    data: Path,
    settings: Annotated[list[str], typer.Argument(metavar="SETTINGS")],
    seconds: Annotated[float, typer.Option(help="CPU-seconds of each row.")] = 240.0,
    images: Annotated[int | None, typer.Option(min=1, help="Of each row, instead.")] = None,
    averaged: Annotated[bool, typer.Option(help="Measure the average of the weights.")] = False,
) -> None:
    """Print a table, row by row."""
    torch.set_num_threads(1)
    files = {icon.name: icon.path for icon in read_illustrations(data) if not icon.is_unseen}
    names = [name for name in OBJECTS if OBJECTS[name] in files]
    chosen = random.Random(1).sample(names, THINGS)
    icons = {name: read_icon(files[OBJECTS[name]], ICON_SIDE) for name in chosen}
    print(f"| settings | images | CPU s | {' | '.join(f'{level:g}' for level in LEVELS)} |")
    print("|---" * (3 + len(LEVELS)) + "|")
    for each in settings:
        told = row(recipes.load("emoji"), each, icons, seconds, images, averaged=averaged)
        print(told, flush=True)


if __name__ == "__main__":
    typer.run(main)
