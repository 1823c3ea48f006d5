"""The diagram of the paper: text -> embedding -> base -> super-resolution -> ... -> image.

`Cascade.sample` returns raw tensors, unfiltered and unmarked: training and metrics need the truth.
The public way is `openimagen.imagen`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from pydantic import ValidationError
from torch import Tensor
from torch.nn.functional import interpolate, pad

from openimagen.config import ModelConfig, SamplingConfig, StageConfig
from openimagen.diffusion import (
    Denoiser,
    add_noise,
    augmentation_log_snr,
    denoiser,
    sampling_log_snrs,
)
from openimagen.guidance import classifier_free, thresholded, watched
from openimagen.samplers import SAMPLERS
from openimagen.text import TextEmbedding, TextEncoder
from openimagen.unet import UNet

Pictures = Float[Tensor, "b 3 _ _"]  # in [-1, 1]; of any height and width


@dataclass(frozen=True)
class Progress:
    """Where a cascade is: the network of `stage` has been called `call` times of `calls`."""

    stage: str
    call: int
    calls: int
    log_snr: float
    z: Pictures  # the noisy picture that the network is shown
    x0: Pictures  # the picture it makes out in that


OnStep = Callable[[Progress], None]
Wrap = Callable[[Denoiser], Denoiser]
Encoder = Callable[[Sequence[str]], TextEmbedding]


@dataclass(frozen=True)
class Stage:
    """One diffusion model: its numbers and its network, None until it is trained."""

    config: StageConfig
    net: UNet | None = None

    def trained(self) -> UNet:
        """Return the network, or say that there is none."""
        if self.net is None:
            raise ValueError(
                f"stage {self.config.name} has no weights: train it with "
                f"`openimagen train RECIPE --stage {self.config.name} --init MODEL`, "
                "or ask for a smaller size"
            )
        return self.net

    def adjusted(self, overrides: Mapping[str, Any]) -> "Stage":
        """The same stage, trained or refused, with the caller's overrides of its sampling."""
        try:
            sampling = SamplingConfig(**{**self.config.sampling.model_dump(), **overrides})
        except ValidationError as error:
            first = error.errors()[0]
            where, given = ".".join(map(str, first["loc"])), first["input"]
            raise ValueError(f"{where} {given}: {first['msg'].lower()}") from None
        return Stage(self.config.model_copy(update={"sampling": sampling}), self.trained())


class PictureNoise:
    """Gaussian noise with one stream per picture, a function of (seed, stage) alone.

    Drawn on the CPU: neither the batch nor the device changes it.
    """

    def __init__(self, seeds: Sequence[int], stage: int, device: torch.device) -> None:
        self.device = device
        entropies = [np.random.SeedSequence(seed, spawn_key=(stage,)) for seed in seeds]
        self.streams = [
            torch.Generator().manual_seed(int(entropy.generate_state(1, np.uint64)[0]))
            for entropy in entropies
        ]

    def draw(self, *shape: int) -> Tensor:
        """Next noise of this shape for each picture, [b *shape]."""
        return torch.stack([torch.randn(shape, generator=s) for s in self.streams]).to(self.device)


@dataclass
class Cascade:
    """A frozen text encoder and its diffusion stages, smallest picture first."""

    config: ModelConfig
    stages: Sequence[Stage]
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    dtype: torch.dtype = torch.float32  # of the networks' arithmetic, by autocast
    encoder: Encoder | None = None  # loaded at its first use

    def encode(self, captions: Sequence[str]) -> TextEmbedding:
        """Token states of captions, [b n d], on the cascade's device."""
        if self.encoder is None:
            self.encoder = TextEncoder.load(self.config.text, device=self.device)
        return self.encoder(captions).to(self.device)

    def stages_between(self, start: int, size: int | None) -> range:
        """Numbers of the stages that lead from stage `start` to pictures of side `size`."""
        sides = [stage.config.side for stage in self.stages]
        if not 0 <= start < len(sides):
            raise ValueError(f"{self.config.name} has stages 0 to {len(sides) - 1}, not {start}")
        size = sides[-1] if size is None else size
        if size not in sides[start:]:
            options = ", ".join(map(str, sides[start:]))
            raise ValueError(
                f"size {size} is no stage of {self.config.name}: choose one of {options}"
            )
        return range(start, sides.index(size) + 1)

    def settings(self, size: int | None, **overrides: object) -> list[dict[str, Any]]:
        """What `sample` takes as settings, from overrides as steps=[16, 8] or sampler="heun".

        Each is one value for every stage, or one for each: of all stages, or of those that lead
        to `size`. None changes nothing.
        """
        count, most = len(self.stages_between(0, size)), len(self.stages)
        settings: list[dict[str, Any]] = [{} for _ in range(most)]
        for key, given in overrides.items():
            if given is None:
                continue
            each = list(given) if isinstance(given, list | tuple) else [given]
            if len(each) == 1:
                each *= most
            if len(each) not in (count, most):
                raise ValueError(
                    f"{key}: {len(each)} values for {count} stages; give one, or one each"
                )
            for setting, value in zip(settings, each, strict=False):
                setting[key] = value
        return settings

    def adjusted(
        self, numbers: Iterable[int], settings: Sequence[Mapping[str, Any]]
    ) -> dict[int, Stage]:
        """Stages by number, each with its entry of `settings`, if any. ValueError as `Stage`."""
        return {
            number: self.stages[number].adjusted(settings[number] if settings[number:] else {})
            for number in numbers
        }

    def below(self, number: int, lowres: Pictures) -> Pictures:
        """Pictures on the side that stage `number` goes by, resized antialiased if need be."""
        side = self.stages[number - 1].config.side
        if lowres.shape[-2:] == (side, side):
            return lowres
        smaller = interpolate(lowres, size=(side, side), mode="bicubic", antialias=True)
        return smaller.clamp(-1, 1)  # bicubic goes beyond at edges

    @torch.inference_mode()
    def sample(
        self,
        text: Sequence[str] | TextEmbedding,
        seeds: Sequence[int],
        *,
        negative: str | None = None,
        settings: Sequence[Mapping[str, Any]] = (),
        size: int | None = None,
        start: int = 0,
        lowres: Pictures | None = None,
        latents: Pictures | None = None,
        wrap: Wrap | None = None,
        on_step: OnStep | None = None,
    ) -> list[Pictures]:
        """Draw one picture per caption; returns the picture of every stage that ran, in [-1, 1].

        `settings`: overrides of each stage's `SamplingConfig`, one mapping per stage of the model.
        `size`: side to stop at. `start`: first stage to run, with `lowres` the picture below it,
        which is resized, antialiased, to the side of the stage that it stands for.
        `latents`: noise that the first stage starts from instead of its seeds'. `wrap`: changes
        the denoiser of every stage, as `openimagen.editing.held` does.
        """
        if (start > 0) != (lowres is not None):
            raise ValueError("stage 0 draws from nothing, every later start from a lowres picture")
        stages = self.adjusted(self.stages_between(start, size), settings)
        text = text if isinstance(text, TextEmbedding) else self.encode(text)
        for name, given in (("seeds", seeds), ("lowres", lowres), ("latents", latents)):
            if given is not None and len(given) != len(text.tokens):
                raise ValueError(f"{len(text.tokens)} captions, but {len(given)} {name}")
        null = text.null() if negative is None else self.encode([negative] * len(seeds))
        images, image = [], None if lowres is None else self.below(start, lowres)
        for number, stage in stages.items():
            noise = PictureNoise(seeds, number, self.device)
            start_noise = latents if number == start else None
            with torch.autocast(self.device.type, self.dtype, self.dtype != torch.float32):
                image = draw(stage, text, null, noise, image, start_noise, on_step, wrap=wrap)
            images.append(image)
        return images


def draw(
    stage: Stage,
    text: TextEmbedding,
    null: TextEmbedding,
    noise: PictureNoise,
    lowres: Pictures | None = None,
    latents: Pictures | None = None,
    on_step: OnStep | None = None,
    size: tuple[int, int] | None = None,
    wrap: Wrap | None = None,
) -> Pictures:
    """Draw with one stage by its own sampling settings: noise -> [b 3 h w] in [-1, 1].

    `size` is (h, w), the stage's side x side unless given; any works. `wrap` changes the
    denoiser, guided and thresholded as it is.
    """
    sampling, shape = stage.config.sampling, (3, *(size or 2 * (stage.config.side,)))
    z = noise.draw(*shape)  # drawn even if unused: what follows must not repeat it
    if latents is not None:
        z = latents.to(noise.device, torch.float32)
    denoise = guided(stage, text, null, noise, lowres)
    denoise = thresholded(denoise, sampling.threshold, sampling.percentile)
    if wrap is not None:
        denoise = wrap(denoise)
    if on_step is not None:
        denoise = watched(denoise, reporter(stage.config, on_step))
    log_snrs = sampling_log_snrs(
        stage.config.diffusion.schedule, sampling.steps, sampling.log_snr_range
    ).to(z.device)
    walk = SAMPLERS[sampling.sampler]
    image = walk(denoise, z, log_snrs, lambda: noise.draw(*shape))
    if sampling.match_colours and lowres is not None:
        image = match_colours(image, lowres)
    return image.clamp(-1, 1)


def match_colours(image: Pictures, lowres: Pictures) -> Pictures:
    """Undo a stage's colour drift: apply the one affine map of RGB, per picture, that brings the
    picture, shrunk, nearest to the one below. White counts for as much as the picture and stays
    white; where nothing says otherwise, the map stays 1.
    """
    shrunk = interpolate(image, size=lowres.shape[-2:], mode="area")
    pixels = (
        shrunk.cpu().double().flatten(2).transpose(1, 2)
    )  # [b n 3]; not every device has float64
    pixels = pad(pixels, (0, 1), value=1.0)  # red, green, blue, 1
    drift = lowres.cpu().double().flatten(2).transpose(1, 2) - pixels[..., :3]
    white = torch.ones_like(pixels[0, :1])  # its drift is 0
    ridge = 1e-3 * torch.eye(4, dtype=pixels.dtype)
    hold = pixels.shape[1] * (white.T @ white + ridge)  # [4 4]
    change = torch.linalg.solve(pixels.mT @ pixels + hold, pixels.mT @ drift)  # [b 4 3]
    change = change.to(image.device, image.dtype)
    shift = torch.einsum("bchw,bcd->bdhw", image, change[:, :3]) + change[:, 3, :, None, None]
    return image + shift


def guided(
    stage: Stage,
    text: TextEmbedding,
    null: TextEmbedding,
    noise: PictureNoise,
    lowres: Pictures | None,
) -> Denoiser:
    """The stage's denoiser under guidance, its text read and the picture below it augmented."""
    net, diffusion, sampling = stage.trained(), stage.config.diffusion, stage.config.sampling
    aug_log_snr = None
    if lowres is not None:
        level = torch.full((len(lowres),), sampling.aug_level, device=lowres.device)
        aug_log_snr = augmentation_log_snr(diffusion, level)
        if sampling.aug_level > 0:
            lowres = add_noise(lowres, noise.draw(*lowres.shape[1:]), aug_log_snr)

    def bind(text: TextEmbedding, copies: int) -> Denoiser:
        low = None if lowres is None else lowres.repeat(copies, 1, 1, 1)
        aug = None if aug_log_snr is None else aug_log_snr.repeat(copies)
        return denoiser(net, diffusion, net.read(text), low, aug)

    return classifier_free(
        bind(text, 1),
        bind(TextEmbedding.concatenate([text, null]), 2),
        sampling.guidance,
        sampling.guidance_interval,
        sampling.guidance_rescale,
    )


def network_calls(sampling: SamplingConfig) -> int:
    """How often a stage asks its network for one picture; Heun asks twice a step but the last."""
    return 2 * sampling.steps - 1 if sampling.sampler == "heun" else sampling.steps


def reporter(stage: StageConfig, on_step: OnStep) -> Callable[[Tensor, Tensor, Tensor], None]:
    """Turn each x0 estimate of a stage into a `Progress`."""
    calls, count = network_calls(stage.sampling), 0

    def report(z: Tensor, x0: Tensor, log_snr: Tensor) -> None:
        nonlocal count
        count += 1
        on_step(Progress(stage.name, count, calls, log_snr[0].item(), z, x0))

    return report
