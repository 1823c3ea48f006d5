"""Runs that start from a model: what they take of it, and what they refuse."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from left import weights_in

from openimagen import model_folder
from openimagen.config import Recipe
from openimagen.recipes import override
from openimagen.train import loop
from openimagen.train.run import train


def test_stages_that_are_not_trained_are_taken_as_they_are(
    finished: Path, recipe: Recipe, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    train(recipe, folder, out, stage="base", init=finished / "export", device="cpu")
    before, after = weights_in(finished / "export"), weights_in(out / "export")
    assert after["sr32"] == before["sr32"] and after["base"] != before["base"]
    model_folder.load(out / "export")


@pytest.mark.parametrize("fatal", [2, 4, 6])
def test_a_stage_goes_on_from_the_model_even_after_a_kill(
    finished: Path,
    recipe: Recipe,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fatal: int,
) -> None:
    """It dies before the model is copied, before the copy is in its place, in the first step."""
    still = override(recipe, ["train.base.learning_rate=0"])  # the weights stay what they were
    out, model, calls = tmp_path / "run", finished / "export", iter(range(100))

    def mortal(act: Callable[..., Any]) -> Callable[..., Any]:
        def acts(*given: object) -> Any:  # noqa: ANN401  (as `act` has it)
            if next(calls) == fatal:
                raise KeyboardInterrupt
            return act(*given)

        return acts

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loop, "train_step", mortal(loop.train_step))
        for name in ("rename", "replace"):
            patch.setattr(Path, name, mortal(getattr(Path, name)))
        train(still, folder, out, stage="base", init=model, device="cpu")
    is_begun = (out / "config.json").exists()
    assert is_begun == (fatal > 2)
    train(
        still,
        folder,
        out,
        stage="base",
        resume=is_begun,
        init=None if is_begun else model,
        device="cpu",
    )
    (one, *_), (other, *_) = (model_folder.load(run).stages for run in (model, out / "export"))
    for name, weight in one.trained().state_dict().items():
        assert torch.allclose(other.trained().state_dict()[name], weight, atol=1e-6)
    assert not [*out.glob(".*")]


def test_a_model_that_does_not_fit_is_refused(
    finished: Path, recipe: Recipe, folder: Path, tmp_path: Path
) -> None:
    for change, why in (
        ("model.stages.base.unet.width=8", "its stage base is another network"),
        ("model.text.max_tokens=5", "its text encoder is another"),
    ):
        with pytest.raises(ValueError, match=why):
            train(override(recipe, [change]), folder, tmp_path / "run", init=finished / "export")
    assert not (tmp_path / "run").exists()
