"""A run: a recipe, a folder of captioned pictures, and what comes of them, stage after stage."""

import os
import sys
from pathlib import Path

import torch

from openimagen import model_folder
from openimagen.cascade import Cascade, Stage
from openimagen.config import Recipe
from openimagen.data.dataset import PictureSet
from openimagen.data.folder import Pictures, read_folder
from openimagen.device import find_device
from openimagen.text import CachedEncoder, TextEncoder
from openimagen.train import checkpoint
from openimagen.train.loop import Trainee, train_stage
from openimagen.unet import UNet

CACHE_BYTES = 8 * 2**30  # of decoded pictures, per stage, on disk


def train(
    recipe: Recipe,
    data: Path,
    out: Path,
    *,
    stage: str = "all",
    init: Path | None = None,
    resume: bool = False,
    device: str | None = None,
    workers: int = 0,
) -> Path:
    """Train one stage of a recipe, or all in turn; returns the model folder, `out`/export.

    `init`: a model folder to start from; stages that are not trained here are taken from it as they are.
    Raises ValueError for a request that cannot be met: an unknown stage, a run that is already there.
    """
    names = [config.name for config in recipe.model.stages]
    if stage not in ("all", *names):
        raise ValueError(f"the recipe has no stage {stage}: choose all or one of {', '.join(names)}")
    begin(recipe, out, resume)
    pictures = read_folder(data)
    start = model_folder.load(init) if init else None
    where = find_device(device)
    encoder = CachedEncoder(TextEncoder.load(recipe.model.text, device=where))
    torch.manual_seed(0)
    for name in names if stage == "all" else [stage]:
        trainee = make_trainee(recipe, name, start, where)
        found = checkpoint.latest(out / "checkpoints" / name)
        if found:
            trainee.load(found)
        if trainee.images < trainee.train.images:
            dataset = open_data(pictures, trainee)
            train_stage(trainee, dataset, encoder, out, workers)
        export(recipe, start, trainee, out / "export")
    return out / "export"


def open_data(pictures: Pictures, trainee: Trainee) -> PictureSet:
    """The stage's stream of pictures: decoded once if that fits the cache, else each time."""
    side = trainee.config.side
    fits = 3 * side**2 * len(pictures.pairs) <= CACHE_BYTES
    dataset = PictureSet(
        pictures,
        side,
        crop=trainee.train.crop,
        align=trainee.scale,
        seed=trainee.train.seed,
        cache=cache_folder() if fits else None,
    )
    for file, fault in dataset.faults.items():
        print(f"skipped {file}: {fault}", file=sys.stderr)
    return dataset


def cache_folder() -> Path:
    """Where decoded pictures are kept between runs: XDG_CACHE_HOME, or ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "openimagen"


def begin(recipe: Recipe, out: Path, resume: bool) -> None:
    """Make the run's folder, or check that the one there is the same run."""
    path, text = out / "config.json", recipe.model_dump_json(indent=1) + "\n"
    if path.exists() and not resume:
        raise ValueError(f"{out} holds a run: add --resume to go on with it, or name another folder")
    out.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def make_trainee(recipe: Recipe, name: str, start: Cascade | None, device: torch.device) -> Trainee:
    """A stage with fresh weights, or those of `start` when it has the same network."""
    number = [config.name for config in recipe.model.stages].index(name)
    config = recipe.model.stages[number]
    scale = config.side // recipe.model.stages[number - 1].side if number else 1
    net = UNet(config.unet)
    given = _stage(start, name)
    if given is not None and given.net is not None:
        if given.config.unet != config.unet:
            raise ValueError(
                f"--init: its stage {name} is another network than the recipe's; "
                "use the recipe that made it, or leave --init out"
            )
        net.load_state_dict(given.net.state_dict())
    return Trainee(config, recipe.train[name], scale, net, device)


def export(recipe: Recipe, start: Cascade | None, trainee: Trainee, folder: Path) -> None:
    """Write the averaged weights as a model folder, beside the stages that are there already."""
    there = model_folder.load(folder) if (folder / "model.json").exists() else start
    stages = []
    for config in recipe.model.stages:
        if config.name == trainee.config.name:
            stages.append(Stage(config, trainee.ema.net))
        else:
            stages.append(_stage(there, config.name) or Stage(config))
    config = recipe.model.model_copy(update={"stages": tuple(s.config for s in stages)})
    model_folder.save(Cascade(config, stages), folder)


def _stage(cascade: Cascade | None, name: str) -> Stage | None:
    stages = cascade.stages if cascade else ()
    return next((stage for stage in stages if stage.config.name == name), None)
