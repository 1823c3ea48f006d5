"""The embedded model: icons in ten styles and scenes of them, drawn on two CPU cores.

Command:   openimagen data icons icons
           openimagen train emoji --data icons --out runs/emoji
           Without a GPU: --set train.base.batch=128 --set train.base.compile=false, and patience.
Hardware:  one H200 and 16 cores for the base; the upscalers are content with a CPU.
Time:      of the base, not timed as it is: between 15 and 45 minutes by what it was before forward
           and backward pass became a CUDA graph (6,200 images a second in batches of 1,024, 2,150
           in batches of 256); the 5,744,640 of what ships took 11 with all of a step in one graph
           and compiling 2 (docs/experiments.md). On two CPU cores, 24 a second in batches of 128.
           sr256: 19 crops a second of one core, two hours, after 20 minutes in which the base draws
           its lessons again. sr1024: 17 to 22, three hours, after a quarter of one.
Cost:      one to three dollars at 4 dollars an hour.
Score:     of what ships, whose base had these settings but did not begin from nothing (its card
           says from what): R@1 0.89 over 200 names that it saw, where real icons of another style
           get 0.65; 0.54 (0.69) over names in styles new to them; GenEval 0.93: unseen colours
           1.00, counts 0.90, positions 1.00, two things each of its own colour 0.75.
"""

from openimagen.config import (
    DiffusionConfig,
    Illustrations,
    LogNormalSchedule,
    LossWeight,
    ModelConfig,
    Recipe,
    SamplingConfig,
    StageConfig,
    TextConfig,
    TrainConfig,
    UNetConfig,
)

TEXT = TextConfig(layers=(3, 6))  # in the third a word still knows its place in the sentence
TEXT_WIDTH = 768  # of both layers, side by side
SCENES = Illustrations(
    scenes=0.42,
    counting=14,
    colors=16,
    two_object=18,
    position=32,
    color_attr=20,  # two things, each of its own colour, are learned last
    common=0.6,
    main_share=0.3,
    named=0.9,
)
PROMPTS = (
    *("red apple", "cat face", "rocket", "cherry blossom", "grinning face", "pizza", "sailboat"),
    *("red heart", "dog", "purple heart", "guitar", "snowman", "tiger", "a green car"),
    *("a blue apple", "a cherry tree in blossom", "three red apples", "a purple banana"),
    *("a cat to the left of a rocket", "a red car above a blue fish", "a dog on a blue background"),
    *("rocket in noto style", "flat rocket", "tiger face, twemoji style"),
)


def diffusion(mean: float, std: float) -> DiffusionConfig:
    """x0-prediction: a coarse net cannot carry the noise that eps-prediction must reproduce."""
    return DiffusionConfig(
        schedule=LogNormalSchedule(mean=mean, std=std, log_snr_max=9.0),
        prediction="x0",
        loss=LossWeight(kind="edm", most=8.0),
        sigma_data=0.5,
        aug_log_snr_min=0.0,
    )


def upscaling(mean: float) -> DiffusionConfig:
    """Absolute errors: the median of what a picture may be has sharp edges after one step."""
    return DiffusionConfig(
        schedule=LogNormalSchedule(mean=mean, std=1.4, log_snr_min=-6.0, log_snr_max=9.0),
        prediction="x0",
        loss=LossWeight(kind="edm", most=8.0, error="absolute"),
        sigma_data=0.5,
        aug_log_snr_min=8.0,
    )


def recipe() -> Recipe:
    """Three stages of 22.7M, 1.4M and 0.9M parameters."""
    base = StageConfig(
        name="base",
        side=64,
        unet=UNetConfig(
            arrangement="efficient",
            width=96,
            multipliers=(1, 2, 4),
            blocks=(1, 2, 2),
            attention=("none", "fused", "fused"),
            qk_norm=True,
            strides=(1, 2, 2),
            patch=2,
            position_side=64,
            text_width=TEXT_WIDTH,
            context_width=256,
            fine=16,
        ),
        diffusion=diffusion(mean=1.0, std=1.4),
        sampling=SamplingConfig(
            steps=8, guidance=2.0, threshold="static", log_snr_range=(-8.76, 6.0)
        ),
    )
    sr256 = StageConfig(
        name="sr256",
        side=256,
        unet=UNetConfig(
            arrangement="efficient",
            width=64,
            multipliers=(1, 1),
            blocks=(2, 2),
            attention=("none", "none"),
            strides=(1, 2),
            patch=4,
            text_width=TEXT_WIDTH,
            context_width=64,
            lowres=True,
            residual=True,
            norm="pixel",
            fine=16,
        ),
        diffusion=upscaling(mean=2.0),
        sampling=SamplingConfig(
            steps=1, guidance=1.0, threshold="static", aug_level=0.4, match_colours=True
        ),
    )
    sr1024 = StageConfig(  # sr256's first level
        name="sr1024",
        side=1024,
        unet=sr256.unet.model_copy(
            update={"multipliers": (1,), "blocks": (2,), "attention": ("none",), "strides": (1,)}
        ),
        diffusion=upscaling(mean=0.7),
        sampling=sr256.sampling.model_copy(update={"aug_level": 0.3}),
    )
    upscalers = TrainConfig(
        images=150_000,
        batch=8,
        crop=128,
        redrawn=4_000,
        warmup_images=2_500,
        ema_images=5_000,
        checkpoint_images=5_000,
        illustrations=Illustrations(scenes=0.3, grounds=0.4, main_share=0.4),
    )
    return Recipe(
        model=ModelConfig(
            name="emoji", stages=(base, sr256, sr1024), text=TEXT, licence="Apache-2.0"
        ),
        train={
            "base": TrainConfig(
                images=5_744_640,
                batch=512,
                optimizer="muon",
                learning_rate=1e-3,
                warmup_images=100_000,
                cooldown=1.0,
                ema_images=50_000,
                compile=True,
                pool_drop=0.3,
                illustrations=SCENES,
                checkpoint_images=500_000,
                preview_images=500_000,
                preview_prompts=PROMPTS,
            ),
            "sr256": upscalers,
            "sr1024": upscalers.model_copy(update={"images": 200_000, "redrawn": 2_000}),
        },
    )
