"""Pictures decoded once, into one memory-mapped array [n c side side] that processes share."""

import hashlib
import json
import os
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from openimagen.data.decode import load, load_rgba, square
from openimagen.progress import Advance

Pixels = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]

Mode = Literal["RGB", "RGBA"]
READERS: dict[Mode, Callable[[Path], Image.Image]] = {"RGB": load, "RGBA": load_rgba}


@lru_cache(maxsize=8)
def opened(cache: Path) -> Pixels:
    """Once in each process: a data set sent to a worker carries the path, not the pixels."""
    pixels: Pixels = np.load(cache, mmap_mode="r")
    return pixels


def decoded(
    paths: Sequence[Path], side: int, folder: Path, mode: Mode, on_progress: Advance | None
) -> tuple[Path, dict[str, str]]:
    """The file with the decoded pictures, made unless it is there, and which ones are broken."""
    cache = cache_of(paths, side, folder, mode)
    faults = cache.with_suffix(".json")
    if not cache.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _clear(folder)
        part = folder / f".{cache.name}.{socket.gethostname()}.{os.getpid()}"
        try:
            faults.write_text(json.dumps(_decode(paths, side, part, mode, on_progress)))
            part.replace(cache)  # last: where the cache is, it is whole
        except OSError as error:
            raise OSError(error.errno, error.strerror, error.filename or str(part)) from None
        finally:
            part.unlink(missing_ok=True)
    return cache, json.loads(faults.read_text())


def cache_of(paths: Sequence[Path], side: int, folder: Path, mode: Mode = "RGB") -> Path:
    """Where these pictures are, decoded, if they have been."""
    kind = "" if mode == "RGB" else f"-{mode.lower()}"
    return folder / f"{_fingerprint(paths)}-{side}{kind}.npy"


def _clear(folder: Path) -> None:
    """Delete what killed processes of this machine have left half decoded."""
    for part in folder.glob(f".*.npy.{socket.gethostname()}.*"):
        pid = part.suffix[1:]
        if pid.isdigit() and not _is_alive(int(pid)):
            part.unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _decode(
    paths: Sequence[Path], side: int, part: Path, mode: Mode, on_progress: Advance | None
) -> dict[str, str]:
    read, shape = READERS[mode], (len(paths), len(mode), side, side)
    pixels = np.lib.format.open_memmap(part, mode="w+", dtype=np.uint8, shape=shape)
    if hasattr(os, "posix_fallocate"):  # a page that finds no room later is death by SIGBUS
        with part.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, part.stat().st_size)

    def fill(row: int) -> str | None:
        try:
            pixels[row] = np.asarray(square(read(paths[row]), side)).transpose(2, 0, 1)
        except ValueError as error:
            return reason_of(paths[row], error)
        return None

    faults: dict[str, str] = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow works without the GIL
        for row, fault in enumerate(pool.map(fill, range(len(paths)))):
            if fault is not None:
                faults[str(paths[row])] = fault
            if on_progress is not None:
                on_progress(row + 1, len(paths))
    pixels.flush()
    return faults


def reason_of(path: Path, error: ValueError) -> str:
    """What is wrong with a picture, without its name."""
    return str(error).removeprefix(f"{path}: ")


def _fingerprint(paths: Sequence[Path]) -> str:
    """Of the files as they are now; captions are not in the cache."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"{path}\n".encode(errors="surrogateescape"))
        if path.exists():
            file = path.stat()
            digest.update(f"{file.st_mtime_ns} {file.st_size}\n".encode())
    return digest.hexdigest()[:16]
