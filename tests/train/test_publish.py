"""Several runs of one recipe become one model, in the weights' own words rounded to bfloat16."""

from pathlib import Path

import pytest
import torch

from openimagen import model_folder
from openimagen.cascade import Cascade, Stage
from openimagen.config import Recipe, TrainConfig
from openimagen.train.publish import publish


def recipe_of(cascade: Cascade) -> Recipe:
    names = [stage.config.name for stage in cascade.stages]
    return Recipe(model=cascade.config, train={name: TrainConfig(images=1) for name in names})


def export(cascade: Cascade, number: int, folder: Path) -> Path:
    """A run that trained one stage and left the others without weights."""
    stages = [
        stage if n == number else Stage(stage.config) for n, stage in enumerate(cascade.stages)
    ]
    model_folder.save(Cascade(cascade.config, stages), folder)
    return folder


def test_each_stage_comes_from_the_run_that_trained_it(tiny: Cascade, tmp_path: Path) -> None:
    runs = [export(tiny, n, tmp_path / str(n)) for n in range(len(tiny.stages))]
    publish(recipe_of(tiny), runs, tmp_path / "out")
    published = model_folder.load(tmp_path / "out")
    assert published.config == tiny.config
    for ours, theirs in zip(published.stages, tiny.stages, strict=True):
        rounded = {k: v.bfloat16().float() for k, v in theirs.trained().state_dict().items()}
        torch.testing.assert_close(ours.trained().state_dict(), rounded, rtol=0, atol=0)


def test_a_stage_that_nobody_trained_is_named(tiny: Cascade, tmp_path: Path) -> None:
    only_base = export(tiny, 0, tmp_path / "base")
    name = tiny.stages[1].config.name
    with pytest.raises(ValueError, match=f"no export has weights of stage {name}"):
        publish(recipe_of(tiny), [only_base], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_weights_of_another_diffusion_are_refused(tiny: Cascade, tmp_path: Path) -> None:
    runs = [export(tiny, n, tmp_path / str(n)) for n in range(len(tiny.stages))]
    recipe = recipe_of(tiny)
    base = recipe.model.stages[0]
    other = base.model_copy(
        update={"diffusion": base.diffusion.model_copy(update={"sigma_data": 0.9})}
    )
    model = recipe.model.model_copy(update={"stages": (other, *recipe.model.stages[1:])})
    with pytest.raises(ValueError, match="another recipe"):
        publish(recipe.model_copy(update={"model": model}), runs, tmp_path / "out")
