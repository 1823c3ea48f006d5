"""Pictures into files: what `openimagen generate` does between its flags and its report."""

import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from openimagen import model_folder
from openimagen.cascade import Cascade, Progress, network_calls
from openimagen.imagen import BATCH, Imagen, check_prompts, choose_seeds
from openimagen.trace import Trace

Advance = Callable[[int, int], None]
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
NAME_BYTES = 120  # of a prompt, in a file's name


@dataclass(frozen=True)
class Request:
    """What to draw, and how."""

    prompts: list[str]
    count: int = 1
    seed: int = 0
    size: int | None = None
    steps: list[int] | None = None
    guidance: list[float] | None = None
    negative: str | None = None
    sampler: str | None = None
    transparent: bool = False
    trace: Path | None = None


@dataclass(frozen=True)
class Drawn:
    """One picture that was written."""

    file: str
    prompt: str
    seed: int
    size: int
    model: str
    seconds: float  # until it was drawn, loading included
    trace: str | None = None  # file of the strip, one for the whole request


def draw(
    model: str,
    request: Request,
    out: Path,
    device: str | None = None,
    advance: Advance | None = None,
) -> list[Drawn]:
    """Draw a request's pictures, each into a file of its own as it is done; none is overwritten.

    `out` with a picture's suffix is the file (numbered from the second picture on), else a folder.
    Raises ValueError for a wrong request, as far as possible before any work.
    """
    check_prompts(request.prompts)
    check_files(out, request.trace)
    if request.transparent:
        check_alpha(out)
    seeds = choose_seeds(request.seed, request.count, None)
    began = time.monotonic()
    imagen = Imagen.from_pretrained(model, device=device)
    total, count, trace = calls_of(imagen.cascade, request), 0, Trace()
    parts = list(batches(request.prompts, seeds))

    def report(progress: Progress) -> None:
        nonlocal count
        count += 1
        if request.trace:
            trace(progress)
        if advance:
            advance(count, total * len(parts))

    drawn: list[Drawn] = []
    strip = None
    for prompts, numbers in parts:
        output = imagen(
            prompts,
            seed=numbers,
            num_images_per_prompt=len(numbers),
            num_inference_steps=request.steps,
            guidance_scale=request.guidance,
            negative_prompt=request.negative,
            sampler=request.sampler,
            size=request.size,
            transparent=request.transparent,
            on_step=report,
        )
        seconds = round(time.monotonic() - began, 2)
        if request.trace and strip is None:
            strip = str(save(trace.strip(), request.trace))
        for image, prompt, seed in zip(output.images, output.prompts, output.seeds, strict=True):
            file = save(image, file_for(out, prompt, seed))
            drawn.append(Drawn(str(file), prompt, seed, image.width, model, seconds, strip))
    return drawn


def calls_of(cascade: Cascade, request: Request) -> int:
    """Network calls that a batch of the request takes, over all its stages."""
    settings = cascade.settings(request.size, steps=request.steps, sampler=request.sampler)
    stages = [
        cascade.stages[number].adjusted(settings[number])
        for number in cascade.stages_between(0, request.size)
    ]
    return sum(network_calls(stage.config.sampling) for stage in stages)


def batches(prompts: list[str], seeds: list[int]) -> Iterator[tuple[list[str], list[int]]]:
    """Prompts and seeds whose product is drawn at once: in all each prompt with each seed, once."""
    together = max(1, BATCH // len(seeds))
    for start in range(0, len(prompts), together):
        for first in range(0, len(seeds), BATCH):
            yield prompts[start : start + together], seeds[first : first + BATCH]


def check_files(out: Path, trace: Path | None) -> None:
    """ValueError for a place to write to that is no kind of picture, or cannot be written to."""
    if trace and trace.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{trace}: the trace is written as {', '.join(SUFFIXES)}")
    suffix = out.suffix.lower()
    if suffix not in SUFFIXES and suffix in Image.registered_extensions() and not out.is_dir():
        raise ValueError(f"{out}: pictures are written as {', '.join(SUFFIXES)}")
    folders = [out.parent if is_picture(out) else out, *([trace.parent] if trace else [])]
    for folder in folders:
        there = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
        if not there.is_dir() or not os.access(there, os.W_OK):
            raise ValueError(f"nothing can be written in {there}: choose another --out or --trace")


def check_alpha(out: Path) -> None:
    """ValueError for a picture's name whose format knows no alpha."""
    if is_picture(out) and out.suffix.lower() in (".jpg", ".jpeg"):
        raise ValueError(f"{out}: JPEG knows no transparency: name it .png or .webp")


def is_picture(out: Path) -> bool:
    """Whether the path names a picture, and not a folder."""
    return out.suffix.lower() in SUFFIXES and not out.is_dir()


def save(image: Image.Image, path: Path) -> Path:
    """Write a picture to the path, or a name near it if that is taken; returns where it went."""
    path.parent.mkdir(parents=True, exist_ok=True)
    free = free_name(path)
    image.save(free)
    return free


def file_for(out: Path, prompt: str, seed: int) -> Path:
    """`out` itself if it names a picture, else out/<prompt's words>-<seed>.png."""
    if is_picture(out):
        return out
    words = re.sub(r"[^\w]+", "-", prompt.lower()).strip("-_")
    words = words.encode()[:NAME_BYTES].decode(errors="ignore").strip("-_")
    return out / f"{words or 'picture'}-{seed}.png"


def free_name(path: Path) -> Path:
    """The path, or if it is taken the same with -2, -3 ... before the suffix."""
    number, free = 2, path
    while free.exists():
        free = path.with_stem(f"{path.stem}-{number}")
        number += 1
    return free


def describe_models() -> list[dict[str, Any]]:
    """Name, sizes and licence of each embedded model."""
    rows = []
    for name in model_folder.embedded_models():
        contents = model_folder.read_model_file(model_folder.find_model(name))
        sides = [stage.side for stage in contents.model.stages]
        rows.append({"name": name, "sizes": sides, "licence": contents.model.licence})
    return rows
