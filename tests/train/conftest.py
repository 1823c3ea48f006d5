"""A run small enough for a second: six pictures, two stages of a few thousand weights, words."""

import multiprocessing
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jobs
import numpy as np
import pytest
import torch
from PIL import Image
from small import TEXT_WIDTH, small_stage, small_train
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from openimagen.config import (
    ModelConfig,
    Recipe,
)
from openimagen.data.dataset import PictureSet
from openimagen.data.folder import read_folder
from openimagen.text import CachedEncoder, Network, TextEncoder
from openimagen.train.run import train
from openimagen.train.trainee import Trainee
from openimagen.unet import UNet

COLOURS = {"red": (230, 30, 30), "green": (30, 200, 60), "blue": (40, 60, 220)}


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Discs and squares in three colours, 64 x 64, each with its words."""
    root = tmp_path_factory.mktemp("pictures")
    y, x = np.mgrid[:64, :64] - 31.5
    shapes = {"disc": x**2 + y**2 < 24**2, "square": np.maximum(abs(x), abs(y)) < 20}
    for shape, inside in shapes.items():
        for colour, value in COLOURS.items():
            pixels = np.where(inside[..., None], value, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / f"{colour}-{shape}.png")
            (root / f"{colour}-{shape}.txt").write_text(f"a {colour} {shape}")
    return root


@pytest.fixture
def dataset(folder: Path) -> PictureSet:
    return PictureSet(read_folder(folder), 16)


@pytest.fixture(scope="session")
def words() -> TextEncoder:
    """An encoder with a random state for each word."""
    vocabulary = ["[UNK]", "a", *COLOURS, "disc", "square"]
    tokenizer = Tokenizer(WordLevel({word: n for n, word in enumerate(vocabulary)}, "[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        states = torch.nn.Embedding(len(vocabulary), TEXT_WIDTH)
    network = Network(states, lambda ids, mask: [states(ids)], TEXT_WIDTH, positions=8)
    return TextEncoder("words", network, tokenizer, 8)


@pytest.fixture(scope="module", autouse=True)
def at_hand(words: TextEncoder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Every run gets this encoder, and a cache that is not the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TextEncoder, "load", lambda *_, **__: words)
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def encoder(words: TextEncoder) -> CachedEncoder:
    return CachedEncoder(words)


@pytest.fixture(scope="session")
def new_trainee() -> Callable[..., Trainee]:
    """The base before its first step, always the same; with changes to how it is trained."""

    def make(**changes: object) -> Trainee:
        stage = small_stage()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            net = UNet(stage.unet)
        return Trainee(stage, small_train(**changes), 1, net, torch.device("cpu"))

    return make


@pytest.fixture(scope="session")
def recipe() -> Recipe:
    """16 -> 32 pixels."""
    stages = (small_stage(), small_stage("sr32", 32, lowres=True))
    plans = {"base": small_train(), "sr32": small_train(crop=16)}
    return Recipe(model=ModelConfig(name="small", stages=stages), train=plans)


@pytest.fixture(scope="module")
def finished(recipe: Recipe, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody disturbed, to look at."""
    out = tmp_path_factory.mktemp("run") / "finished"
    assert train(recipe, folder, out, device="cpu") == out / "export"
    return out


# --- processes of their own -----------------------------------------------------------------------

Start = Callable[..., list[multiprocessing.process.BaseProcess]]


@pytest.fixture(scope="session")
def start() -> Start:
    """Start a job on one or several ranks; the processes are forked where torch is imported."""
    context = multiprocessing.get_context("forkserver")
    late = ["torch._dynamo", "torch.profiler", "openimagen.train.events", "PIL.PngImagePlugin"]
    context.set_forkserver_preload(["openimagen.train.run", *late, "pytest"])

    def start(
        ranks: int, answer: Path, job: Callable[..., Any], *details: object, daemon: bool = True
    ) -> list[Any]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        processes = [
            context.Process(
                target=jobs.work,
                args=(rank, ranks, port, answer.with_suffix(f".{rank}"), job, *details),
                daemon=daemon,
            )
            for rank in range(ranks)
        ]
        for process in processes:
            process.start()
        return processes

    return start


@pytest.fixture(scope="session")
def on_ranks(start: Start, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[Any]]:
    """What a job returns on each of several ranks."""

    def on_ranks(ranks: int, job: Callable[..., Any], *details: object) -> list[Any]:
        answer = tmp_path_factory.mktemp("job") / "answer"
        for process in start(ranks, answer, job, *details):
            process.join(120)
        errors = [file.read_text() for file in answer.parent.glob("*.error")]
        assert not errors, "\n".join(errors)
        return [torch.load(answer.with_suffix(f".{rank}")) for rank in range(ranks)]

    return on_ranks
