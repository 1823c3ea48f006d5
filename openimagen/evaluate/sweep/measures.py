"""The measures of alignment of a sweep, by names that say what their scores depend on."""

from collections.abc import Sequence
from pathlib import Path

import torch

from openimagen.evaluate.alignment import Alignment
from openimagen.evaluate.exams import load_exams
from openimagen.evaluate.prompts import Prompt
from openimagen.evaluate.sweep.plan import fingerprint

FILES = (".txt", ".csv", ".tsv", ".jsonl")


def real_of(prompts: Path) -> Path:
    """The real pictures that prompts came from. ValueError if they came from none."""
    if prompts.is_file() and prompts.suffix.lower() in FILES:
        raise ValueError(f"{prompts} has no pictures: give real ones as --real")
    return prompts


def load_alignments(
    prototypes: Path | None,
    ceiling: Path | None,
    clip: str | None,
    prompts: Sequence[Prompt],
    real: Path,
    side: int,
    device: torch.device | str = "cpu",
) -> dict[str, Alignment]:
    """CLIP score, if its weights are given, and R@1 among `prototypes`.

    Without either it is R@1 among the real pictures. The rest as in `load_exams`, which raises
    ValueError for prompts that cannot be measured.
    """
    gallery = prototypes if prototypes or clip else real
    exams = load_exams(
        prototypes=gallery, clip=clip, ceiling=ceiling, prompts=prompts, side=side, device=device
    )
    pictures = {"ceiling": ceiling, "prototypes": gallery}
    prints = {word: fingerprint(path)[:12] for word, path in pictures.items() if path}
    about = {
        "clip": _named("clip", weights=clip, ceiling=prints.get("ceiling")),
        "retrieval": _named("retrieval", **prints),
    }
    return {about[exam.name]: exam.alignment for exam in sorted(exams, key=lambda exam: exam.name)}


def _named(name: str, **about: str | None) -> str:
    return " ".join([name, *(f"{key}={value}" for key, value in about.items() if value)])
