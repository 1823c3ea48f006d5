"""Embed the captions of a data set once, next to it, for `openimagen.embeddings` to read.

A file is whole or invisible, and named after what is in it: a run that was killed goes on, and
several may write at once.
"""

import hashlib
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from openimagen.config import TextConfig
from openimagen.data.check import Progress
from openimagen.data.sample import Fault, Item, Sample
from openimagen.data.source import Shards, Source, open_source
from openimagen.device import find_device
from openimagen.embeddings import (
    FORMAT_VERSION,
    Embeddings,
    Index,
    all_keys,
    contains,
    files_in,
    home_of,
    indexes,
    keys_of,
    open_file,
)
from openimagen.files import write_whole
from openimagen.text import BATCH, TextEncoder, rows_of

AHEAD = 512  # new captions, of which those of about a length are encoded together
FILE_BYTES = 128 * 2**20  # of states in a file
PROBE = "a cherry tree in blossom"  # what is said of it tells whether an encoder is still the same


@dataclass(frozen=True)
class Embedded:
    """What `embed` did, and what is in the folder now."""

    folder: str
    encoder: str  # its identity
    captions: int  # met in the data and the recipe
    encoded: int  # of those, that were new
    distinct: int  # in the folder
    tokens: int
    full: int  # captions as long as the limit, or cut to it
    bytes: int

    def __str__(self) -> str:
        limit, each = self.encoder.rpartition(":")[2], max(1, self.distinct)
        lines = [
            f"{self.folder}: by {self.encoder}",
            f"captions  {self.captions} met, {self.encoded} encoded now; "
            f"{self.distinct} different ones in all",
            f"tokens    {self.tokens}, {self.tokens / each:.1f} a caption; "
            f"{self.full} captions fill all {limit} or were cut",
            f"size      {self.bytes / 1e6:.1f} MB, {self.bytes / 1e3 / each:.1f} kB a caption",
        ]
        return "\n".join(lines)


def embed(
    data: Path,
    text: TextConfig,
    prompts: Sequence[str] = (),
    device: str | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Embedded:
    """Embed the captions at `data`, in any of the three formats, and `prompts`, next to the data.

    Only what is not there is encoded. `on_progress` is told pictures done and in all, which is a
    guess for shards. Main memory holds one file, and 8 bytes a caption. Raises ValueError if there
    is no usable pair, or if another encoder embedded what is there already.
    """
    source = open_source(data)
    encoder = TextEncoder.load(text, device=find_device(device))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "cut to")  # counted in the report instead
        writer = Writer(begin(home_of(data), text, encoder), encoder)
        try:
            progress, met = Progress(source, on_progress), len(prompts)
            writer.add(prompts)
            for item in captioned(source):
                if not isinstance(item, Fault):
                    writer.add(item.captions)
                    met += len(item.captions)
                progress.advance(item)
            writer.encode()
        finally:  # what is encoded is kept, whatever happens
            writer.write()
    progress.finish()
    return report(writer.folder, met, writer.encoded)


def captioned(source: Source) -> Iterator[Item]:
    """What is in the data; of a folder without the pictures, which are not read."""
    if isinstance(source, Shards):
        return source.samples()
    return (Sample(str(pair.path), b"", pair.captions) for pair in source.pairs)


def report(folder: Path, met: int, encoded: int) -> Embedded:
    """What is in a folder, after a run that met and encoded so many captions."""
    embeddings = Embeddings(folder)
    lengths = [file.offsets.diff() for file in embeddings.files]
    return Embedded(
        folder=str(folder),
        encoder=embeddings.identity,
        captions=met,
        encoded=encoded,
        distinct=len(embeddings),
        tokens=sum(int(each.sum()) for each in lengths),
        full=sum(int((each == embeddings.max_tokens).sum()) for each in lengths),
        bytes=sum(path.stat().st_size for path in files_in(folder)),
    )


# --- the folder -----------------------------------------------------------------------------------


def begin(home: Path, text: TextConfig, encoder: TextEncoder) -> Path:
    """The encoder's folder, made if need be. ValueError if what is in it is another encoder's."""
    found = indexes(home)
    slug = re.sub(r"[^\w.]+", "-", encoder.identity)[-100:].strip("-.")
    folder = next((folder for folder in found if found[folder].is_of(text)), home / slug)
    (states,) = rows_of(encoder, [PROBE])
    if folder in found:
        if not found[folder].is_of(text):
            name = found[folder].encoder
            raise ValueError(f"{folder} is of encoder {name}: call it that, or delete the folder")
        check_probe(folder, states, encoder.identity)
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    index = Index(
        format_version=FORMAT_VERSION,
        encoder=text.encoder,
        max_tokens=encoder.max_tokens,
        positions=encoder.positions,
        width=encoder.width,
        layers=text.layers,
    )
    write_whole(folder / "probe.safetensors", save({"states": states}))
    write_whole(folder / "index.json", index.model_dump_json(indent=1) + "\n")
    return folder


def check_probe(folder: Path, states: Tensor, identity: str) -> None:
    """Raise ValueError if the encoder says something else of the probe than the folder's did."""
    path = folder / "probe.safetensors"
    try:
        with safe_open(path, "pt") as tensors:
            before = tensors.get_tensor("states").float()
    except SafetensorError:
        raise ValueError(f"{path} is damaged: delete {folder} and embed again") from None
    atol = before.abs().max().item() * 2**-8  # devices differ by less
    if before.shape != states.shape or not torch.allclose(states.float(), before, 2**-6, atol):
        raise ValueError(
            f"{identity} is not the encoder any more that made {folder}: delete that folder and "
            "embed again"
        )


class Writer:
    """Encodes what a folder does not hold yet, and writes file after file."""

    def __init__(self, folder: Path, encoder: TextEncoder) -> None:
        self.folder, self.encoder = folder, encoder
        self.known = np.sort(all_keys(open_file(path, encoder.width) for path in files_in(folder)))
        self.waiting: dict[int, str] = {}  # key -> caption, to be encoded
        self.rows: dict[int, Tensor] = {}  # key -> states [n d], to be written
        self.bytes = 0  # of the rows
        self.encoded = 0

    def add(self, captions: Sequence[str]) -> None:
        """Take captions down, and encode when there are enough new ones."""
        keys = keys_of(captions)
        are_known = contains(self.known, keys)
        for key, caption, is_known in zip(keys.tolist(), captions, are_known, strict=True):
            if not is_known and key not in self.rows:
                self.waiting.setdefault(key, caption)
        if len(self.waiting) >= AHEAD:
            self.encode()

    def encode(self) -> None:
        """Encode all that was taken down."""
        ordered = dict(sorted(self.waiting.items(), key=lambda item: len(item[1])))
        batch = 1 if self.encoder.device.type == "cpu" else BATCH  # of captions of about a length
        rows = rows_of(self.encoder, [*ordered.values()], batch)
        self.rows |= zip(ordered, rows, strict=True)
        self.waiting.clear()
        self.encoded += len(rows)
        self.bytes += sum(row.nbytes for row in rows)
        if self.bytes >= FILE_BYTES:
            self.write()

    def write(self) -> None:
        """Write all that is encoded."""
        if not self.rows:
            return
        keys = np.array([*self.rows], np.int64)
        offsets = np.cumsum([0, *map(len, self.rows.values())])
        tensors = {
            "states": torch.cat([*self.rows.values()]),
            "keys": torch.from_numpy(keys),
            "offsets": torch.from_numpy(offsets),
        }
        name = hashlib.blake2b(keys.tobytes(), digest_size=8).hexdigest()
        write_whole(self.folder / f"states-{name}.safetensors", save(tensors))
        new = np.sort(keys)
        self.known = np.insert(self.known, np.searchsorted(self.known, new), new)
        self.rows.clear()
        self.bytes = 0
