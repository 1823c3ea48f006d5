"""The one door to captioned pictures: a folder of files, tar shards, or parquet."""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Literal

from openimagen.data.decode import fault_of
from openimagen.data.folder import Pictures, list_folder, list_pictures, visible_files
from openimagen.data.parquet import read_parquet
from openimagen.data.sample import Fault, Item
from openimagen.data.tar import read_tar

FORMATS = (
    "a folder with name.txt beside name.png, or with metadata.jsonl or metadata.csv of "
    "file_name and text; tar shards of key.jpg and key.txt, as a folder or like "
    "'{00000..00099}.tar'; or parquet with a column of image bytes and one of text"
)
READERS = {"tar": read_tar, "parquet": read_parquet}


@dataclass(frozen=True)
class Shards:
    """Files of many samples each, to be read from front to back; `faults` names missing ones."""

    format: Literal["tar", "parquet"]
    paths: tuple[Path, ...]
    names: tuple[str, ...]  # of the shards, in reports
    faults: dict[str, str]

    def read(
        self, shard: int, start: int = 0, part: int = 0, parts: int = 1
    ) -> Iterator[tuple[int, Item]]:
        """What is in a shard, numbered, as `read_tar` says."""
        return READERS[self.format](self.paths[shard], self.names[shard], start, part, parts)

    def samples(self) -> Iterator[Item]:
        """Each fault; and all that is in all shards, one after the other."""
        yield from (Fault(name, reason) for name, reason in self.faults.items())
        for shard in range(len(self.paths)):
            yield from (item for _, item in self.read(shard))


Source = Pictures | Shards


def open_source(path: Path) -> Source:
    """Find out in which of the three formats the data at `path` is, and that it can be used.

    `path` is a folder, a shard, or a brace pattern of shards. Where a folder holds several formats,
    the first of pictures, tar and parquet that has a usable pair counts. Raises ValueError, naming
    the formats, if there is no pair of a picture that can be decoded and a caption.
    """
    first_fault = ""
    for source in _candidates(path):
        for item in source.samples():
            fault = _fault_of(item)
            if fault is None:
                return source
            first_fault = first_fault or f" ({fault.name}: {fault.reason})"
    missing = "has no usable pair of picture and caption"
    raise ValueError(f"{path} {missing}{first_fault}: give {FORMATS}")


def open_pictures(path: Path) -> Source:
    """As `open_source`, but the pictures in a folder need no captions, which are not read.

    Raises ValueError if there is nothing to read; none is decoded yet where it is a folder.
    """
    if not path.is_dir():
        return open_source(path)
    if (pictures := list_pictures(path)).pairs:
        return pictures
    if any(visible_files(path, f"*.{kind}") for kind in READERS):
        return open_source(path)
    raise ValueError(f"{path} has no picture: give a folder of pictures, or of captioned shards")


def _candidates(path: Path) -> Iterator[Source]:
    if path.is_dir():
        yield list_folder(path)
        for kind in READERS:
            if found := visible_files(path, f"*.{kind}"):
                yield _shards(found)
    elif path.is_file() or "{" in str(path):
        yield _shards([Path(name) for name in expand(str(path))])
    else:
        raise ValueError(f"{path} does not exist: give {FORMATS}")


def _fault_of(item: Item) -> Fault | None:
    if isinstance(item, Fault):
        return item
    reason = fault_of(item.image)
    return None if reason is None else Fault(item.name, reason)


def _shards(paths: Sequence[Path]) -> Shards:
    kinds = {path.suffix[1:] for path in paths}
    if kinds not in ({"tar"}, {"parquet"}):
        raise ValueError(f"{paths[0]} is neither a .tar nor a .parquet: give {FORMATS}")
    there = [path for path in paths if path.is_file()]
    if not there:
        raise ValueError(f"{paths[0]} does not exist: give {FORMATS}")
    faults = {str(path): "shard does not exist" for path in paths if not path.is_file()}
    root = os.path.commonpath([path.parent for path in there])
    names = tuple(path.relative_to(root).as_posix() for path in there)
    return Shards("tar" if "tar" in kinds else "parquet", tuple(there), names, faults)


def expand(pattern: str) -> list[str]:
    """The names that a brace pattern stands for: "{08..10}.tar" is 08.tar, 09.tar and 10.tar."""
    parts = re.split(r"\{([^{}]*)\}", pattern)  # text, inside of braces, text, ..., text
    choices = [_choices(part) if number % 2 else [part] for number, part in enumerate(parts)]
    return ["".join(choice) for choice in product(*choices)]


def _choices(inside: str) -> list[str]:
    if span := re.fullmatch(r"(\d+)\.\.(\d+)", inside):
        first, last = span.groups()
        return [f"{number:0{len(first)}}" for number in range(int(first), int(last) + 1)]
    return inside.split(",")
