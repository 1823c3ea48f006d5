"""The pictures of a run: opened for a stage, and what could not be used of them reported."""

import json
import os
import shutil
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from openimagen.data.dataset import Examples, PictureSet, PictureStream
from openimagen.data.faults import NAMES, Faults
from openimagen.data.folder import Pictures, read_folder
from openimagen.data.illustration_set import IllustrationSet
from openimagen.data.illustrations import read_illustrations
from openimagen.data.picture_cache import Mode, cache_of
from openimagen.data.redrawn_set import RedrawnSet
from openimagen.data.source import Shards, Source
from openimagen.files import write_whole
from openimagen.progress import progress_bar
from openimagen.train import parallel, redrawn
from openimagen.train.parallel import on_first
from openimagen.train.trainee import Trainee

CACHE_BYTES = 8 * 2**30  # of decoded pictures, per stage, on disk
WORKERS = 2  # processes that decode pictures where they are not decoded beforehand
OTHER = ("path", "format", "found", "shards")  # by which data are known to be others


def open_data(data: Path, source: Source, trainee: Trainee, out: Path) -> Examples:
    """The stage's stream of pictures; with a prior, every other one is of the run's own drawing.

    Of a stage that is shown lessons drawn again, those.
    """
    if trainee.train.redrawn:
        return redrawn_set(out / "redrawn" / trainee.config.name, trainee)
    own = pictures_of(data, source, trainee, view(trainee))
    if trainee.train.prior is None:
        return own
    prior = read_folder(out / "prior" / trainee.config.name)
    return own.alternating(picture_set(prior, trainee, view(trainee)))


def pictures_of(data: Path, source: Source, trainee: Trainee, seen: dict[str, Any]) -> Examples:
    """One's own pictures, or lessons made of them."""
    if trainee.train.illustrations is not None:
        return illustration_set(data, trainee, seen)
    if isinstance(source, Shards):
        held = trainee.train.hold_out
        return PictureStream(source, trainee.config.side, **seen, hold_out=held)
    return picture_set(source, trainee, seen)


def redrawn_set(folder: Path, trainee: Trainee) -> RedrawnSet:
    """Lessons, and what the stage below made of them."""
    side, pictures = trainee.config.side, read_folder(folder / redrawn.PAGES)
    cache = room_for([pair.path for pair in pictures.pairs], side, "RGB")
    held = trainee.train.hold_out
    return RedrawnSet(
        pictures, folder / redrawn.BELOW, side, **view(trainee), hold_out=held, cache=cache
    )


def picture_set(pictures: Pictures, trainee: Trainee, seen: dict[str, Any]) -> PictureSet:
    """Pictures as the stage takes them: decoded once if that fits the cache, else each time."""
    side = trainee.config.side
    cache = room_for([pair.path for pair in pictures.pairs], side, "RGB")
    held = trainee.train.hold_out
    with progress_bar(f"reading pictures at {side}", "pictures") as advance:
        return PictureSet(pictures, side, **seen, hold_out=held, cache=cache, on_progress=advance)


def illustration_set(data: Path, trainee: Trainee, seen: dict[str, Any]) -> IllustrationSet:
    """The icons in a folder as lessons, decoded likewise."""
    side, plan, icons = trainee.config.side, trainee.train.illustrations, read_illustrations(data)
    assert plan is not None
    cache = room_for([icon.path for icon in icons], side, "RGBA")
    with progress_bar(f"reading icons at {side}", "icons") as advance:
        return IllustrationSet(icons, plan, side, **seen, cache=cache, on_progress=advance)


def room_for(paths: Sequence[Path], side: int, mode: Mode) -> Path | None:
    """The cache folder, if pictures decoded at a size fit there, or are there already."""
    size, cache = len(mode) * side**2 * len(paths), cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    fits = size <= min(CACHE_BYTES, shutil.disk_usage(cache).free // 2)
    return cache if fits or cache_of(paths, side, cache, mode).exists() else None


def view(trainee: Trainee) -> dict[str, Any]:
    """What the stage wants to see of pictures."""
    train = trainee.train
    return {"crop": train.crop, "align": trainee.scale, "seed": train.seed}


def whole(trainee: Trainee) -> dict[str, Any]:
    """The same pictures without cutting parts of them."""
    return view(trainee) | {"crop": None}


def default_workers(dataset: Examples, device: torch.device) -> int:
    """Processes that decode and compose pictures.

    Of a stream, the same everywhere, as its order is by workers. None where pictures are decoded
    already and the CPU has the network to compute; a GPU is not to wait for them.
    """
    if not isinstance(dataset, PictureSet) or not dataset.is_decoded:
        return WORKERS
    return 0 if device.type == "cpu" else max(WORKERS, (os.cpu_count() or 1) - WORKERS)


def cache_folder() -> Path:
    """Where decoded pictures are kept between runs: XDG_CACHE_HOME, or ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "openimagen"


def report_faults(data: Path, dataset: Examples, out: Path) -> None:
    """Have the first rank report the data, and what any rank could not use."""
    known = Faults(names=dataset.faults.names)
    for faults in parallel.everyone(dataset.faults.state_dict()):
        known.merge(faults)
    on_first(report_data, data, dataset, known, out)


def report_data(data: Path, dataset: Examples, faults: Faults, out: Path) -> None:
    """Write data_report.json, and one line of it to stderr, when it says something new."""
    root = os.path.abspath(data)
    if isinstance(dataset, PictureSet):
        contents = {
            "format": "folder",
            "pictures": len(dataset),
            "captions": sum(len(pair.captions) for pair in dataset.pairs),
            "held_out": dataset.held_pictures,
            "too_small": dataset.too_small,
            "found": len(dataset) + dataset.held_pictures + dataset.too_small,
        }
        line = "data: {pictures} pictures, {captions} captions".format(**contents)
        line += f", {contents['held_out']} pictures held out" if contents["held_out"] else ""
        line += f", {contents['too_small']} too small left out" if contents["too_small"] else ""
    else:
        contents = {"format": dataset.shards.format, "shards": len(dataset.shards.paths)}
        line = "data: {shards} shards, {format}".format(**contents)
    named = islice(faults.named.items(), NAMES)
    report = {
        "path": root,
        **contents,
        "skipped": len(faults),
        "reasons": faults.counts(),
        "named": {name.removeprefix(root + os.sep): why for name, why in named},
    }
    path = out / "data_report.json"
    known = json.loads(path.read_text("utf-8")) if path.exists() else {}
    if known and not is_news(report, known):
        return
    if other := [key for key in OTHER if known.get(key, report.get(key)) != report.get(key)]:
        line += f"; the run had {', '.join(f'{key} {known[key]}' for key in other)}"
    text = json.dumps(report, indent=1, ensure_ascii=False) + "\n"
    write_whole(path, text.encode(errors="backslashreplace"))  # as JSON has it
    skipped = f"; {len(faults)} skipped, see {path}" if faults else ""
    print(line + skipped, file=sys.stderr)


def is_news(report: dict[str, Any], known: dict[str, Any]) -> bool:
    """Whether the report before is of other data, or names less: a stage may know less yet."""
    about = report.keys() - {"skipped", "reasons", "named"}
    return (
        any(known.get(key) != report[key] for key in about) or known["skipped"] < report["skipped"]
    )
