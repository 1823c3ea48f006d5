"""Real pictures with their captions, to draw from and to compare with: COCO, or one's own."""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from openimagen.data.folder import Picture, Pictures
from openimagen.data.sample import Item, Sample
from openimagen.data.source import Source, open_source

COCO = ("annotations/captions_val2014.json", "val2014")


@dataclass(frozen=True)
class Captioned:
    """Pictures in a fixed order: their names and captions here, their pixels where they lie."""

    path: Path
    source: Source
    names: tuple[str, ...]
    captions: tuple[tuple[str, ...], ...]

    def __len__(self) -> int:
        return len(self.names)

    @property
    def files(self) -> tuple[Path, ...]:
        """Where the pictures lie, unless that is in shards."""
        if isinstance(self.source, Pictures):
            return tuple(pair.path for pair in self.source.pairs)
        return ()

    def chosen(self, count: int, seed: int) -> list[tuple[int, str]]:
        """Captions by lot, with the numbers of their pictures; fewer are the first of more.

        ValueError if there are not as many.
        """
        pairs = [(number, text) for number, texts in enumerate(self.captions) for text in texts]
        if len(pairs) < count:
            raise ValueError(
                f"{self.path} has {len(pairs)} captions, {count} are asked for: "
                f"say --prompts {len(pairs)}"
            )
        places = sorted(range(len(pairs)), key=lambda place: _lot(seed, place))
        return [pairs[place] for place in places[:count]]

    def blocks(self, wanted: Sequence[range]) -> Iterator[tuple[range, list[Item]]]:
        """The pictures of some blocks of numbers, in their order, still encoded."""
        if isinstance(self.source, Pictures):
            pairs = self.source.pairs
            for block in wanted:
                yield block, list(Pictures(pairs[block.start : block.stop], {}).samples())
            return
        items = (item for item in self.source.samples() if isinstance(item, Sample))
        place = 0
        for block in wanted:  # read past what lies between
            yield block, list(islice(items, block.start - place, block.stop - place))
            place = block.stop

    def fingerprint(self) -> str:
        """Of names and captions."""
        return hashlib.sha256(json.dumps([self.names, self.captions]).encode()).hexdigest()


def read_captioned(path: Path) -> Captioned:
    """COCO's validation set of 2014 if it is at `path`, otherwise captioned data.

    ValueError, naming the formats, if it is neither.
    """
    return read_coco(path) if (path / COCO[0]).is_file() else _read_data(path)


def read_coco(path: Path) -> Captioned:
    """COCO as it is published: `annotations/captions_val2014.json` beside `val2014/`.

    All pictures that the file lists, by name; the captions of each by their numbers. ValueError if
    something of it is not there.
    """
    listed, folder = path / COCO[0], path / COCO[1]
    if not listed.is_file():
        raise ValueError(f"{path} lacks {COCO[0]}: unpack COCO's val2014 and its annotations there")
    try:
        contents: dict[str, Any] = json.loads(listed.read_bytes())
        texts: dict[int, list[str]] = {image["id"]: [] for image in contents["images"]}
        for row in sorted(contents["annotations"], key=lambda row: row["id"]):
            texts[row["image_id"]] += [text] if (text := " ".join(row["caption"].split())) else []
        files = sorted((image["file_name"], image["id"]) for image in contents["images"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{listed} is not COCO's: {type(error).__name__} {error}; download it again"
        ) from None
    pairs = tuple(Picture(folder / name, tuple(texts[number])) for name, number in files)
    if missing := [pair.path for pair in pairs if not pair.path.is_file()]:
        raise ValueError(f"{missing[0]} and {len(missing) - 1} more are not there: unpack val2014")
    return _of_folder(path, Pictures(pairs, {}))


def _read_data(path: Path) -> Captioned:
    source = open_source(path)
    if isinstance(source, Pictures):
        return _of_folder(path, source)
    samples = (item for item in source.samples() if isinstance(item, Sample))
    found = [(item.name, item.captions) for item in samples]  # without the pictures
    names, captions = zip(*found, strict=True)
    return Captioned(path, source, names, captions)


def _of_folder(path: Path, source: Pictures) -> Captioned:
    names = tuple(Path(os.path.relpath(pair.path, path)).as_posix() for pair in source.pairs)
    return Captioned(path, source, names, tuple(pair.captions for pair in source.pairs))


def _lot(seed: int, place: int) -> bytes:
    return hashlib.sha256(f"{seed}/{place}".encode()).digest()
