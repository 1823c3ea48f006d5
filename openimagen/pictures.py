"""Pictures into files: what `openimagen generate` does between its flags and its report."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from openimagen import model_folder
from openimagen.cascade import Progress
from openimagen.imagen import Imagen, check_prompts
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
    trace: Path | None = None


@dataclass(frozen=True)
class Drawn:
    """One picture that was written."""

    file: str
    prompt: str
    seed: int
    size: int
    model: str
    seconds: float  # until all pictures were drawn, loading included
    trace: str | None = None  # file of the strip, one for the whole request


def draw(
    model: str,
    request: Request,
    out: Path,
    device: str | None = None,
    advance: Advance | None = None,
) -> list[Drawn]:
    """Draw a request's pictures and write each to a file of its own; nothing is overwritten.

    `out` with a picture's suffix is the file (numbered from the second picture on), else a folder.
    Raises ValueError for a wrong request, as far as possible before any work.
    """
    check_prompts(request.prompts)
    check_files(out, request.trace)
    began = time.monotonic()
    imagen = Imagen.from_pretrained(model, device=device)
    trace = Trace()
    output = imagen(
        request.prompts,
        seed=request.seed,
        num_images_per_prompt=request.count,
        num_inference_steps=request.steps,
        guidance_scale=request.guidance,
        negative_prompt=request.negative,
        sampler=request.sampler,
        size=request.size,
        on_step=_watch(trace if request.trace else None, advance),
    )
    seconds = round(time.monotonic() - began, 2)
    strip = str(save(trace.strip(), request.trace)) if request.trace else None
    drawn = []
    for image, prompt, seed in zip(output.images, output.prompts, output.seeds, strict=True):
        file = save(image, file_for(out, prompt, seed))
        drawn.append(Drawn(str(file), prompt, seed, image.width, model, seconds, strip))
    return drawn


def check_files(out: Path, trace: Path | None) -> None:
    """ValueError for a place to write to that names no kind of picture."""
    if trace and trace.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{trace}: the trace is written as {', '.join(SUFFIXES)}")
    if out.suffix and out.suffix.lower() not in SUFFIXES and not out.is_dir():
        raise ValueError(f"{out}: pictures are written as {', '.join(SUFFIXES)}")


def save(image: Image.Image, path: Path) -> Path:
    """Write a picture to the path, or a name near it if that is taken; returns where it went."""
    path.parent.mkdir(parents=True, exist_ok=True)
    free = free_name(path)
    image.save(free)
    return free


def _watch(trace: Trace | None, advance: Advance | None) -> Callable[[Progress], None]:
    def report(progress: Progress) -> None:
        if trace is not None:
            trace(progress)
        if advance is not None:
            advance(progress.call, progress.calls)

    return report


def file_for(out: Path, prompt: str, seed: int) -> Path:
    """`out` itself if it names a picture, else out/<prompt's words>-<seed>.png."""
    if out.suffix.lower() in SUFFIXES and not out.is_dir():
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
