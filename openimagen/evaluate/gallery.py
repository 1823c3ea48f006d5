"""Pictures that are there already, to be judged beside drawn ones: other models', real ones."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from openimagen.data.decode import FORMATS, load
from openimagen.data.folder import read_folder
from openimagen.evaluate.captioned import read_captioned
from openimagen.evaluate.prompts import Prompt


@dataclass(frozen=True)
class Gallery:
    """Pictures that are there already, those of each prompt."""

    sets: Sequence[list[Path]]

    def files(self, prompt: int) -> list[Path]:
        """The pictures of a prompt."""
        return self.sets[prompt]

    def missing(self) -> list[int]:
        """None."""
        return []

    def sizes(self) -> set[tuple[int, int]]:
        """Width and height, wherever they differ. ValueError for what is no picture."""
        return {_size(file) for files in self.sets for file in files}


def is_gallery(against: str) -> bool:
    """A folder that is neither a model nor a run."""
    folder = Path(against)
    models = [folder / "model.json", folder / "export/model.json"]
    return folder.is_dir() and not any(file.is_file() for file in models)


def find_gallery(folder: Path, prompts: Sequence[Prompt], samples: int) -> Gallery:
    """As many pictures of each prompt, which is their caption; by their names, none twice.

    ValueError if the folder has no captioned pictures, or too few of a prompt.
    """
    files: dict[str, list[Path]] = {}
    for picture in read_folder(folder).pairs:
        files.setdefault(picture.captions[0], []).append(picture.path)
    sets = []
    for prompt in prompts:
        there = files.get(prompt.text, [])
        if len(there) < samples:
            raise ValueError(
                f'{folder} has {len(there)} pictures with the caption "{prompt.text[:60]}", '
                f"{samples} are needed: give as many, or other --samples"
            )
        sets.append([there.pop(0) for _ in range(samples)])
    return Gallery(sets)


def find_pairs(real: Path, count: int, seed: int) -> list[tuple[Path, str]]:
    """Pictures by lot, each with one of its captions; a broken one is passed over, with a warning.

    ValueError if there are not as many.
    """
    data = read_captioned(real)
    if not data.files:
        raise ValueError(f"{real} holds shards: give COCO, or a folder of captioned pictures")
    texts: dict[int, str] = {}
    for number, text in data.chosen(sum(map(len, data.captions)), seed):
        texts.setdefault(number, text)
    pairs = list[tuple[Path, str]]()
    for number, text in texts.items():
        if len(pairs) == count:
            break
        try:
            load(data.files[number])
            pairs.append((data.files[number], text))
        except ValueError as error:
            warnings.warn(f"left out: {error}", stacklevel=2)
    if len(pairs) < count:
        raise ValueError(
            f"{real} has {len(pairs)} pictures, {count} are asked for: say --pairs {len(pairs)}"
        )
    return pairs


def _size(file: Path) -> tuple[int, int]:
    try:
        with Image.open(file, formats=FORMATS) as picture:
            return picture.size
    except OSError:
        raise ValueError(f"{file} is no picture: replace it") from None
