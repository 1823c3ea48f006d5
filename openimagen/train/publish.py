"""Join what several runs made of one recipe's stages into a model folder to give away.

python -m openimagen.train.publish RECIPE OUT STAGE=MODEL...

MODEL is a run's export, or any other model folder or name.
"""

from pathlib import Path
from typing import Annotated

import torch
import typer

from openimagen import model_folder, recipes
from openimagen.cascade import Cascade, Stage
from openimagen.config import Recipe, StageConfig
from openimagen.unet import UNet


def publish(recipe: Recipe, sources: dict[str, Path], out: Path) -> None:
    """Write the recipe's model to `out` in eight bits, each stage's weights from its model folder.

    Sampling settings are the recipe's as it is now. Raises ValueError for a stage without source,
    a source without the stage's weights, or weights of another network than the recipe's.
    """
    names = [config.name for config in recipe.model.stages]
    if set(sources) != set(names):
        raise ValueError(f"name a model for each of {', '.join(names)}, as in {names[0]}=FOLDER")
    stages = [
        Stage(config, _weights(recipe, config, sources[config.name]))
        for config in recipe.model.stages
    ]
    model_folder.save(Cascade(recipe.model, stages), out, torch.int8)


def _weights(recipe: Recipe, config: StageConfig, folder: Path) -> UNet:
    model = model_folder.load(folder)
    given = {stage.config.name: stage for stage in model.stages}
    stage = given.get(config.name)
    if stage is None or stage.net is None:
        raise ValueError(f"{folder} has no weights of stage {config.name}: train it first")
    fits = stage.config.unet == config.unet and stage.config.diffusion == config.diffusion
    if not fits or model.config.text != recipe.model.text:
        raise ValueError(f"stage {config.name} of {folder} was trained from another recipe")
    return stage.net


def main(
    recipe: str, out: Path, sources: Annotated[list[str], typer.Argument(metavar="STAGE=MODEL")]
) -> None:
    """Join the stages of several runs into one model folder."""
    try:
        pairs = [source.split("=", 1) for source in sources]
        if unnamed := [pair[0] for pair in pairs if len(pair) == 1]:
            raise ValueError(f"{unnamed[0]}: write STAGE=MODEL, as in base=runs/mine/export")
        folders = {stage: model_folder.find_model(model) for stage, model in pairs}
        publish(recipes.load(recipe), folders, out)
    except ValueError as error:
        typer.echo(error, err=True)
        raise typer.Exit(2) from None


if __name__ == "__main__":
    typer.run(main)
