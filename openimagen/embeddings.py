"""Captions embedded ahead of time, next to the data: training then never loads the text encoder.

DATA/embeddings/ENCODER/ holds, in safetensors, the states of each different caption once, trimmed
to its tokens, in bfloat16. `openimagen.embed` writes it.
"""

import hashlib
import os
import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import BFloat16, Int64
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from openimagen.config import Config, Recipe, TextConfig
from openimagen.data.source import expand
from openimagen.text import TextEmbedding, as_captions, identity_of, stack_rows

FORMAT_VERSION = 1

Keys = np.ndarray[tuple[int], np.dtype[np.int64]]
Answers = np.ndarray[tuple[int], np.dtype[np.bool_]]


# --- where they are, and whose --------------------------------------------------------------------


class Index(Config):
    """The contents of `index.json`: whose embeddings a folder holds."""

    format_version: int
    encoder: str
    max_tokens: int  # where captions were cut
    positions: int | None  # the most tokens that the encoder takes
    width: int
    layers: tuple[int, ...] = ()

    @property
    def identity(self) -> str:
        """As the encoder's."""
        return identity_of(self.encoder, self.layers, self.max_tokens)

    def is_of(self, text: TextConfig) -> bool:
        """Whether `text` stands for the encoder that made them."""
        limit = min(text.max_tokens, self.positions or text.max_tokens)
        return (text.encoder, text.layers, limit) == (self.encoder, self.layers, self.max_tokens)


def parse(identity: str) -> TextConfig:
    """An encoder by its identity, as in "minilm:32" or "minilm@3+6:32", or by its name alone."""
    given: dict[str, Any] = {"encoder": identity}
    if found := re.fullmatch(r"(.+):(\d+)", identity):
        given = {"encoder": found[1], "max_tokens": int(found[2])}
        if not given["max_tokens"]:
            raise ValueError(
                f"{identity}: a limit of 0 tokens leaves no caption; try {found[1]}:64"
            )
    if found := re.fullmatch(r"(.+)@(\d+(?:\+\d+)*)", given["encoder"]):
        given |= {"encoder": found[1], "layers": tuple(map(int, found[2].split("+")))}
    return TextConfig(**given)


def home_of(data: Path) -> Path:
    """Where the embeddings for the data at `data` are: in its folder, or beside its shards."""
    if data.is_dir():
        return data / "embeddings"
    parents = [os.path.dirname(name) or "." for name in expand(str(data))]
    return Path(os.path.commonpath(parents)) / "embeddings"


def indexes(home: Path) -> dict[Path, Index]:
    """Folders of embeddings, and whose they are. ValueError for an index that cannot be read."""
    probes = sorted(home.glob("*/probe.safetensors"))  # no other program's folder has that
    files = [probe.with_name("index.json") for probe in probes]
    return {file.parent: read_index(file.parent) for file in files if file.is_file()}


def read_index(folder: Path) -> Index:
    """Whose embeddings a folder holds."""
    path = folder / "index.json"
    try:
        index = Index.model_validate_json(path.read_bytes())
    except ValidationError:
        raise ValueError(f"{path} is damaged: delete {folder} and embed again") from None
    if index.format_version != FORMAT_VERSION:
        version = f"format version {index.format_version}, this program reads {FORMAT_VERSION}"
        raise ValueError(f"{path} has {version}: delete {folder} and embed again")
    return index


def find(data: Path, text: TextConfig, device: torch.device) -> "Embeddings | None":
    """The embeddings of `text` for the data at `data`; None if it has none at all.

    Raises ValueError if there are only another encoder's, or a file is damaged.
    """
    home = home_of(data)
    found = indexes(home)
    for folder, index in found.items():
        if index.is_of(text):
            return Embeddings(folder, device)
    if not found:
        return None
    theirs = ", ".join(index.identity for index in found.values())
    ours = identity_of(text.encoder, text.layers, text.max_tokens)
    raise ValueError(
        f"{home} is of text encoder {theirs}, the recipe's is {ours}: "
        f"run `{_command(home)}`, or delete {home}"
    )


def _command(home: Path) -> str:
    return f"openimagen data embed {shlex.quote(str(home.parent))} --recipe RECIPE [--set ...]"


# --- keys: what captions are found by -------------------------------------------------------------


def keys_of(captions: Sequence[str]) -> Keys:
    """64 bits of each caption's hash.

    That any two of n captions share theirs, and one gets the states of the other, has a chance of
    n² / 2^65: 3e-8 for a million captions, 0.4% for 400 million.
    """
    keys = np.empty(len(captions), np.int64)
    for number, caption in enumerate(captions):
        digest = hashlib.blake2b(caption.encode(errors="replace"), digest_size=8).digest()
        keys[number] = int.from_bytes(digest, "little", signed=True)
    return keys


def contains(known: Keys, keys: Keys) -> Answers:
    """Which keys are among the known ones, which are sorted."""
    if not len(known):
        return np.zeros(len(keys), np.bool_)
    return known[np.searchsorted(known, keys).clip(max=len(known) - 1)] == keys


# --- reading --------------------------------------------------------------------------------------


class File(NamedTuple):
    """Some captions' embeddings, mapped into memory: read from the disk when they are needed."""

    states: BFloat16[Tensor, "tokens d"]
    keys: Int64[Tensor, "captions"]
    offsets: Int64[Tensor, "_"]  # of each caption's first token, and the end


def files_in(folder: Path) -> list[Path]:
    """The files of states of a folder."""
    return sorted(folder.glob("states-*.safetensors"))


def open_file(path: Path, width: int) -> File:
    """Map a file of states `width` wide. ValueError if it is damaged."""
    try:
        with safe_open(path, "pt") as tensors:
            file = File(*(tensors.get_tensor(name) for name in File._fields))
        tokens, captions = int(file.offsets[-1]), len(file.offsets) - 1
        is_whole = (*file.states.shape, *file.keys.shape) == (tokens, width, captions)
    except (SafetensorError, IndexError):
        is_whole = False
    if not is_whole:
        raise ValueError(f"{path} is damaged: delete it and run `{_command(path.parents[1])}`")
    return file


def all_keys(files: Iterable[File]) -> Keys:
    """The keys of files, in their order."""
    return np.concatenate([np.empty(0, np.int64), *(file.keys.numpy() for file in files)])


class Embeddings:
    """An encoder that has said all that it will say: the embeddings in a folder.

    States stay on the disk; 16 bytes a caption are in main memory. Raises ValueError if a file is
    damaged.
    """

    def __init__(self, folder: Path, device: torch.device | str = "cpu") -> None:
        index = read_index(folder)
        self.folder, self.identity = folder, index.identity
        self.width, self.max_tokens = index.width, index.max_tokens
        self.device, self.dtype = torch.device(device), torch.float32
        self.files = [open_file(path, self.width) for path in files_in(folder)]
        self._starts = np.cumsum([0, *(len(file.keys) for file in self.files)])
        keys = all_keys(self.files)
        self._places = np.argsort(keys, kind="stable")  # counted over all files
        self._keys: Keys = keys[self._places]

    def __len__(self) -> int:
        """Different captions."""
        return len(np.unique(self._keys))

    def __call__(self, captions: Sequence[str]) -> TextEmbedding:
        """Embed captions as the encoder did, in float32 on the device.

        ValueError if there are none, or one that was not embedded.
        """
        captions = as_captions(captions)
        keys = keys_of(captions)
        if not contains(self._keys, keys).all():
            self.check(captions)
        places = self._places[np.searchsorted(self._keys, keys)]
        rows = [self._states(place) for place in places.tolist()]
        return TextEmbedding(*stack_rows(rows)).to(self.device, self.dtype)

    def check(self, captions: Iterable[str]) -> None:
        """Raise ValueError, with the command that helps, if some captions were not embedded."""
        different = [*dict.fromkeys(captions)]
        unknown = np.flatnonzero(~contains(self._keys, keys_of(different)))
        if len(unknown):
            first = different[unknown[0]][:60].encode(errors="replace").decode()
            raise ValueError(
                f'{self.folder} lacks {len(unknown)} of {len(different)} captions, as "{first}": '
                f"run `{_command(self.folder.parent)}`, or delete {self.folder.parent}"
            )

    def _states(self, place: int) -> BFloat16[Tensor, "n d"]:
        number = int(np.searchsorted(self._starts, place, "right")) - 1
        file, row = self.files[number], place - int(self._starts[number])
        start, stop = file.offsets[row : row + 2].tolist()
        return file.states[start:stop]


def prompts_of(recipe: Recipe, stages: Iterable[str]) -> list[str]:
    """What training these stages embeds besides the data's captions: previews and priors."""
    trains = [recipe.train[name] for name in stages]
    priors = [prompt for train in trains if train.prior for prompt in train.prior.prompts]
    return [*(prompt for train in trains for prompt in train.preview_prompts), *priors]
