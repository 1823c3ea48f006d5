"""The smallest whole cascade: proves a data folder and an installation, draws blobs.

Command:   openimagen train tiny --data PATH --out runs/tiny
Hardware:  two CPU cores.
Time:      under a minute for the three stages.
Cost:      nothing to speak of.
Score:     none: the loss falls, the pictures take the colours of the data.
"""

from openimagen.config import (
    DiffusionConfig,
    LogNormalSchedule,
    LossWeight,
    ModelConfig,
    Recipe,
    SamplingConfig,
    StageConfig,
    TrainConfig,
    UNetConfig,
)


def stage(name: str, side: int, width: int, steps: int, lowres: bool) -> StageConfig:
    """A stage on 4x4 patches, which predicts x0: so coarse a net cannot carry the noise."""
    return StageConfig(
        name=name,
        side=side,
        unet=UNetConfig(
            arrangement="efficient",
            width=width,
            multipliers=(1, 2),
            blocks=(1, 1),
            attention=("none", "none" if lowres else "fused"),
            strides=(1, 2),
            patch=4,
            text_width=384,
            context_width=32,
            position_side=None if lowres else side,
            lowres=lowres,
        ),
        diffusion=DiffusionConfig(
            schedule=LogNormalSchedule(mean=0.2, std=1.4, log_snr_max=9.0),
            prediction="x0",
            loss=LossWeight(kind="edm", most=8.0),
            aug_log_snr_min=0.0,  # so short a run learns only to use a picture that can be seen
        ),
        sampling=SamplingConfig(
            steps=steps,
            guidance=1.0 if lowres else 2.0,
            threshold="static",
            aug_level=0.1 if lowres else 0.0,
        ),
    )


def recipe() -> Recipe:
    """Stages of 0.4M, 0.2M and 0.2M parameters."""
    train = TrainConfig(
        images=3_200,
        batch=16,
        learning_rate=3e-3,
        warmup_images=160,
        precision="float32",
        checkpoint_images=1_600,
        preview_images=1_600,
    )
    return Recipe(
        model=ModelConfig(
            name="tiny",
            stages=(
                stage("base", 64, width=32, steps=8, lowres=False),
                stage("sr256", 256, width=24, steps=2, lowres=True),
                stage("sr1024", 1024, width=24, steps=2, lowres=True),
            ),
        ),
        train={
            "base": train,
            "sr256": train.model_copy(update={"images": 2_400, "batch": 8, "crop": 64}),
            "sr1024": train.model_copy(update={"images": 2_400, "batch": 8, "crop": 64}),
        },
    )
