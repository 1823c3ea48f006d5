"""For Python: `Imagen.from_pretrained(name)(prompt)`.

Every picture leaves through its `door` (checks, mark, signature); so do those of the API and page.
"""

import difflib
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from numbers import Integral
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack, get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from openimagen import model_folder
from openimagen.cascade import Cascade, OnStep, Progress
from openimagen.device import find_device
from openimagen.door import Door, Passed, Safety, format_of
from openimagen.drawing import Drawing, advance, prepare
from openimagen.editing import VARY, Source

BATCH = 8  # pictures drawn at once
FAR = 2  # times a stage's own guidance: beyond, what static thresholding cuts comes apart
MAX_SEED = 2**63 - 1

OutputType = Literal["pil", "np", "pt"]
StepCallback = Callable[["Imagen", int, float, dict[str, Any]], Any]


class SamplingOptions(TypedDict, total=False):
    """How pictures are drawn; names as in diffusers, and all may be left out.

    `seed`: of each prompt's first picture, the next ones count on; or one for each picture of a
    prompt. None draws one from `generator`, or at random. The same seed, model and settings on the
    same device give the same pixels. `num_inference_steps`, `guidance_scale`: one for every stage,
    or one each. `size`: side of the pictures, a stage's; None is the largest. `latents`: noise for
    the first stage, [b 3 side side]. `callback_on_step_end(imagen, step, log_snr, {"stage", "z",
    "x0"})`, with steps of a stage counted from 0, is as in diffusers, but what it returns is
    ignored; `on_step` gets a `Progress`. `transparent`: take pictures off their ground, as RGBA;
    one without a plain ground stays whole, with a warning.
    """

    seed: int | Sequence[int] | None
    num_images_per_prompt: int
    num_inference_steps: int | Sequence[int] | None
    guidance_scale: float | Sequence[float] | None
    negative_prompt: str | None
    sampler: str | None
    generator: torch.Generator | None
    size: int | None
    latents: Tensor | None
    output_type: OutputType
    transparent: bool
    callback_on_step_end: StepCallback | None
    on_step: OnStep | None


@dataclass
class Output:
    """Pictures of one call, in the order prompt by prompt; None where one was withheld.

    `stages`: of every stage that ran, by name: PIL, or arrays [h w 3] / tensors [3 h w] in [0, 1].
    `flagged`: why a picture was withheld, if it was. `edited`: made from a picture of somebody's.
    """

    door: Door
    stages: dict[str, list[Any]]
    seeds: list[int] = field(default_factory=list)
    prompts: list[str] = field(default_factory=list)
    flagged: list[str | None] = field(default_factory=list)
    edited: bool = False

    @property
    def images(self) -> list[Any]:
        """The pictures of the last stage."""
        return [*self.stages.values()][-1]

    def __getitem__(self, number: int) -> Any:  # noqa: ANN401  (as `images`)
        return self.images[number]

    def __len__(self) -> int:
        return len(self.images)

    def add(self, drawing: Drawing, passed: Passed, kind: OutputType) -> None:
        """Take up what the door let out of a drawing."""
        self.seeds.append(drawing.seed)
        self.prompts.append(drawing.prompt)
        self.flagged.append(passed.flagged)
        for name, images in self.stages.items():
            picture = passed.pictures.get(name)
            images.append(None if picture is None else as_output(picture, kind))

    def save(self, path: str | Path, number: int | None = None) -> None:
        """Write a picture, PIL's, with its content credentials, as its suffix says.

        Of several, without a `number`, each is written: apple.png, apple-2.png, apple-3.png ...
        Raises ValueError for one that was withheld, once the others are written, or an unknown
        suffix.
        """
        path, withheld = Path(path), list[str]()
        format = format_of(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        for each in range(len(self)) if number is None else [number]:
            if (image := self.images[each]) is None:
                withheld.append(f"there is no picture {each}: {self.flagged[each]}")
                continue
            file = path.with_stem(f"{path.stem}-{each + 1}") if number is None and each else path
            file.write_bytes(self.door.encode(image, format, edited=self.edited))
        if withheld:
            raise ValueError("; ".join(withheld))


class Imagen:
    """A text-to-image model: call it with a prompt, get pictures."""

    def __init__(self, cascade: Cascade, safety: Safety | None = None) -> None:
        self.cascade = cascade
        self.door = Door(cascade.config.name, safety)

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path = "emoji",
        *,
        torch_dtype: torch.dtype = torch.float32,
        device: str | None = None,
        safety: Safety | None = None,
    ) -> "Imagen":
        """Load a model by embedded name, folder or hub id.

        `torch_dtype`: of the arithmetic (weights stay float32). `device`: found by itself if None.
        `safety`: what of the door is off, or set otherwise.
        Raises ValueError for a model that is missing, damaged, altered or newer than this program.
        """
        found = model_folder.find_model(name)
        return cls(model_folder.load(found, find_device(device), torch_dtype), safety)

    def __call__(self, prompt: str | Sequence[str], **options: Unpack[SamplingOptions]) -> Output:
        """Draw pictures from prompts, as `SamplingOptions` say.

        Raises ValueError for what is empty, unknown, or a list of a wrong length.
        """
        return self.draw(check_prompts(prompt), None, **options)

    def edit(
        self,
        picture: Image.Image,
        prompt: str = "",
        *,
        mask: Image.Image | None = None,
        strength: float | None = None,
        **options: Unpack[SamplingOptions],
    ) -> Output:
        """Draw a picture anew from one that is there, of any shape; the result has its proportions.

        `mask`: of the same size, white where to draw; the rest stays as it is where `size` is the
        picture's: exactly, but for the watermark, which is put on the whole of pictures from 256
        pixels on and changes a pixel by six levels of 255 at most. `strength`: how much may
        change, in (0, 1]; 0.7, with a mask 1, unless given. It is the time of the cosine schedule
        that the picture is taken to, sigma = sin(pi/2 strength). Raises ValueError as a call does,
        and for a mask of another size.
        """
        return self.draw([prompt], Source(picture, mask, strength), **options)

    def vary(
        self, picture: Image.Image, *, strength: float = VARY, **options: Unpack[SamplingOptions]
    ) -> Output:
        """Draw variations of a picture, without a word: `edit` with an empty prompt."""
        return self.edit(picture, strength=strength, **options)

    def upscale(
        self, picture: Image.Image, prompt: str = "", **options: Unpack[SamplingOptions]
    ) -> Output:
        """Raise a picture of any shape to `size` by the stages above the one that it could be of.

        Raises ValueError as a call does, and for a picture that is as large already.
        """
        return self.draw([prompt], Source(picture, task="upscale"), **options)

    def draw(
        self, prompts: Sequence[str], source: Source | None, **options: Unpack[SamplingOptions]
    ) -> Output:
        """Draw each prompt with each seed, a batch at a time; what is refused is not drawn."""
        check_options(options)
        kind, transparent = options.get("output_type", "pil"), options.get("transparent", False)
        check_output(kind)
        if transparent and kind != "pil":
            raise ValueError(f"transparent pictures are PIL's: leave output_type={kind} out")
        drawings = self._prepare(prompts, source, options)
        self._doubt_guidance(drawings[0])
        asked = {drawing.prompt: drawing.sought for drawing in drawings}
        findings = {prompt: self.door.check_prompt(*texts) for prompt, texts in asked.items()}
        allowed = [drawing for drawing in drawings if findings[drawing.prompt] is None]
        names = [self.cascade.stages[number].config.name for number in drawings[0].ahead]
        on_step = self._reporter(options)
        for first in range(0, len(allowed), BATCH):
            part = allowed[first : first + BATCH]
            while part[0].ahead:
                advance(self.cascade, part, on_step)
        output = Output(self.door, {name: [] for name in names}, edited=source is not None)
        for drawing in drawings:
            finding = findings[drawing.prompt]
            if finding:
                passed = Passed({}, finding.reason)
            else:
                passed = self.door.let_out(drawing.pictures(), drawing.seed, transparent)
            for note in passed.notes:
                warnings.warn(f'"{drawing.prompt[:60]}" {note}', stacklevel=3)
            output.add(drawing, passed, kind)
        return output

    def draw_file(self, prompt: str, seed: int, size: int, on_step: OnStep) -> bytes | None:
        """One picture as a signed PNG; None if it was withheld."""
        picture = self([prompt], seed=seed, size=size, on_step=on_step)[0]
        return None if picture is None else self.door.encode(picture, "png")

    def _prepare(
        self, prompts: Sequence[str], source: Source | None, options: SamplingOptions
    ) -> list[Drawing]:
        count = options.get("num_images_per_prompt", 1)
        seeds = choose_seeds(options.get("seed"), count, options.get("generator"))
        jobs = [(prompt, seed) for prompt in prompts for seed in seeds]
        latents = options.get("latents")
        if latents is not None:
            check_latents(latents, len(jobs), self.cascade.stages[0].config.side)
        sampling = {
            "steps": options.get("num_inference_steps"),
            "guidance": options.get("guidance_scale"),
            "sampler": options.get("sampler"),
        }
        return [
            prepare(
                self.cascade,
                prompt,
                seed,
                size=options.get("size"),
                overrides=sampling,
                negative=options.get("negative_prompt"),
                source=source,
                latents=None if latents is None else latents[number],
            )
            for number, (prompt, seed) in enumerate(jobs)
        ]

    def _doubt_guidance(self, drawing: Drawing) -> None:
        """Warn of a weight that other models are used to (docs/experiments.md, the sweep)."""
        for number, stage in self.cascade.adjusted(drawing.ahead, drawing.settings).items():
            usual, asked = self.cascade.stages[number].config.sampling, stage.config.sampling
            if asked.threshold != "dynamic" and asked.guidance > FAR * usual.guidance > FAR:
                warnings.warn(
                    f"guidance {asked.guidance:g} is far over the {usual.guidance:g} of "
                    f"{stage.config.name}: pictures come apart; leave guidance out",
                    stacklevel=4,
                )

    def _reporter(self, options: SamplingOptions) -> OnStep | None:
        callback, on_step = options.get("callback_on_step_end"), options.get("on_step")
        if callback is None:
            return on_step

        def report(progress: Progress) -> None:
            tensors = {"stage": progress.stage, "z": progress.z, "x0": progress.x0}
            callback(self, progress.call - 1, progress.log_snr, tensors)
            if on_step is not None:
                on_step(progress)

        return report


def check_options(names: Iterable[str]) -> None:
    """TypeError for an option that there is not, naming the nearest, or all."""
    known = SamplingOptions.__annotations__
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1) or known
            raise TypeError(f"there is no option {name}: did you mean {', '.join(near)}?")


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
    """One or more prompts as a list. TypeError for no text, ValueError for none or an empty one."""
    prompts = [prompt] if isinstance(prompt, str) else prompt
    if not isinstance(prompts, Sequence) or not all(isinstance(text, str) for text in prompts):
        raise TypeError(f"a prompt is text, or a list of texts, not {prompt!r:.60}")
    prompts = list(prompts)
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
    given = seed if isinstance(seed, Sequence) else [seed]
    if isinstance(seed, str) or not all(isinstance(number, Integral) for number in given):
        raise TypeError(f"a seed is a whole number, or a list of them, not {seed!r:.60}")
    seeds = list(given) if isinstance(seed, Sequence) else [seed + n for n in range(count)]
    if len(seeds) != count:
        raise ValueError(f"{len(seeds)} seeds for {count} pictures of a prompt: give as many")
    if not all(0 <= number <= MAX_SEED for number in seeds):
        raise ValueError("a seed must be a whole number from 0 to 2^63 - 1")
    return seeds


def as_output(image: Image.Image, output_type: OutputType) -> Any:  # noqa: ANN401  (by its type)
    """One picture as the caller wants it; numbers are those of its pixels, 256 levels."""
    if output_type == "pil":
        return image
    pixels = np.asarray(image, np.float32) / 255
    return pixels if output_type == "np" else torch.from_numpy(pixels).permute(2, 0, 1)
