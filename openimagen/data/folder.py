"""A folder of captioned pictures, in the two conventions people have.

name.txt beside name.png; or metadata.jsonl / metadata.csv with file_name and text, as in Hugging
Face's imagefolder. Folders nest, and both may be used at once: a picture keeps all its captions.
"""

import csv
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from openimagen.data.sample import Fault, Item, Sample, clean_captions

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
METADATA_NAMES = {"metadata.jsonl", "metadata.csv"}


@dataclass(frozen=True)
class Picture:
    """An image file and its captions, at least one where they are asked for."""

    path: Path
    captions: tuple[str, ...]


@dataclass(frozen=True)
class Pictures:
    """The usable pairs, sorted by path, and what was wrong with the rest: name -> reason."""

    pairs: tuple[Picture, ...]
    faults: dict[str, str]
    format: ClassVar[str] = "folder"

    def samples(self) -> Iterator[Item]:
        """Each pair, read; and each fault."""
        yield from (Fault(name, reason) for name, reason in self.faults.items())
        for pair in self.pairs:
            try:
                yield Sample(str(pair.path), pair.path.read_bytes(), pair.captions)
            except OSError as error:
                yield Fault(str(pair.path), error.strerror or str(error), passing=True)


def read_folder(path: Path) -> Pictures:
    """The captioned pictures of a folder. ValueError, naming what is wrong, if there are none."""
    if not path.is_dir():
        raise ValueError(f"{path} is no folder; give one with pictures and their captions")
    pictures = list_folder(path)
    if not pictures.pairs:
        example = "".join(f" ({name}: {why})" for name, why in list(pictures.faults.items())[:1])
        raise ValueError(
            f"{path} has no captioned picture{example}: put name.txt beside name.png, "
            "or write metadata.jsonl or metadata.csv with file_name and text"
        )
    return pictures


def list_folder(path: Path) -> Pictures:
    """Find the captioned pictures of a folder, if there are any; none is opened yet.

    `faults` names what cannot be used: a picture without caption, a caption without picture, a
    path that leaves the folder, text that is not UTF-8. Hidden files are passed over.
    """
    root = Path(os.path.abspath(path))  # lexically: links inside the folder are its owner's
    files = visible_files(root)
    captions: dict[Path, list[str]] = {}
    faults: dict[str, str] = {}
    for row in _rows(files, root):
        where = row.source
        try:
            if isinstance(row.text, OSError | ValueError):
                raise row.text
            picture = _picture(row, root)
            where = _name(picture, root)
            captions.setdefault(picture, []).extend(clean_captions(row.text))
        except (ValueError, OSError) as error:
            faults[where] = getattr(error, "strerror", None) or str(error)
    for file in files:
        if file.suffix.lower() in IMAGE_SUFFIXES and not captions.get(file):
            faults.setdefault(_name(file, root), f"no caption: put {file.stem}.txt beside it")
    pairs = tuple(Picture(file, tuple(texts)) for file, texts in sorted(captions.items()) if texts)
    return Pictures(pairs, faults)


def list_pictures(path: Path) -> Pictures:
    """The picture files of a folder, none opened yet; captions are neither needed nor read."""
    root = Path(os.path.abspath(path))
    files = [file for file in visible_files(root) if file.suffix.lower() in IMAGE_SUFFIXES]
    return Pictures(tuple(Picture(file, ()) for file in files if file.is_file()), {})


def visible_files(root: Path, pattern: str = "*") -> list[Path]:
    """Files in a folder and those inside it, sorted, but for hidden ones."""
    return sorted(file for file in root.rglob(pattern) if _is_visible(file, root))


def _is_visible(file: Path, root: Path) -> bool:
    return not any(part.startswith(".") for part in file.relative_to(root).parts)


def _name(file: Path, root: Path) -> str:
    return file.relative_to(root).as_posix()


# --- rows: who says what about which picture ------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """Captions for a picture, unchecked; `file_name` is relative to `folder`.

    `text` is an error where it could not be read.
    """

    source: str
    folder: Path
    file_name: Any
    text: Any


def _rows(files: list[Path], root: Path) -> Iterator[Row]:
    beside: dict[Path, list[str]] = {}  # name without suffix -> pictures
    for file in files:
        if file.suffix.lower() in IMAGE_SUFFIXES:
            beside.setdefault(file.with_suffix(""), []).append(file.name)
    for file in files:
        if file.name in METADATA_NAMES:
            for line, content in _lines(file):
                entry = content if isinstance(content, dict) else {"text": content}
                source = f"{_name(file, root)}:{line}"
                yield Row(source, file.parent, entry.get("file_name"), entry.get("text"))
        elif file.suffix == ".txt":
            for picture in beside.get(file.with_suffix(""), [f"{file.stem}.png"]):
                yield Row(_name(file, root), file.parent, picture, _read(file))


def _read(file: Path) -> str | OSError:
    """The text; bytes that are not UTF-8 are kept as surrogates, to be found in the caption."""
    try:
        return file.read_text("utf-8-sig", errors="surrogateescape")
    except OSError as error:
        return error


def _lines(metadata: Path) -> Iterator[tuple[int, object]]:
    """Line number and content of each entry, or the error of one that cannot be read."""
    text = _read(metadata)
    if isinstance(text, OSError):
        yield 1, text
        return
    lines = text.split("\n")
    if metadata.suffix == ".jsonl":
        broken = ValueError('is no JSON object: write {"file_name": ..., "text": ...}')
        for number, line in enumerate(lines, 1):
            if line.strip():
                content = json_of(line)
                yield number, content if isinstance(content, dict) else broken
        return
    reader = csv.DictReader(f"{line}\n" for line in lines)
    while True:  # past an error in one entry
        try:
            entry = next(reader, None)
        except csv.Error:
            entry = {}
        if entry is None:
            return
        yield reader.reader.line_num, entry


def json_of(line: str) -> object:
    """What a line of JSON says; None if it is none."""
    try:
        return json.loads(line)
    except ValueError:
        return None


# --- checks ---------------------------------------------------------------------------------------


def _picture(row: Row, root: Path) -> Path:
    if not isinstance(row.file_name, str) or row.text is None:
        raise ValueError("needs file_name and text")
    file = Path(os.path.normpath(row.folder / row.file_name))
    if not file.is_relative_to(root):
        raise ValueError(f"file_name leaves the folder: {row.file_name}")
    if not file.is_file():
        raise ValueError(f"file_name does not exist: {row.file_name}")
    return file
