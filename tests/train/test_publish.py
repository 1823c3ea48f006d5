"""Several runs of one recipe become one model, in the weights' own words rounded to eight bits."""

import copy
from pathlib import Path

import pytest
import torch

from openimagen import model_folder
from openimagen.cascade import Cascade, Stage
from openimagen.config import Recipe, TrainConfig
from openimagen.eight_bits import pack, unpack
from openimagen.train.publish import publish


def recipe_of(cascade: Cascade) -> Recipe:
    names = [stage.config.name for stage in cascade.stages]
    return Recipe(model=cascade.config, train={name: TrainConfig(images=1) for name in names})


def runs_of(cascade: Cascade, tmp_path: Path) -> dict[str, Path]:
    """One run per stage; each also carries the stages that it was begun with, with zero weights."""
    runs = {}
    for config in cascade.config.stages:
        stages = []
        for stage in cascade.stages:
            net = copy.deepcopy(stage.trained())
            if stage.config.name != config.name:
                for weight in net.parameters():
                    torch.nn.init.zeros_(weight)
            stages.append(Stage(stage.config, net))
        runs[config.name] = tmp_path / config.name
        model_folder.save(Cascade(cascade.config, stages), runs[config.name])
    return runs


def test_each_stage_comes_from_the_run_named_for_it(tiny: Cascade, tmp_path: Path) -> None:
    publish(recipe_of(tiny), runs_of(tiny, tmp_path), tmp_path / "out")
    published = model_folder.load(tmp_path / "out")
    assert published.config == tiny.config
    for ours, theirs in zip(published.stages, tiny.stages, strict=True):
        rounded = unpack(pack(theirs.trained().state_dict()))
        torch.testing.assert_close(ours.trained().state_dict(), rounded, rtol=0, atol=0)


def test_a_stage_that_nobody_trained_is_named(tiny: Cascade, tmp_path: Path) -> None:
    runs = runs_of(tiny, tmp_path)
    first, second = tiny.config.stages[:2]
    bare = [Stage(stage.config, None) for stage in tiny.stages]
    model_folder.save(Cascade(tiny.config, bare), tmp_path / "bare")
    with pytest.raises(ValueError, match=f"bare has no weights of stage {second.name}"):
        publish(recipe_of(tiny), runs | {second.name: tmp_path / "bare"}, tmp_path / "out")
    del runs[first.name]
    with pytest.raises(ValueError, match=f"as in {first.name}=FOLDER"):
        publish(recipe_of(tiny), runs, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_weights_of_another_diffusion_or_text_are_refused(tiny: Cascade, tmp_path: Path) -> None:
    recipe, runs = recipe_of(tiny), runs_of(tiny, tmp_path)
    base = recipe.model.stages[0]
    other = base.model_copy(
        update={"diffusion": base.diffusion.model_copy(update={"sigma_data": 0.9})}
    )
    text = recipe.model.text.model_copy(update={"layers": (3,)})
    for change in ({"stages": (other, *recipe.model.stages[1:])}, {"text": text}):
        model = recipe.model.model_copy(update=change)
        with pytest.raises(ValueError, match="another recipe"):
            publish(recipe.model_copy(update={"model": model}), runs, tmp_path / "out")
    assert not (tmp_path / "out").exists()
