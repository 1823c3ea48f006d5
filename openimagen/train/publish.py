"""Join what several runs made of one recipe's stages into a model folder to give away.

python -m openimagen.train.publish RECIPE OUT EXPORT...
"""

import sys
from pathlib import Path

import torch

from openimagen import model_folder, recipes
from openimagen.cascade import Cascade, Stage
from openimagen.config import Recipe


def publish(recipe: Recipe, exports: list[Path], out: Path) -> None:
    """Write the recipe's model to `out` in bfloat16, weights from the last export that has them.

    Sampling settings are the recipe's as it is now. Raises ValueError for a stage nobody trained,
    or weights of another network than the recipe's.
    """
    found: dict[str, Stage] = {}
    for folder in exports:
        for stage in model_folder.load(folder).stages:
            if stage.net is not None:
                found[stage.config.name] = stage
    stages = []
    for config in recipe.model.stages:
        given = found.get(config.name)
        if given is None:
            raise ValueError(f"no export has weights of stage {config.name}: train it first")
        if given.config.unet != config.unet or given.config.diffusion != config.diffusion:
            raise ValueError(f"stage {config.name} was trained from another recipe")
        stages.append(Stage(config, given.net))
    model_folder.save(Cascade(recipe.model, stages), out, torch.bfloat16)


if __name__ == "__main__":
    name, out, *exports = sys.argv[1:]
    publish(recipes.load(name), [Path(export) for export in exports], Path(out))
