"""Numbers that make no model are refused where they are written, with the fix."""

from typing import Any

import pytest
from pydantic import ValidationError

from openimagen.config import (
    ModelConfig,
    SamplingConfig,
    StageConfig,
    UNetConfig,
)
from openimagen.paper import PAPER, PAPER_BASE64, PAPER_SR256
from openimagen.recipes import load, override


@pytest.mark.parametrize(
    ("fields", "fix"),
    [
        ({"blocks": (1,)}, "blocks needs 4 entries"),
        ({"attention": ("none",)}, "attention needs 4 entries"),
        ({"strides": (2,)}, "strides needs 4 entries"),
        ({"width": 127}, "width must be even"),
        ({"context_width": 30}, "context_width must divide by 4"),
        ({"heads": 7}, "7 heads do not divide 1024 channels"),
        ({"position_side": 40}, "position_side must be a multiple of 16"),
        ({"arrangement": "adm", "position_side": 64}, "position_side belongs to"),
        ({"arrangement": "adm", "strides": (1, 2, 2, 2)}, "strides belongs to"),
        ({"arrangement": "adm"}, "scale_shift belongs to"),
        ({"arrangement": "adm", "scale_shift": True, "attend": "level"}, "attend belongs to"),
        (
            {"arrangement": "adm", "scale_shift": True, "attention": 4 * ("none",), "heads": 7},
            "7 heads do not divide",
        ),
        ({"strides": (1, 3, 2, 2)}, "strides.1"),
        ({"attention": ("none", "all", "none", "none")}, "attention.1"),
        ({"width": 0}, "width"),
        ({"residual": True, "lowres": False}, "residual needs lowres"),
        ({"colour": 1}, "Extra inputs are not permitted"),
    ],
)
def test_a_network_that_cannot_be_built_is_refused(fields: dict[str, Any], fix: str) -> None:
    with pytest.raises(ValidationError, match=fix):
        UNetConfig(**{**PAPER_SR256.unet.model_dump(), **fields})


def test_a_cascade_must_grow_and_see_what_is_below() -> None:
    base = PAPER_BASE64
    for stages, fix in (
        ((), "at least one stage"),
        ((PAPER_SR256,), "lowres must be False"),
        ((base, base.model_copy(update={"name": "again"})), "stages must grow"),
        ((base, PAPER_SR256.model_copy(update={"name": "base"})), "names of their own"),
    ):
        with pytest.raises(ValidationError, match=fix):
            ModelConfig(name="wrong", stages=stages)


def test_a_residual_network_estimates_pictures() -> None:
    residual = PAPER_SR256.unet.model_copy(update={"residual": True})
    with pytest.raises(ValidationError, match='needs prediction "x0", not "eps"'):
        StageConfig(name="sr256", side=256, unet=residual)


def test_sides_are_whole_multiples() -> None:
    odd = PAPER_SR256.model_copy(update={"side": 96})
    with pytest.raises(ValidationError, match=r"a multiple of the one below: they are \[64, 96\]"):
        ModelConfig(name="wrong", stages=(PAPER_BASE64, odd))


@pytest.mark.parametrize(
    ("setting", "fix"),
    [
        ("train.base.learning_rate=-1", "greater than or equal to 0"),
        ("train.base.spike=0.5", "greater than 1"),  # or every step would be one
        ("train.base.learning_rate=NaN", "finite"),
        ("train.base.betas=[2, 3]", "less than 1"),
        ("train.base.seed=-1", "greater than or equal to 0"),
        ("train.sr256.crop=62", "train.sr256.crop is 62: it must be a multiple of 4, at most 256"),
        ("train.sr256.crop=512", "at most 256"),
        ("model.stages.base.diffusion.sigma_data=0", "greater than 0"),
        ("model.stages.base.diffusion.schedule.rho=0", "greater than 0"),
        ("model.stages.base.diffusion.schedule.log_snr_min=50", "log_snr_min must be below"),
        ("model.stages.base.sampling.log_snr_range=[5, -5]", "the first must be lower"),
    ],
)
def test_numbers_that_mean_nothing_are_refused(setting: str, fix: str) -> None:
    with pytest.raises(ValueError, match=fix):
        override(load("tiny"), [setting])


@pytest.mark.parametrize("weight", [-1.0, float("inf"), float("nan")])
def test_guidance_is_a_finite_weight(weight: float) -> None:
    with pytest.raises(ValidationError):
        SamplingConfig(guidance=weight)


def test_configs_survive_json() -> None:
    assert ModelConfig.model_validate_json(PAPER.model_dump_json()) == PAPER
    recipe = load("emoji")
    assert type(recipe).model_validate_json(recipe.model_dump_json()) == recipe
