"""The smallest whole cascade: proves a data folder and an installation, draws blobs.

Command:   openimagen train tiny --data PATH --out runs/tiny
Hardware:  two CPU cores, under a minute for the three stages.
Score:     none to speak of; the loss falls, the pictures take the colours of the data.
"""

from openimagen.config import (
    DiffusionConfig,
    LossWeight,
    ModelConfig,
    Recipe,
    SamplingConfig,
    StageConfig,
    TrainConfig,
    UNetConfig,
)


def stage(name: str, side: int, patch: int, lowres: bool) -> StageConfig:
    """A stage of about 100,000 parameters."""
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
            patch=patch,
            text_width=384,
            context_width=32,
            lowres=lowres,
        ),
        diffusion=DiffusionConfig(prediction="v", loss=LossWeight(kind="v", most=5.0)),
        sampling=SamplingConfig(steps=8 if side == 64 else 2, guidance=1.0 if lowres else 2.0),
    )


def recipe() -> Recipe:
    """Three small stages, a few hundred pictures each."""
    train = TrainConfig(
        images=1_600,
        batch=16,
        warmup_images=160,
        ema_images=160,
        checkpoint_images=800,
        preview_images=800,
    )
    return Recipe(
        model=ModelConfig(
            name="tiny",
            stages=(
                stage("base", 64, patch=4, lowres=False),
                stage("sr256", 256, patch=4, lowres=True),
                stage("sr1024", 1024, patch=8, lowres=True),
            ),
        ),
        train={
            "base": train,
            "sr256": train.model_copy(update={"images": 800, "crop": 64}),
            "sr1024": train.model_copy(update={"images": 400, "crop": 64}),
        },
    )
