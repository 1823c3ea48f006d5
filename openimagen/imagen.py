"""The public door: `Imagen.from_pretrained(name)(prompt)`. The CLI, the API and the page use it alone.

What must happen to every picture that leaves (checks, marks, signatures) happens here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from openimagen import model_folder
from openimagen.cascade import Cascade, OnStep, Progress
from openimagen.data.images import to_pil
from openimagen.device import find_device
from openimagen.text import TextEmbedding

EMBEDDED = Path(__file__).parent / "models"
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


def embedded_models() -> list[str]:
    """Names of the models inside the package."""
    return sorted(path.parent.name for path in EMBEDDED.glob("*/model.json"))


def find_model(name: str | Path) -> Path:
    """Folder of an embedded model, a local folder, or a hub id. ValueError if there is none."""
    if name in embedded_models():
        return EMBEDDED / str(name)
    folder = Path(name)
    if folder.is_dir():
        return folder
    if str(name).count("/") == 1 and not str(name).startswith((".", "/", "~")):
        return _from_hub(str(name))
    known = ", ".join(embedded_models()) or "none"
    raise ValueError(f"no model {name}: embedded models are {known}; else give a model folder")


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=["model*.json", "*.safetensors", "*.md"]))
    except Exception as error:
        raise ValueError(
            f"model {name} is no folder here and the hub cannot be asked ({type(error).__name__}): "
            "give a local model folder"
        ) from error


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
        return cls(model_folder.load(find_model(name), find_device(device), torch_dtype))

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
        callback_on_step_end: StepCallback | None = None,
        on_step: OnStep | None = None,
    ) -> Output:
        """Draw pictures.

        `seed`: of the first picture of each prompt, the next ones count on; or one seed per picture of a
        prompt. None draws one from `generator`, or at random. The same seed, model and settings on the
        same device give the same pixels. `num_inference_steps` and `guidance_scale`: one for every
        stage, or one per stage. `size`: side of the pictures, a stage's; None is the largest.
        `latents`: noise for the first stage, [b 3 side side]. `callback_on_step_end(self, call, log_snr,
        {"stage", "z", "x0"})` follows diffusers; `on_step` gets a `Progress`.
        Raises ValueError for an empty prompt, an unknown size or sampler, lists of a wrong length.
        """
        prompts = check_prompts(prompt)
        seeds = choose_seeds(seed, num_images_per_prompt, generator)
        settings = self._settings(num_inference_steps, guidance_scale, sampler)
        jobs = [(text, number) for text in prompts for number in seeds]
        if latents is not None and len(latents) != len(jobs):
            raise ValueError(f"latents are {len(latents)}, pictures {len(jobs)}: give as many")
        if callback_on_step_end is not None:
            on_step = self._both(callback_on_step_end, on_step)

        numbers = self.cascade.stages_between(0, size)
        names = [self.cascade.stages[number].config.name for number in numbers]
        stages: dict[str, list[Any]] = {name: [] for name in names}
        for start in range(0, len(jobs), BATCH):
            part = jobs[start : start + BATCH]
            images = self.cascade.sample(
                self._encode([text for text, _ in part]),
                [number for _, number in part],
                negative=negative_prompt,
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

    def _encode(self, prompts: list[str]) -> TextEmbedding:
        return self.cascade.encode(prompts)

    def _settings(
        self,
        steps: int | Sequence[int] | None,
        guidance: float | Sequence[float] | None,
        sampler: str | None,
    ) -> list[dict[str, Any]]:
        """What the caller changes in each stage's sampling."""
        count = len(self.cascade.stages)
        settings: list[dict[str, Any]] = [{} for _ in range(count)]
        wishes = {"steps": steps, "guidance": guidance, "sampler": sampler}
        for key, wish in wishes.items():
            if wish is None:
                continue
            each = list(wish) if isinstance(wish, Sequence) and not isinstance(wish, str) else [wish]
            if len(each) == 1:
                each = each * count
            if len(each) > count:
                raise ValueError(f"{key}: {len(each)} values for {count} stages; give one, or one each")
            for setting, value in zip(settings, each, strict=False):
                setting[key] = value
        return settings

    def _both(self, callback: StepCallback, on_step: OnStep | None) -> OnStep:
        def report(progress: Progress) -> None:
            tensors = {"stage": progress.stage, "z": progress.z, "x0": progress.x0}
            callback(self, progress.call, progress.log_snr, tensors)
            if on_step is not None:
                on_step(progress)

        return report


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
        seed = int(torch.randint(2**31, (), generator=generator))
    seeds = [seed + n for n in range(count)] if isinstance(seed, int) else list(seed)
    if len(seeds) != count:
        raise ValueError(f"{len(seeds)} seeds for {count} pictures of a prompt: give as many")
    if not all(0 <= number <= MAX_SEED for number in seeds):
        raise ValueError("a seed must be a whole number from 0 to 2^63 - 1")
    return seeds


def as_output(image: Tensor, output_type: OutputType) -> Any:  # noqa: ANN401  (PIL, array or tensor)
    """One picture [3 h w] in [-1, 1] as the caller wants it."""
    image = image.float().cpu()
    match output_type:
        case "pil":
            picture: Image.Image = to_pil(image)
            return picture
        case "pt":
            return image / 2 + 0.5
        case "np":
            return np.asarray((image / 2 + 0.5).permute(1, 2, 0))
    raise ValueError(f"output_type {output_type} is unknown: pil, np or pt")
