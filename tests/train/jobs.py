"""What processes of their own do in tests: train on several ranks, be killed."""

import copy
import gc
import io
import multiprocessing
import os
import resource
import signal
import sys
import traceback
import zlib
from collections.abc import Callable, Sequence
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Timer
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from torch.profiler import ProfilerActivity, profile

from openimagen.config import Recipe, StageConfig
from openimagen.data.dataset import Batch, PictureSet, PictureStream, loader
from openimagen.data.folder import read_folder
from openimagen.data.source import Shards, open_source
from openimagen.text import CachedEncoder, TextEmbedding, TextEncoder, stack_rows
from openimagen.train import loop, parallel
from openimagen.train import run as run_module
from openimagen.train.adafactor import Adafactor
from openimagen.train.checkpoint import Writer
from openimagen.train.loop import Interrupted, add_gradients, train_step
from openimagen.train.run import make_trainee, train
from openimagen.train.step import Noised, loss_of, prepare
from openimagen.train.trainee import Trainee


class Words:
    """A state for each word."""

    width, max_tokens, identity = 12, 8, "words"
    device, dtype = torch.device("cpu"), torch.float32

    def __call__(self, captions: Sequence[str]) -> TextEmbedding:
        rows = [torch.stack([*map(self._state, caption.split())]) for caption in captions]
        return TextEmbedding(*stack_rows(rows))

    def _state(self, word: str) -> Tensor:
        return torch.randn(12, generator=torch.Generator().manual_seed(zlib.crc32(word.encode())))


def work(
    rank: int, ranks: int, port: int, answer: Path, job: Callable[..., Any], *details: object
) -> None:
    """Do a job as torchrun would have it done, and leave what comes of it in a file."""
    torch.set_num_threads(1)
    multiprocessing.set_start_method(None, force=True)  # of workers: the usual one
    if ranks > 1:
        names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": ranks, "MASTER_PORT": port}
        os.environ |= {"MASTER_ADDR": "127.0.0.1"} | {k: str(v) for k, v in names.items()}
    with patch.object(TextEncoder, "load", lambda *_, **__: Words()):
        try:
            torch.save(job(*details), answer)
        except BaseException:
            answer.with_suffix(".error").write_text(traceback.format_exc())
            raise


# --- steps ----------------------------------------------------------------------------------------


def together(*jobs: tuple[Callable[..., Any], ...]) -> list[Any]:
    """Several jobs among the same ranks."""
    with parallel.joined("cpu"):
        return [job(*details) for job, *details in jobs]


def steps(recipe: Recipe, data: Path, out: Path, until: int) -> list[tuple[float, float]]:
    """Train the base from its last checkpoint in `out` to `until` images, and leave another.

    What was read is written to `out`/again.
    """
    trainee = make_trainee(recipe, "base", out, torch.device("cpu"))
    with Writer(out / "again", keep=9) as writer:
        writer.save(trainee.state(), trainee.images)
        figures = [train_step(trainee, *given) for given in batches(trainee, data, until)]
    with Writer(out / "checkpoints/base", keep=9) as writer:
        writer.save(trainee.state(), trainee.images)
    return figures


def batches(trainee: Trainee, data: Path, until: int) -> list[tuple[Batch, CachedEncoder]]:
    dataset = PictureSet(read_folder(data), trainee.config.side)
    place, encoder = (parallel.rank(), parallel.ranks()), CachedEncoder(Words())  # type: ignore[arg-type]
    every = loader(dataset, trainee.images, until, trainee.train.batch, 0, *place)
    return [(batch, encoder) for batch in every]


def poisoned(recipe: Recipe, data: Path, out: Path) -> list[tuple[bool, Tensor]]:
    """Three steps, the second with no loss on the last rank: whether it was taken, and a weight."""

    def loss(net: nn.Module, stage: StageConfig, noised: Noised) -> Tensor:
        is_bad = next(calls) == 1 and parallel.rank() == parallel.ranks() - 1
        return loss_of(net, stage, noised) * (float("nan") if is_bad else 1)

    calls, seen = count(), []
    trainee = make_trainee(recipe, "base", out, torch.device("cpu"))
    for batch, encoder in batches(trainee, data, 3 * trainee.train.batch):
        with patch.object(loop, "loss_of", loss):
            train_step(trainee, batch, encoder)
        weight = trainee.net.state_dict()["last.weight"]
        whole = weight.full_tensor() if isinstance(weight, DTensor) else weight.clone()
        seen.append((trainee.watch.skipped == 0, whole))
    return seen


def exchanges(recipe: Recipe, data: Path, out: Path) -> int:
    """How often gradients go between the ranks while those of one batch are computed."""
    trainee = make_trainee(recipe, "base", out, torch.device("cpu"))
    ((batch, encoder),) = batches(trainee, data, trainee.train.batch)
    share, text = trainee.next_batch(), encoder(batch.captions)
    noised = prepare(trainee.config, trainee.train, batch.image, text, 1, share)
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        add_gradients(trainee, noised, len(share.batch))
    sums = ("c10d::allreduce_", "c10d::_reduce_scatter_base_")
    return sum(event.count for event in seen.key_averages() if event.key in sums)


def adapted(recipe: Recipe, data: Path, out: Path) -> dict[str, Tensor]:
    """What is exported, on the first rank, of a base that took a step."""
    trainee = make_trainee(recipe, "base", out, torch.device("cpu"))
    for given in batches(trainee, data, trainee.train.batch):
        train_step(trainee, *given)
    net = trainee.drawing_net()
    return net.state_dict() if net is not None else {}


def factored() -> tuple[float, float, list[tuple[int, ...]]]:
    """Adafactor on a whole layer and on one that is cut: how far it went, and how far apart."""
    torch.manual_seed(0)
    whole = nn.Linear(130, 129)
    cut, start = copy.deepcopy(whole), whole.weight.detach().clone()
    fully_shard(cut)
    for net in (whole, cut):
        optimizer = Adafactor(net.parameters(), 0.1, 0.1)
        for _ in range(3):
            inputs = torch.randn(8, 130, generator=torch.Generator().manual_seed(1))
            net(inputs).square().mean().backward()  # the same on both ranks
            optimizer.step()
            optimizer.zero_grad()
    weight = cut.weight
    assert isinstance(weight, DTensor)
    slots = [tuple(slot.shape) for slots in optimizer.state.values() for slot in slots.values()]
    moved, apart = (whole.weight - other for other in (start, weight.full_tensor()))
    return moved.abs().max().item(), apart.abs().max().item(), slots


def refused() -> str:
    """What every rank hears of an error of the first."""

    def refuse() -> None:
        raise ValueError(f"rank {parallel.rank()} says no")

    try:
        parallel.on_first(refuse)
    except ValueError as error:
        return str(error)
    return "nothing"


# --- runs -----------------------------------------------------------------------------------------


def run(recipe: Recipe, data: Path, out: Path, resume: bool = False, signal_at: int = -1) -> str:
    """A whole run; the last rank gets SIGTERM in its step number `signal_at`."""
    numbers, true_step = count(), loop.train_step

    def step(*given: Any) -> tuple[float, float]:  # noqa: ANN401  (as train_step has them)
        if next(numbers) == signal_at and parallel.rank() == parallel.ranks() - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return true_step(*given)

    def part() -> None:
        """A network that went after its ranks could wait for them for ever."""
        assert not [one for one in gc.get_objects() if type(one) is DistributedDataParallel]
        true_part()

    true_part = dist.destroy_process_group
    with patch.object(loop, "train_step", step), patch.object(dist, "destroy_process_group", part):
        try:
            return str(train(recipe, data, out, resume=resume, device="cpu"))
        except Interrupted as stopped:
            return str(stopped)


class Kill(NamedTuple):
    """SIGKILL, `delay` seconds after event number `event` of those since a run saw `images` images.

    Images are counted over all stages. Events are what a run does to files of its folder, on
    whatever thread, and its steps. If there are no more of them, it comes when all is done.
    """

    images: int
    event: int
    delay: float = 0.0


def killed_run(
    recipe: Recipe,
    data: Path,
    out: Path,
    workers: int,
    kill: Kill | None,
    where: Path,
    held: Connection,
) -> None:
    """Begin a run or go on with it, and die, leaving in a file `where` that was.

    It and its workers hold the connection.
    """
    events, seen, me = count(1), 0, os.getpid()
    lengths = [recipe.train[stage.name].images for stage in recipe.model.stages]
    before = {stage.name: sum(lengths[:number]) for number, stage in enumerate(recipe.model.stages)}

    def happens() -> None:
        if kill is not None and seen >= kill.images and next(events) == kill.event:
            Timer(kill.delay, die).start() if kill.delay else die()

    def die() -> None:
        where.write_text(" ".join(places()))
        os.kill(me, signal.SIGKILL)

    def hook(name: str, details: tuple[Any, ...]) -> None:
        is_file = name.startswith(("open", "os.", "shutil.")) and str(out) in str(details[:2])
        if is_file and "tfevents" not in str(details):
            happens()

    def reach(trainee: Trainee) -> None:
        nonlocal seen
        seen = before[trainee.config.name] + trainee.images
        happens()

    def made(*given: Any) -> Trainee:  # noqa: ANN401  (as make_trainee has them)
        trainee = make_trainee(*given)
        reach(trainee)
        return trainee

    def step(trainee: Trainee, *given: Any) -> tuple[float, float]:  # noqa: ANN401
        reach(trainee)
        return train_step(trainee, *given)

    sys.addaudithook(hook)
    with (
        patch.object(loop, "train_step", step),
        patch.object(run_module, "make_trainee", made),
        patch.object(loop, "LOG_LINES", 4),  # every other step, and a checkpoint every third
    ):
        is_begun = (out / "config.json").exists()
        train(recipe, data, out, resume=is_begun, device="cpu", workers=workers)
    if kill is not None:
        die()


def cramped_run(recipe: Recipe, data: Path, out: Path, files: Sequence[str]) -> list[str]:
    """A run whose disk fills up as it opens this file, then that one ..., and that is resumed.

    Returns what it said each time. A limit on the size of files stands for the disk, which no
    longer takes a byte; "step" is the log's, which is open all the time.
    """
    full, most = iter([*files, ""]), resource.getrlimit(resource.RLIMIT_FSIZE)
    fatal, said, true_step = next(full), [], loop.train_step

    def hook(name: str, details: tuple[Any, ...]) -> None:
        if name == "open" and str(details[1])[0] in "wa" and fatal and fatal in str(details[0]):
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, most[1]))

    def step(*given: Any) -> tuple[float, float]:  # noqa: ANN401  (as train_step has them)
        if fatal == "step":
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, most[1]))
        return true_step(*given)

    sys.addaudithook(hook)
    with patch.object(loop, "train_step", step), patch("sys.stderr", io.StringIO()):
        while True:
            try:
                train(recipe, data, out, resume=(out / "config.json").exists(), device="cpu")
                return said
            except OSError as error:
                said.append(str(error))
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, most)
                fatal = next(full, "")


def killed_reader(data: Path, method: str, held: Connection) -> None:
    """Have two workers, begun by a `method` of multiprocessing, hold the connection; and die."""
    multiprocessing.set_start_method(method, force=True)
    source = open_source(data)
    dataset = (PictureStream if isinstance(source, Shards) else PictureSet)(source, 16)  # type: ignore[arg-type]
    dataset.held = held  # type: ignore[union-attr]  # goes where the data set goes
    batches = loader(dataset, 0, 100, 2, workers=2)
    next(batches)
    os.kill(os.getpid(), signal.SIGKILL)


def places() -> set[str]:
    """The functions that some thread is in, as file.function."""
    tops = sys._current_frames().values()
    codes = [frame.f_code for top in tops for frame, _ in traceback.walk_stack(top)]
    return {f"{Path(code.co_filename).stem}.{code.co_name}" for code in codes}
