"""Sweeps of a model of a few thousand weights: drawn, looked at and measured in a blink."""

import os
import signal
import sys
import zlib
from collections.abc import Iterable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from things import THINGS, thing
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from torch import Tensor

from openimagen.data.images import to_tensor
from openimagen.evaluate.alignment import Score
from openimagen.evaluate.drawing import Model, load_model
from openimagen.evaluate.features import resized
from openimagen.evaluate.prompts import Prompt
from openimagen.evaluate.sweep.plan import Plan
from openimagen.evaluate.sweep.run import sweep
from openimagen.evaluate.sweep.settings import read_settings
from openimagen.text import Network, TextEncoder

WIDTH, TOKENS = 12, 3
WORDS = [*dict.fromkeys(word for name in THINGS for word in name.split())]


class Thumbnails:
    """Features that need no weights: a picture is its 2x2 thumbnail."""

    name, width = "Thumbnails", 12

    def __init__(self) -> None:
        self.looked = 0

    def __call__(self, pictures: Iterable[Image.Image]) -> Tensor:
        rows = [resized(to_tensor(each), 2).flatten() / 255 for each in pictures]
        self.looked += len(rows)
        return torch.stack(rows) if rows else torch.empty(0, self.width)


class Redness:
    """An alignment that needs no weights: how red a picture is; of red things only."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def check(self, prompts: Sequence[Prompt]) -> None:
        for prompt in prompts:
            if "red" not in prompt.text:
                raise ValueError(f"{prompt.text!r} is not red: leave it out")

    def __call__(self, pictures: Iterable[Image.Image], prompts: Sequence[Prompt]) -> list[Score]:
        reds = torch.stack([to_tensor(each)[0].double().mean() / 255 for each in pictures])
        assert len(reds) == len(prompts)
        self.asked += [prompt.text for prompt in prompts]
        low, high = reds.min().item(), reds.max().item()
        return [Score("Red (Thumbnails)", reds.mean().item(), low, high, len(prompts), 0.9, 0.1)]


def encoder() -> TextEncoder:
    """A random state for each word; three words at most."""
    tokenizer = Tokenizer(WordLevel({word: n for n, word in enumerate(["[UNK]", *WORDS])}, "[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    states = torch.nn.Embedding(len(WORDS) + 1, WIDTH)
    seeds = [zlib.crc32(word.encode()) for word in ["[UNK]", *WORDS]]
    rows = [torch.randn(WIDTH, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    states.weight.data = torch.stack(rows)
    network = Network(states, lambda ids, mask: [states(ids)], WIDTH, positions=TOKENS)
    return TextEncoder("words", network, tokenizer, TOKENS)


def write_real(folder: Path) -> Path:
    """Ten coloured shapes, 96 x 96, each with its words."""
    folder.mkdir()
    for name in THINGS:
        file = folder / f"{name.replace(' ', '-')}.png"
        thing(name).save(file)
        file.with_suffix(".txt").write_text(name)
    return folder


def read_model(folder: Path) -> Model:
    model = load_model(str(folder))
    model.cascade.encoder = encoder()
    return model


def make_plan(model: Path, real: Path, out: Path, *over: str, size: int = 16) -> Plan:
    """Five red things to draw."""
    drawing = read_model(model)
    return Plan(
        model=drawing,
        prompts=[Prompt(name) for name in THINGS if "red" in name],
        real=real,
        over=read_settings(over, drawing.cascade, size),
        folder=out,
        features=Thumbnails(),
        alignments={"redness": Redness()},
        size=size,
    )


def lives(model: Path, real: Path, over: Sequence[str], deaths: Sequence[tuple[Path, int]]) -> None:
    """Sweep again and again, each time in a process that is killed; exit with how many were."""
    killed = 0
    for out, die_at in deaths:
        if not (child := os.fork()):  # nothing of torch has run yet
            swept(model, real, over, out, die_at)
            os._exit(0)
        killed += os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    sys.exit(killed)


def swept(model: Path, real: Path, over: Sequence[str], out: Path, die_at: int) -> None:
    """Sweep, and die of SIGKILL at the file event `die_at` in its folder."""
    events = count(1)

    def hook(name: str, details: tuple[Any, ...]) -> None:
        is_file = name.startswith(("open", "os.")) and str(out) in str(details[:2])
        if is_file and next(events) == die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    sweep(make_plan(model, real, out, *over))
