"""The public door: `Imagen.from_pretrained(name)(prompt)`, the only one of CLI, API and page.

What must happen to every picture that leaves (checks, marks, signatures) happens here.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from PIL import Image
from torch import Tensor

from openimagen import model_folder
from openimagen.cascade import Cascade, OnStep, Progress
from openimagen.data.images import to_pil
from openimagen.device import find_device
from openimagen.matte import cut_out

BATCH = 8  # pictures drawn at once
MAX_SEED = 2**63 - 1

OutputType = Literal["pil", "np", "pt"]
StepCallback = Callable[["Imagen", int, float, dict[str, Any]], Any]


@dataclass
class Output:
    """Pictures of one call, in the order prompt by prompt."""

    images: list[Any]  # of the last stage: PIL, or arrays [h w 3] / tensors [3 h w] in [0, 1]
    stages: dict[str, list[Any]]  # the same for every stage that ran, by name
    seeds: list[int]
    prompts: list[str]
    flagged: list[str | None] = field(default_factory=list)  # why a picture was withheld, if it was

    def __getitem__(self, number: int) -> Any:  # noqa: ANN401  (as `images`)
        return self.images[number]

    def __len__(self) -> int:
        return len(self.images)

    def transparent(self) -> "Output":
        """The same with the images, PIL's, off their ground; whole where there is no plain one."""
        return replace(
            self, images=[off_ground(*pair) for pair in zip(self.images, self.prompts, strict=True)]
        )


class Imagen:
    """A text-to-image model: call it with a prompt, get pictures."""

    def __init__(self, cascade: Cascade) -> None:
        self.cascade = cascade

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path = "emoji",
        *,
        torch_dtype: torch.dtype = torch.float32,
        device: str | None = None,
    ) -> "Imagen":
        """Load a model by embedded name, folder or hub id.

        `torch_dtype`: of the arithmetic (weights stay float32). `device`: found by itself if None.
        Raises ValueError for a model that is missing, damaged, altered or newer than this program.
        """
        return cls(
            model_folder.load(model_folder.find_model(name), find_device(device), torch_dtype)
        )

    def __call__(
        self,
        prompt: str | Sequence[str],
        *,
        seed: int | Sequence[int] | None = None,
        num_images_per_prompt: int = 1,
        num_inference_steps: int | Sequence[int] | None = None,
        guidance_scale: float | Sequence[float] | None = None,
        negative_prompt: str | None = None,
        sampler: str | None = None,
        generator: torch.Generator | None = None,
        size: int | None = None,
        latents: Tensor | None = None,
        output_type: OutputType = "pil",
        transparent: bool = False,
        callback_on_step_end: StepCallback | None = None,
        on_step: OnStep | None = None,
    ) -> Output:
        """Draw pictures.

        `seed`: of each prompt's first picture, the next ones count on; or one for each picture of
        a prompt. None draws one from `generator`, or at random. The same seed, model and settings
        on the same device give the same pixels. `num_inference_steps`, `guidance_scale`: one for
        every stage, or one each. `size`: side of the pictures, a stage's; None is the largest.
        `latents`: noise for the first stage, [b 3 side side]. `callback_on_step_end(self, step,
        log_snr, {"stage", "z", "x0"})`, with steps of a stage counted from 0, is as in diffusers,
        but what it returns is ignored; `on_step` gets a `Progress`. `transparent`: take pictures
        off their ground, as RGBA; one without a plain ground stays whole, with a warning.
        Raises ValueError for what is empty, unknown, or a list of a wrong length.
        """
        check_output(output_type)
        if transparent and output_type != "pil":
            raise ValueError(f"transparent pictures are PIL's: leave output_type={output_type} out")
        seeds = choose_seeds(seed, num_images_per_prompt, generator)
        jobs = [(text, number) for text in check_prompts(prompt) for number in seeds]
        if callback_on_step_end is not None:
            on_step = self._both(callback_on_step_end, on_step)
        settings = self.cascade.settings(
            size, steps=num_inference_steps, guidance=guidance_scale, sampler=sampler
        )
        negative = negative_prompt if negative_prompt and negative_prompt.strip() else None
        drawn = self._draw(jobs, output_type, latents, size, settings, negative, on_step)
        return drawn.transparent() if transparent else drawn

    def _draw(
        self,
        jobs: list[tuple[str, int]],
        output_type: OutputType,
        latents: Tensor | None,
        size: int | None,
        settings: list[dict[str, Any]],
        negative: str | None,
        on_step: OnStep | None,
    ) -> Output:
        """Draw a picture of each (prompt, seed)."""
        numbers = self.cascade.stages_between(0, size)
        names = [self.cascade.stages[number].config.name for number in numbers]
        stages: dict[str, list[Any]] = {name: [] for name in names}
        if latents is not None:
            check_latents(latents, len(jobs), self.cascade.stages[0].config.side)
        for start in range(0, len(jobs), BATCH):
            part = jobs[start : start + BATCH]
            images = self.cascade.sample(
                [text for text, _ in part],
                [number for _, number in part],
                negative=negative,
                settings=settings,
                size=size,
                latents=None if latents is None else latents[start : start + BATCH],
                on_step=on_step,
            )
            for name, batch in zip(names, images, strict=True):
                stages[name] += [as_output(image, output_type) for image in batch]
        return Output(
            images=stages[names[-1]],
            stages=stages,
            seeds=[number for _, number in jobs],
            prompts=[text for text, _ in jobs],
            flagged=[None] * len(jobs),
        )

    def _both(self, callback: StepCallback, on_step: OnStep | None) -> OnStep:
        def report(progress: Progress) -> None:
            tensors = {"stage": progress.stage, "z": progress.z, "x0": progress.x0}
            callback(self, progress.call - 1, progress.log_snr, tensors)
            if on_step is not None:
                on_step(progress)

        return report


def off_ground(image: Image.Image, prompt: str) -> Image.Image:
    """A picture as RGBA: cut out or, with a warning, whole."""
    try:
        return cut_out(image)
    except ValueError as error:
        warnings.warn(f'"{prompt[:60]}" stays whole: {error}', stacklevel=2)
        return image.convert("RGBA")


def check_output(output_type: str) -> None:
    """ValueError for an output type that is unknown."""
    if output_type not in get_args(OutputType):
        raise ValueError(f"output_type {output_type} is unknown: pil, np or pt")


def check_latents(latents: Tensor, count: int, side: int) -> None:
    """ValueError for noise that is not one [3 side side] per picture."""
    if latents.shape != (count, 3, side, side):
        expected = f"{count} x 3 x {side} x {side}"
        raise ValueError(f"latents are {' x '.join(map(str, latents.shape))}, must be {expected}")


def check_prompts(prompt: str | Sequence[str]) -> list[str]:
    """One or more prompts as a list. ValueError for none, or an empty one."""
    prompts = [prompt] if isinstance(prompt, str) else list(prompt)
    if not prompts or not all(text.strip() for text in prompts):
        raise ValueError('the prompt is empty: say what to draw, as in "a red apple"')
    return prompts


def choose_seeds(
    seed: int | Sequence[int] | None, count: int, generator: torch.Generator | None
) -> list[int]:
    """One seed per picture of a prompt: those given, or counted up from the one given or drawn."""
    if count < 1:
        raise ValueError(f"num_images_per_prompt is {count}: ask for at least one picture")
    if seed is None:
        device = "cpu" if generator is None else generator.device
        seed = int(torch.randint(2**31, (), generator=generator, device=device))
    seeds = list(seed) if isinstance(seed, Sequence) else [seed + n for n in range(count)]
    if len(seeds) != count:
        raise ValueError(f"{len(seeds)} seeds for {count} pictures of a prompt: give as many")
    if not all(0 <= number <= MAX_SEED for number in seeds):
        raise ValueError("a seed must be a whole number from 0 to 2^63 - 1")
    return seeds


def as_output(image: Tensor, output_type: OutputType) -> Any:  # noqa: ANN401  (PIL, array or tensor)
    """One picture [3 h w] in [-1, 1] as the caller wants it."""
    image = image.float().cpu()
    if output_type == "pil":
        return to_pil(image)
    image = image / 2 + 0.5
    return image if output_type == "pt" else image.permute(1, 2, 0).numpy()
