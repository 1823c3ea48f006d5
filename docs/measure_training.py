"""What data and the trainer cost beside the step itself, on this machine.

python docs/measure_training.py FOLDER [--stage base] [--rounds 9]

Steps with data in memory, from the folder and from tar shards made of it, and a bare loop of
forward, backward, clipping, AdamW and average on the same pictures take turns. Printed are medians
over the rounds and their ratios; batches of the own_folder recipe, one thread.
"""

import argparse
import io
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from unittest.mock import patch

import torch
from torch.nn.functional import avg_pool2d

from openimagen import recipes
from openimagen.data.dataset import Batch, Examples, PictureStream, loader
from openimagen.data.images import load, square, to_float
from openimagen.data.source import Shards, open_source
from openimagen.diffusion import add_noise, diffusion_loss, log_snr_at
from openimagen.text import CachedEncoder, TextEncoder
from openimagen.train import loop
from openimagen.train.parallel import clip
from openimagen.train.run import make_trainee, resolved
from openimagen.train.run_data import picture_set
from openimagen.train.trainee import Trainee

STEPS = 12  # of a round


Clock = tuple[float, float]  # seconds of wall time, and of this process's CPU time


def now() -> Clock:
    """What the clocks show."""
    return time.perf_counter(), time.process_time()


def bare(trainee: Trainee, batches: list[Batch], encoder: CachedEncoder) -> Clock:
    """The arithmetic of training and nothing else; returns what a step took."""
    stage, train, start = trainee.config, trainee.train, now()
    for batch in batches:
        x, text = to_float(batch.image), encoder(batch.captions)
        log_snr = log_snr_at(stage.diffusion.schedule, torch.rand(len(x)))
        eps, lowres = torch.randn_like(x), None
        if stage.unet.lowres:
            lowres = avg_pool2d(x, trainee.scale)
        z = add_noise(x, eps, log_snr).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=train.precision == "bfloat16"):
            output = trainee.net(z, log_snr, text, lowres, log_snr if stage.unet.lowres else None)
            loss = diffusion_loss(stage.diffusion, output, x, eps, log_snr).mean()
        loss.backward()
        clip(trainee.net, train.clip)
        trainee.optimizer.step()
        trainee.optimizer.zero_grad(set_to_none=True)
        trainee.ema.update(trainee.net, train.images, len(x))
    return since(start)


def since(start: Clock) -> Clock:
    """Seconds a step, of STEPS since then."""
    wall, cpu = ((end - begin) / STEPS for end, begin in zip(now(), start, strict=True))
    return wall, cpu


def trained(
    trainee: Trainee, source: Iterator[Batch], dataset: Examples, encoder: CachedEncoder
) -> Clock:
    """STEPS steps of the trainer, on batches from somewhere; returns what one took.

    From the first batch's being asked for to the last step's end, log line and all.
    """
    took: list[Clock] = []

    def timed() -> Iterator[Batch]:
        start = now()
        yield from islice(source, STEPS)
        took.append(since(start))

    with tempfile.TemporaryDirectory() as out, patch.object(loop, "loader", lambda *_: timed()):
        loop.train_stage(trainee, dataset, encoder, Path(out))
    return took[0]


def loading(source: Iterator[Batch]) -> Clock:
    """Getting STEPS batches and doing nothing with them; returns what one took."""
    start = now()
    for _ in islice(source, STEPS):
        pass
    return since(start)


def write_shards(folder: Path, root: Path, side: int) -> None:
    """The folder's pictures as JPEG in tar shards of 500, larger by half than they are needed."""
    samples = [item for item in open_source(folder).samples() if hasattr(item, "image")]
    for number in range(0, len(samples), 500):
        with tarfile.open(root / f"{number // 500:05}.tar", "w") as tar:
            for place, sample in enumerate(samples[number : number + 500]):
                picture = io.BytesIO()
                square(load(sample.image), side * 3 // 2).save(picture, "JPEG", quality=95)
                for suffix, content in (
                    ("jpg", picture.getvalue()),
                    ("txt", sample.captions[0].encode()),
                ):
                    info = tarfile.TarInfo(f"{number + place:09}.{suffix}")
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--stage", default="base")
    parser.add_argument("--rounds", type=int, default=9)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    plan = recipes.override(recipes.load("own_folder"), [f"train.{asked.stage}.images=100000000"])
    recipe = resolved(plan, torch.device("cpu"))
    encoder = CachedEncoder(TextEncoder.load(recipe.model.text))
    trainee = make_trainee(recipe, asked.stage, Path("nowhere"), torch.device("cpu"))
    train, side = trainee.train, trainee.config.side
    pictures = picture_set(open_source(asked.folder), trainee)
    with tempfile.TemporaryDirectory() as root:
        write_shards(asked.folder, Path(root), side)
        shards = open_source(Path(root))
        assert isinstance(shards, Shards)
        stream = PictureStream(shards, side, crop=train.crop, align=trainee.scale)
        folder, tar, tar_ahead = (
            loader(dataset, 0, train.images, train.batch, workers)
            for dataset, workers in ((pictures, 0), (stream, 0), (stream, 1))
        )
        memory = [next(folder) for _ in range(STEPS)]
        rows: dict[str, Callable[[], Clock]] = {
            "bare loop, data in memory": lambda: bare(trainee, memory, encoder),
            "trainer, data in memory": lambda: trained(trainee, iter(memory), pictures, encoder),
            "trainer, folder": lambda: trained(trainee, folder, pictures, encoder),
            "loading alone, folder": lambda: loading(folder),
            "loading alone, shards": lambda: loading(tar),
            "trainer, shards": lambda: trained(trainee, tar, stream, encoder),
            "trainer, shards, a worker": lambda: trained(trainee, tar_ahead, stream, encoder),
        }
        took: dict[str, list[Clock]] = {name: [] for name in rows}
        for number in range(asked.rounds + 1):
            for name, row in rows.items():
                each = row()
                if number:  # the first warms up
                    took[name].append(each)
    print(f"{asked.stage}, batch {train.batch}, {train.precision}, {asked.rounds} rounds")
    print(f"{'':28} {'wall ms':>8} {'CPU ms':>8}   over data in memory: wall, CPU")
    for name, times in took.items():
        wall, cpu = (statistics.median(column) for column in zip(*times, strict=True))
        base = list(zip(*took["trainer, data in memory"], strict=True))
        ratios = [
            statistics.median(a / b for a, b in zip(column, base[clock], strict=True))
            for clock, column in enumerate(zip(*times, strict=True))
        ]
        print(f"{name:28} {1000 * wall:8.1f} {1000 * cpu:8.1f}   {ratios[0]:.3f}, {ratios[1]:.3f}")


if __name__ == "__main__":
    main()
