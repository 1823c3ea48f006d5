"""Pictures into files: what `generate`, `edit` and `upscale` do between flags and report."""

import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from PIL import Image

from openimagen import model_folder
from openimagen.cascade import OnStep, Progress
from openimagen.door import FORMATS, Safety, format_of
from openimagen.drawing import Drawing, calls_of, prepare
from openimagen.editing import Source
from openimagen.imagen import BATCH, Imagen, Output, SamplingOptions, check_prompts, choose_seeds
from openimagen.trace import Trace

Advance = Callable[[int, int], None]
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
    source: Source | None = None  # what is edited or raised; prompts may be empty then
    name: str = "picture"  # of files whose prompt is empty
    safety: Safety | None = None

    def options(self, seeds: list[int], on_step: OnStep) -> SamplingOptions:
        """The same as `Imagen` takes it."""
        return {
            "seed": seeds,
            "num_images_per_prompt": len(seeds),
            "num_inference_steps": self.steps,
            "guidance_scale": self.guidance,
            "negative_prompt": self.negative,
            "sampler": self.sampler,
            "size": self.size,
            "transparent": self.transparent,
            "on_step": on_step,
        }


@dataclass(frozen=True)
class Drawn:
    """One picture that was written; `file` is None if it was withheld, and `flagged` says why."""

    file: str | None
    prompt: str
    seed: int
    width: int
    height: int
    model: str
    seconds: float  # until it was drawn, loading included
    flagged: str | None = None
    trace: str | None = None  # file of the strip, one for the whole request; None if withheld


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
    if request.source is None:
        check_prompts(request.prompts)
    check_files(out, request.trace)
    if request.transparent:
        check_alpha(out)
    seeds = choose_seeds(request.seed, request.count, None)
    began = time.monotonic()
    imagen = Imagen.from_pretrained(model, device=device, safety=request.safety)
    drawings = [drawing_of(imagen, request, prompt) for prompt in request.prompts]
    for drawing in drawings:
        imagen.door.refuse(*drawing.sought)
    parts = list(batches(request.prompts, seeds))
    report = Report(calls_of(imagen.cascade, drawings[0]) * len(parts), advance)
    drawn: list[Drawn] = []
    strip: str | None = None
    for part, (prompts, numbers) in enumerate(parts):
        output = imagen.draw(prompts, request.source, **request.options(numbers, report))
        seconds = round(time.monotonic() - began, 2)
        if request.trace and part == 0:
            strip = save_trace(output, report.trace, request.trace)
        for number, (prompt, seed) in enumerate(zip(output.prompts, output.seeds, strict=True)):
            file = save(output, number, file_for(out, prompt or request.name, seed))
            width, height = output[number].size if file else (0, 0)
            flagged = output.flagged[number]
            drawn.append(Drawn(file, prompt, seed, width, height, model, seconds, flagged, strip))
    return drawn


@dataclass
class Report:
    """Counts network calls for a progress bar, and keeps what a trace is made of."""

    total: int
    advance: Advance | None
    count: int = 0
    trace: Trace = field(default_factory=Trace)

    def __call__(self, progress: Progress) -> None:
        """After each call."""
        self.count += 1
        self.trace(progress)
        if self.advance:
            self.advance(self.count, self.total)


def drawing_of(imagen: Imagen, request: Request, prompt: str) -> Drawing:
    """What one of the request's prompts comes to, whatever the seed. ValueError if it is wrong."""
    sampling = {"steps": request.steps, "guidance": request.guidance, "sampler": request.sampler}
    return prepare(
        imagen.cascade,
        prompt,
        0,
        size=request.size,
        overrides=sampling,
        negative=request.negative,
        source=request.source,
    )


def batches(prompts: list[str], seeds: list[int]) -> Iterator[tuple[list[str], list[int]]]:
    """Prompts and seeds whose product is drawn at once: in all each prompt with each seed, once."""
    together = max(1, BATCH // len(seeds))
    for start in range(0, len(prompts), together):
        for first in range(0, len(seeds), BATCH):
            yield prompts[start : start + together], seeds[first : first + BATCH]


def check_files(out: Path, trace: Path | None) -> None:
    """ValueError for a place to write to that is no kind of picture, or cannot be written to."""
    if trace and trace.suffix.lower() not in FORMATS:
        raise ValueError(f"{trace}: the trace is written as {', '.join(FORMATS)}")
    suffix = out.suffix.lower()
    other = suffix in Image.registered_extensions() or get_close_matches(suffix, FORMATS, 1, 0.7)
    if suffix not in FORMATS and other and not out.is_dir():
        raise ValueError(f"{out}: pictures are written as {', '.join(FORMATS)}")
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
    return out.suffix.lower() in FORMATS and not out.is_dir()


def save(output: Output, number: int, path: Path) -> str | None:
    """Write a picture to the path, or a name near it if that is taken; returns where it went."""
    if output[number] is None:
        return None
    path.parent.mkdir(parents=True, exist_ok=True)
    free = free_name(path)
    output.save(free, number)
    return str(free)


def save_trace(output: Output, trace: Trace, path: Path) -> str | None:
    """Write the strip of the first picture as pictures are: checked, marked, signed.

    Nothing is written of a picture that was withheld, nor of one that was indecent on its way. The
    tiles are judged one by one: a strip is squashed to be judged, which hides what is on it.
    """
    door = output.door
    tiles = (made_out for frames in trace.shown().values() for _, made_out in frames)
    if output.flagged[0] or any(map(door.flag, tiles)):
        return None
    path.parent.mkdir(parents=True, exist_ok=True)
    free = free_name(path)
    strip = door.mark(trace.strip(), output.seeds[0])
    free.write_bytes(door.encode(strip, format_of(free), edited=output.edited))
    return str(free)


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
    """Name, sizes, licence and card of each embedded model."""
    rows = []
    for name in model_folder.embedded_models():
        folder = model_folder.find_model(name)
        config = model_folder.read_model_file(folder).model
        sides, card = [stage.side for stage in config.stages], str(folder / "MODEL_CARD.md")
        rows.append({"name": name, "sizes": sides, "licence": config.licence, "card": card})
    return rows
