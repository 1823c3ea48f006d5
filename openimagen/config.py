"""Every number that defines a model. Frozen, validated, free of torch.

A model is text -> embedding -> stage -> stage -> stage -> image. `ModelConfig` says so in numbers;
`model.json` in a model folder is this file's objects, written down.
"""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

AttentionKind = Literal["none", "fused", "cross"]
NormKind = Literal["group", "pixel"]
Positive = Annotated[int, Field(gt=0, lt=2**63)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Natural = Annotated[int, Field(ge=0, lt=2**63)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
BelowOne = Annotated[float, Field(ge=0, lt=1)]
T = TypeVar("T")


class Config(BaseModel):
    """A frozen value; an unknown key or a wrong type is an error that names the key."""

    model_config = ConfigDict(frozen=True, extra="forbid")


# --- text ---------------------------------------------------------------------------------------


class TextConfig(Config):
    """The frozen text encoder."""

    encoder: str = "minilm"  # "minilm" (installed with the package), a hub id, or a local folder
    max_tokens: Positive = 64  # longer captions are cut, with a warning
    layers: tuple[Natural, ...] = ()  # whose states, side by side; 0: embedding; (): the usual one


# --- the diffusion process ----------------------------------------------------------------------


class ClippedSchedule(Config):
    """The ends that log-SNR is clipped to."""

    log_snr_min: Finite = -15.0
    log_snr_max: Finite = 15.0

    @model_validator(mode="after")
    def _ends_are_in_order(self) -> "ClippedSchedule":
        if self.log_snr_min >= self.log_snr_max:
            raise ValueError(f"log_snr_min must be below log_snr_max, {self.log_snr_max}")
        return self


class CosineSchedule(ClippedSchedule):
    """alpha = cos(pi t / 2) (Nichol & Dhariwal, 2021), shifted as Hoogeboom et al. (2023) do."""

    kind: Literal["cosine"] = "cosine"
    # added to the log-SNR; 2 ln(64 / side) keeps a large image as noisy as 64x64
    shift: float = 0.0


class LinearSchedule(ClippedSchedule):
    """beta linear in t (Ho et al., 2020), used continuously."""

    kind: Literal["linear"] = "linear"
    beta_min: PositiveFloat = 0.1  # 1000 steps of 1e-4
    beta_max: PositiveFloat = 20.0  # 1000 steps of 0.02


class LogNormalSchedule(ClippedSchedule):
    """ln sigma ~ N(mean, std²) in EDM's units; defaults of EDM2 at 64x64 (Karras et al., 2024)."""

    kind: Literal["log_normal"] = "log_normal"
    mean: Finite = -0.8
    std: PositiveFloat = 1.6
    rho: PositiveFloat = 7.0  # spacing of the sampling steps (EDM, eq. 5)
    log_snr_min: Finite = -8.76  # sigma = 80
    log_snr_max: Finite = 12.4  # sigma = 0.002


Schedule = Annotated[
    CosineSchedule | LinearSchedule | LogNormalSchedule, Field(discriminator="kind")
]


class LossWeight(Config):
    """Weight of the error of x0 as a function of SNR; `most` caps it (min-SNR)."""

    kind: Literal["eps", "v", "edm"] = "eps"  # SNR, SNR + 1, SNR + 1 / sigma_data²
    # absolute: the network learns medians, whose edges are sharp, not means
    error: Literal["squared", "absolute"] = "squared"
    most: PositiveFloat | None = None  # 5 with kind "eps" is min-SNR-5 (Hang et al., 2023)


class DiffusionConfig(Config):
    """What the network predicts, at which noise levels, and how errors count."""

    schedule: Schedule = CosineSchedule()
    prediction: Literal["eps", "x0", "v", "edm"] = "eps"
    loss: LossWeight = LossWeight()
    sigma_data: PositiveFloat = 0.5  # standard deviation of the pixels, for "edm"
    aug_log_snr_min: Finite = -8.0  # noise-conditioning augmentation at level 1
    aug_log_snr_max: Finite = 12.0  # and at level 0


# --- networks -----------------------------------------------------------------------------------


class UNetConfig(Config):
    """Shape of one U-Net. Tuples have one entry per level, finest first."""

    arrangement: Literal["adm", "efficient"]  # the base's U-Net, or the Efficient U-Net
    width: Positive  # channels of the stem
    multipliers: tuple[Positive, ...]
    blocks: tuple[Positive, ...]  # residual blocks per level
    attention: tuple[AttentionKind, ...]
    attend: Literal["block", "level"] = "block"  # after every residual block, or once a level
    strides: tuple[Literal[1, 2], ...] = ()  # efficient: each level's first convolution; default 2
    patch: Positive = 1  # pixels per side folded into channels before the stem
    heads: Positive | None = None  # number of attention heads; None: one per 64 channels
    attention_expansion: Positive = 1  # width of queries, keys and values over the channels
    qk_norm: bool = False  # queries and keys match by direction alone: attention cannot saturate
    scale_shift: bool = True  # conditioning scales and shifts each block, or is added once a level
    text_width: Positive  # of the encoder's tokens
    context_width: Positive = 512  # text tokens inside the network
    pool: bool = True  # the text, pooled, joins the time embedding as well
    position_side: Positive | None = None  # efficient: side that learned position maps are made for
    lowres: bool = False  # sees the upsampled picture of the stage below
    residual: bool = False  # lowres: estimates what that picture lacks, for x0-prediction
    norm: NormKind = "group"  # of a picture's channels, or of each pixel's own
    fine: Natural = 0  # channels of a thin path at full resolution, after the patches

    @model_validator(mode="after")
    def _levels_agree(self) -> "UNetConfig":
        levels = len(self.multipliers)
        for name in ("blocks", "attention"):
            if len(getattr(self, name)) != levels:
                raise ValueError(f"{name} needs {levels} entries, one per multiplier")
        if self.strides and len(self.strides) != levels:
            raise ValueError(f"strides needs {levels} entries, one per multiplier")
        if self.residual and not self.lowres:
            raise ValueError("residual needs lowres: without a picture below there is none to add")
        for name in ("strides", "position_side", "scale_shift", "attend"):
            usual = type(self).model_fields[name].default
            if self.arrangement == "adm" and getattr(self, name) != usual:
                raise ValueError(f'{name} belongs to arrangement "efficient", not to "adm"')
        return self

    @model_validator(mode="after")
    def _widths_divide(self) -> "UNetConfig":
        if self.width % 2:
            raise ValueError(f"width must be even, not {self.width}")
        if self.context_width % 4:
            raise ValueError(f"context_width must divide by 4, its heads, not {self.context_width}")
        for kind, channels in zip(self.attention, self.channels, strict=True):
            attends = kind != "none" or self.arrangement == "adm"  # its middle does
            if attends and channels * self.attention_expansion % (self.heads or 1):
                raise ValueError(f"{self.heads} heads do not divide {channels} channels")
        if self.position_side and self.position_side % self.granularity:
            raise ValueError(f"position_side must be a multiple of {self.granularity} pixels")
        return self

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of each level."""
        return tuple(self.width * m for m in self.multipliers)

    @property
    def level_strides(self) -> tuple[int, ...]:
        """Stride with which each level is entered."""
        if self.arrangement == "adm":
            return (1,) + (2,) * (len(self.multipliers) - 1)
        return self.strides or (2,) * len(self.multipliers)

    @property
    def granularity(self) -> int:
        """The sides of an input are padded to a multiple of this many pixels."""
        return self.patch * math.prod(self.level_strides)


# --- sampling, stages, models -------------------------------------------------------------------

SamplerName = Literal["ddpm", "ddim", "dpmpp_2m", "heun"]


class SamplingConfig(Config):
    """How a stage draws unless the caller says otherwise."""

    sampler: SamplerName = "dpmpp_2m"
    steps: Positive = 20
    guidance: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 4.0  # w; 1 is off
    guidance_interval: tuple[float, float] = (-100.0, 100.0)  # log-SNRs where guidance acts
    guidance_rescale: Share = 0.0
    threshold: Literal["none", "static", "dynamic"] = "dynamic"
    percentile: Annotated[float, Field(gt=0, le=100)] = 99.5  # of |x0|, for dynamic
    aug_level: Share = 0.0  # noise put on the picture below
    match_colours: bool = False  # undo a super-resolution stage's colour drift
    log_snr_range: tuple[float, float] | None = None  # first and last; None: the schedule's ends

    @model_validator(mode="after")
    def _walk_rises(self) -> "SamplingConfig":
        if self.log_snr_range is not None and self.log_snr_range[0] >= self.log_snr_range[1]:
            raise ValueError("log_snr_range goes from noise to picture: the first must be lower")
        return self


def per_stage(flag: str, text: str | None, kind: Callable[[str], T]) -> list[T] | None:
    """The numbers of a flag such as `--steps 16,8,4`; None where it was left out."""
    if text is None:
        return None
    try:
        return [kind(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(
            f"{flag} {text}: write one number, or one per stage as in 16,8,4"
        ) from None


class StageConfig(Config):
    """One diffusion model of the cascade."""

    name: str
    side: Positive  # pixels per side of the pictures it draws
    unet: UNetConfig
    diffusion: DiffusionConfig = DiffusionConfig()
    sampling: SamplingConfig = SamplingConfig()

    @model_validator(mode="after")
    def _residual_is_of_pictures(self) -> "StageConfig":
        if self.unet.residual and self.diffusion.prediction != "x0":
            raise ValueError(
                f'stage {self.name}: a residual network needs prediction "x0", '
                f'not "{self.diffusion.prediction}"'
            )
        return self


class ModelConfig(Config):
    """A cascade: a text encoder and its stages, smallest picture first."""

    name: str
    text: TextConfig = TextConfig()
    stages: tuple[StageConfig, ...]
    licence: str = ""

    @model_validator(mode="after")
    def _stages_fit(self) -> "ModelConfig":
        if not self.stages:
            raise ValueError("a cascade needs at least one stage")
        names = [stage.name for stage in self.stages]
        if len(set(names)) < len(names):
            raise ValueError(f"stages need names of their own: they are {', '.join(names)}")
        sides = [stage.side for stage in self.stages]
        if sides != sorted(set(sides)):
            raise ValueError(f"stages must grow: their sides are {sides}")
        if any(side % below for below, side in pairwise(sides)):
            raise ValueError(f"each side must be a multiple of the one below: they are {sides}")
        for number, stage in enumerate(self.stages):
            if stage.unet.lowres != (number > 0):
                raise ValueError(
                    f"stage {stage.name}: lowres must be {number > 0}; "
                    "every stage but the first sees the picture below"
                )
        return self


# --- training -----------------------------------------------------------------------------------


class LoRA(Config):
    """Low-rank adaptation: what is added to a frozen layer is alpha / rank times B A."""

    rank: Positive = 16
    alpha: Positive = 16


class Prior(Config):
    """DreamBooth's prior preservation: half of each batch are the model's own earlier pictures."""

    prompts: Annotated[tuple[str, ...], Field(min_length=1)]  # what else it should still draw
    pictures: Positive = 64  # drawn before training, over all prompts


class Illustrations(Config):
    """Examples composed of the icons that `openimagen data icons` draws, a new one each time.

    Shares of examples. What `openimagen.data.unseen` holds back is never shown.
    """

    scenes: Share = 0.5  # several things, or one in another colour or size
    counting: Natural = 24  # how often each kind of scene comes, beside the others
    colors: Natural = 26
    two_object: Natural = 12
    position: Natural = 26
    color_attr: Natural = 12
    common: Share = 0.5  # of the things in scenes, those that the sets draw alike
    grounds: Share = 0.25  # on colours that the caption names, instead of white
    main: str = "fluent-emoji"  # the style of a caption that names none
    main_share: Share = 0.45  # of examples in this style; the others share the rest by their icons
    named_main: Share = 0.3  # of those in the main style, whose caption names it
    named: Share = 0.85  # of those in other styles

    @model_validator(mode="after")
    def _has_a_kind(self) -> "Illustrations":
        if self.scenes and not any(self.kinds.values()):
            raise ValueError("scenes of no kind: give counting, position ... more than 0")
        return self

    @property
    def kinds(self) -> dict[str, int]:
        """How often each kind of scene comes, by GenEval's names."""
        names = ("counting", "colors", "two_object", "position", "color_attr")
        return {name: getattr(self, name) for name in names}


class TrainConfig(Config):
    """How one stage is trained. The clock is images seen."""

    images: Positive  # to see in all
    batch: Positive = 64
    accumulate: Positive = 1  # parts a batch is computed in
    optimizer: Literal["adamw", "adafactor", "muon"] = "adamw"
    learning_rate: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1e-3
    betas: tuple[BelowOne, BelowOne] = (0.9, 0.99)
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    warmup_images: Natural = 10_000
    cooldown: Share = 0.3  # last part of the run, linear to 0
    clip: PositiveFloat | None = 1.0  # norm of the gradient
    # a gradient so many times as long as usual is skipped
    spike: Annotated[float, Field(gt=1)] | None = 10.0
    ema_images: Positive = 50_000  # time constant of the average, never over a tenth of the run
    text_drop: Share = 0.1
    # of texts that are left out of the time embedding, so that their tokens are attended to
    pool_drop: BelowOne = 0.0  # to leave out all, unet.pool=false
    illustrations: Illustrations | None = None  # None: the pictures as they are
    crop: Positive | None = None  # super-resolution trains on crops of this side, in output pixels
    redrawn: Natural = 0  # super-resolution: lessons to be drawn again by the stage below
    # of the arithmetic; weights stay float32. auto: bfloat16 where the device has it
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    compile: bool = False  # torch.compile the network: minutes at the start, faster after it
    checkpoint_activations: bool = False  # blocks are computed again going back: slower, smaller
    # over several processes each holds all weights (ddp), or its share of them (fsdp)
    parallel: Literal["ddp", "fsdp"] = "ddp"
    checkpoint_images: Positive = 20_000
    preview_images: Positive = 50_000
    preview_prompts: tuple[str, ...] = ()
    # every n-th picture, 64 at most, is not trained on but measured on with each preview; 0: none
    hold_out: Natural = 50
    keep: Positive = 3  # checkpoints kept
    lora: LoRA | None = None  # train small additions to the weights of --init
    prior: Prior | None = None  # keep what the model of --init can draw
    seed: Natural = 0

    @model_validator(mode="after")
    def _settings_agree(self) -> "TrainConfig":
        if self.optimizer == "muon" and self.parallel == "fsdp":
            raise ValueError("muon needs whole matrices: use parallel=ddp, or optimizer=adamw")
        if self.redrawn and self.prior is not None:
            raise ValueError("redrawn and prior both say which pictures are shown: leave one out")
        return self

    @field_validator("hold_out")
    @classmethod
    def _something_is_left(cls, every: int) -> int:
        if every == 1:
            raise ValueError("1 would leave nothing to train on: 50 is one picture in 50, 0 none")
        return every


class Recipe(Config):
    """A model and how each of its stages is trained."""

    model: ModelConfig
    train: dict[str, TrainConfig]  # by stage name

    @model_validator(mode="after")
    def _names_match(self) -> "Recipe":
        names = {stage.name for stage in self.model.stages}
        if set(self.train) != names:
            raise ValueError(f"train names {sorted(self.train)}, the model {sorted(names)}")
        return self

    @model_validator(mode="after")
    def _crops_fit(self) -> "Recipe":
        below = 0
        for stage in self.model.stages:
            crop, scale = self.train[stage.name].crop, stage.side // (below or stage.side)
            if crop is not None and (crop > stage.side or crop % scale):
                raise ValueError(
                    f"train.{stage.name}.crop is {crop}: it must be a multiple of {scale}, "
                    f"at most {stage.side}"
                )
            if self.train[stage.name].redrawn and not stage.unet.lowres:
                raise ValueError(f"train.{stage.name}.redrawn: no stage is below {stage.name}")
            below = stage.side
        return self
