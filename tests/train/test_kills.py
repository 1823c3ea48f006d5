"""A run that is killed again and again, anywhere, ends as one that was left alone: to the bit."""

import shutil
import signal
import tarfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import jobs
import numpy as np
import pytest
from jobs import Kill
from left import left_by

from openimagen.config import Recipe
from openimagen.recipes import override

pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is")
IMAGES = 64  # of both stages
KINDS = {  # source, workers, how often it is killed
    "folder": ("folder", 0, 8),
    "shards": ("shards", 0, 6),
    "shards, workers": ("shards", 2, 6),
}


@dataclass
class Life:
    """A run that was killed: where it was each time, and pipes that its processes held open."""

    out: Path
    places: list[set[str]] = field(default_factory=list)
    pipes: list[Connection] = field(default_factory=list)


Live = Callable[..., Life]


@pytest.fixture(scope="module")
def plan(recipe: Recipe) -> Recipe:
    """Old checkpoints go, where new ones come."""
    return override(recipe, ["train.base.keep=2", "train.sr32.keep=1"])


@pytest.fixture(scope="module")
def sources(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The six pictures, one of them cut: as files, and in two shards of which one is cut."""
    root = tmp_path_factory.mktemp("sources")
    shutil.copytree(folder, root / "folder")
    cut(root / "folder/red-square.png", 100)
    (root / "shards").mkdir()
    files = sorted(folder.iterdir())
    for number in range(2):
        with tarfile.open(root / f"shards/{number}.tar", "w") as tar:
            for file in files[6 * number : 6 * number + 6]:
                tar.add(file, file.name)
    with tarfile.open(root / "shards/1.tar") as tar:
        at = tar.getmembers()[2].offset_data + 100
    cut(root / "shards/1.tar", at)
    return {name: root / name for name in ("folder", "shards")}


def cut(path: Path, length: int) -> None:
    path.write_bytes(path.read_bytes()[:length])


@pytest.fixture(scope="module")
def live(start: Callable[..., Any], plan: Recipe, sources: dict[str, Path]) -> Live:
    """Have a run killed some times, and then let it come to its end."""

    def live(out: Path, source: str, workers: int, kills: Sequence[Kill]) -> Life:
        life, where = Life(out), out.with_suffix(".where")
        for kill in (*kills, None):
            pipe, held = Pipe(duplex=False)
            job = (jobs.killed_run, plan, sources[source], out, workers, kill, where, held)
            (process,) = start(1, out.with_suffix(".answer"), *job, daemon=workers == 0)
            held.close()
            life.pipes.append(pipe)
            process.join(60)
            errors = "".join(file.read_text() for file in out.parent.glob("*.error"))
            assert process.exitcode == (-signal.SIGKILL if kill else 0), errors
            if kill:
                life.places.append({*where.read_text().split()})
        return life

    return live


def moments(seed: int, kills: int) -> list[Kill]:
    """All over the life of a run, and in order, so that it gets on; each third when it begins."""
    random = np.random.default_rng(seed)
    images = (np.arange(kills) + random.random(kills)) / kills * IMAGES
    images[::3] = 0
    delays = random.uniform(0, 0.06, kills) * (random.random(kills) < 0.5)
    events = 1 + 18 * random.random(kills) ** 2
    return [
        Kill(int(image), int(event), float(delay))
        for image, event, delay in zip(images, events, delays, strict=True)
    ]


@pytest.fixture(scope="module")
def lives(live: Live, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Life, Life]]:
    """Of each kind a run that was killed, and one that was not."""
    root = tmp_path_factory.mktemp("lives")

    def both(seed: int, kind: str) -> tuple[Life, Life]:
        source, workers, kills = KINDS[kind]
        killed = live(root / f"{seed} killed", source, workers, moments(seed, kills))
        return killed, live(root / f"{seed} undisturbed", source, workers, [])

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(KINDS, pool.map(both, count(), KINDS), strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_was_killed_again_and_again_ends_as_one_that_was_not(
    lives: dict[str, tuple[Life, Life]], kind: str
) -> None:
    killed, undisturbed = (left_by(life.out) for life in lives[kind])
    assert killed.keys() == undisturbed.keys()
    for name, content in undisturbed.items():
        assert killed[name] == content, name


def test_it_was_killed_all_over_the_place(lives: dict[str, tuple[Life, Life]]) -> None:
    places = [place for killed, _ in lives.values() for place in killed.places]
    assert len(places) == 20
    inside = {
        "a save": [place for place in places if "state_dict_saver.save" in place],
        "a step": [place for place in places if "jobs.step" in place],
        "no stage": [place for place in places if "loop.train_stage" not in place],
    }
    assert all(inside.values())


def test_no_worker_outlives_a_run(lives: dict[str, tuple[Life, Life]]) -> None:
    """A pipe ends when the last process that holds it does."""
    for life in lives["shards, workers"]:
        assert all(pipe.poll(20) for pipe in life.pipes)


@pytest.mark.parametrize(("source", "method"), [("shards", "fork"), ("folder", "forkserver")])
def test_no_worker_outlives_its_trainer(
    start: Callable[..., Any], sources: dict[str, Path], tmp_path: Path, source: str, method: str
) -> None:
    """Whatever the parent is that the system knows it by."""
    pipe, held = Pipe(duplex=False)
    job = (jobs.killed_reader, sources[source], method, held)
    (process,) = start(1, tmp_path / "answer", *job, daemon=False)
    held.close()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert pipe.poll(20)
