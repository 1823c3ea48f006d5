"""A stage of a few thousand weights, and how it is trained in a second."""

from openimagen.config import (
    DiffusionConfig,
    LogNormalSchedule,
    LossWeight,
    SamplingConfig,
    StageConfig,
    TrainConfig,
    UNetConfig,
)

TEXT_WIDTH = 12


def small_stage(name: str = "base", side: int = 16, lowres: bool = False) -> StageConfig:
    return StageConfig(
        name=name,
        side=side,
        unet=UNetConfig(
            arrangement="efficient",
            width=16,
            multipliers=(1, 2),
            blocks=(1, 1),
            attention=("none", "none" if lowres else "fused"),
            strides=(1, 2),
            patch=2,
            text_width=TEXT_WIDTH,
            context_width=16,
            lowres=lowres,
        ),
        diffusion=DiffusionConfig(
            schedule=LogNormalSchedule(), prediction="x0", loss=LossWeight(kind="edm", most=8.0)
        ),
        sampling=SamplingConfig(steps=2, guidance=1.0),
    )


def small_train(**changes: object) -> TrainConfig:
    """Eight steps of four pictures; a log line every other step, a checkpoint every third."""
    plan: dict[str, object] = {
        "images": 32,
        "batch": 4,
        "learning_rate": 3e-3,
        "warmup_images": 8,
        "ema_images": 16,
        "precision": "float32",
        "checkpoint_images": 12,
        "preview_images": 32,
    }
    return TrainConfig.model_validate(plan | changes)
