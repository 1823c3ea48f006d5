"""Tar shards as img2dataset and LAION-400M write them: key.jpg, key.json and key.txt in a row."""

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from openimagen.data.folder import IMAGE_SUFFIXES
from openimagen.data.sample import Fault, Item, Sample, clean_captions

Group = dict[str, tarfile.TarInfo]  # the files of one key, by suffix


def read_tar(
    path: Path, name: str, start: int = 0, part: int = 0, parts: int = 1
) -> Iterator[tuple[int, Item]]:
    """The samples of a shard in order, each with its number, read once from front to back.

    Samples before number `start` are passed over unread; of several `parts`, all but those whose
    number is `part` modulo `parts`. What cannot be used is a Fault; so is the end that is missing.
    """
    number = -1
    try:
        with path.open("rb") as file:
            for number, (key, group) in enumerate(_groups(file)):
                if number >= start and number % parts == part:
                    yield number, _sample(file, f"{name}:{key}", group)
        return
    except OSError as error:
        fault = Fault(name, error.strerror or str(error), passing=True)
    except Exception as error:  # tarfile raises all kinds at a broken header
        fault = Fault(name, f"damaged after {number + 1} samples: {error}")
    number = max(start, number + 1)
    if number % parts == part:
        yield number, fault


def _groups(file: BinaryIO) -> Iterator[tuple[str, Group]]:
    """Files in a row whose names agree up to the first dot. ValueError after the last if cut."""
    size = file.seek(0, 2)
    file.seek(0)
    key, group = "", Group()
    with tarfile.open(fileobj=file, mode="r:") as tar:
        while (info := tar.next()) and tar.offset <= size:  # where the next one would begin
            tar.members.clear()  # type: ignore[attr-defined]  # or they would pile up
            folder, slash, base = info.name.rpartition("/")
            stem, _, suffix = base.partition(".")
            if not (info.isreg() and stem and suffix):
                continue
            if (new := folder + slash + stem) != key:
                if group:
                    yield key, group
                key, group = new, {}
            group.setdefault(suffix.lower(), info)
        file.seek(tar.offset)
        is_whole = info is None and file.read(tarfile.BLOCKSIZE) == bytes(tarfile.BLOCKSIZE)
    if group and (is_whole or (_image(group) and "txt" in group)):
        yield key, group
    if not is_whole:
        raise ValueError("the rest is missing")


def _image(group: Group) -> tarfile.TarInfo | None:
    return next((info for suffix, info in group.items() if f".{suffix}" in IMAGE_SUFFIXES), None)


def _sample(file: BinaryIO, name: str, group: Group) -> Item:
    image = _image(group)
    if image is None:
        return Fault(name, "no picture")
    if "txt" not in group:
        return Fault(name, "no caption: the txt is missing")
    try:
        text = _content(file, group["txt"]).decode("utf-8-sig", errors="surrogateescape")
        return Sample(name, _content(file, image), clean_captions(text))
    except ValueError as error:
        return Fault(name, str(error))


def _content(file: BinaryIO, info: tarfile.TarInfo) -> bytes:
    file.seek(info.offset_data)
    return file.read(info.size)
