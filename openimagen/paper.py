"""The paper's three networks and its text encoder, as configs (appendix F).

Not printed there: sampling steps, the last stage's guidance. F.2 and F.3 print
use_scale_shift_norm=True (639M and 454M parameters); the figure that they belong to, A.28, adds the
conditioning once a level, and so do we: 613M and 429M, nearer to the paper's 600M and 400M.
"""

from openimagen.config import (
    DiffusionConfig,
    LinearSchedule,
    ModelConfig,
    SamplingConfig,
    StageConfig,
    TextConfig,
    UNetConfig,
)

PAPER_TEXT = TextConfig(encoder="google/t5-v1_1-xxl", max_tokens=128)  # the length is NeMo's
T5_XXL_WIDTH = 4096

PAPER_BASE64 = StageConfig(  # appendix F.1: 2B parameters
    name="base",
    side=64,
    unet=UNetConfig(
        arrangement="adm",
        width=512,
        multipliers=(1, 2, 3, 4),
        blocks=(3, 3, 3, 3),
        attention=("none", "fused", "fused", "fused"),
        text_width=T5_XXL_WIDTH,
    ),
    sampling=SamplingConfig(sampler="ddpm", steps=250, guidance=1.35),
)

PAPER_SR256 = StageConfig(  # appendix F.2: 600M parameters
    name="sr256",
    side=256,
    unet=UNetConfig(
        arrangement="efficient",
        width=128,
        multipliers=(1, 2, 4, 8),
        blocks=(2, 4, 8, 8),
        attention=("none", "none", "none", "fused"),
        heads=8,
        attention_expansion=2,
        scale_shift=False,
        text_width=T5_XXL_WIDTH,
        context_width=1024,
        lowres=True,
    ),
    sampling=SamplingConfig(sampler="ddpm", steps=250, guidance=8.0),
)

PAPER_SR1024 = StageConfig(  # appendix F.3: 400M parameters, no self-attention
    name="sr1024",
    side=1024,
    unet=PAPER_SR256.unet.model_copy(
        update={"attention": ("none", "none", "none", "cross"), "attend": "level"}
    ),
    diffusion=DiffusionConfig(schedule=LinearSchedule()),
    sampling=SamplingConfig(sampler="ddpm", steps=250, guidance=8.0),
)

PAPER = ModelConfig(name="paper", text=PAPER_TEXT, stages=(PAPER_BASE64, PAPER_SR256, PAPER_SR1024))
