"""Prompt files: what models are asked to draw, as published sets have it.

A text file with a prompt a line; a table with a column `prompt`, and perhaps `category`, as
DrawBench (.csv) and PartiPrompts (.tsv, in which a quote is a quote) have; lines of JSON with
`prompt` and perhaps `tag`, `include` and `exclude`, as GenEval has; or captioned pictures, whose
first captions count.
"""

import csv
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from openimagen.data.folder import Pictures
from openimagen.data.sample import Sample, clean_captions
from openimagen.data.source import open_source

KINDS = "a .txt, .csv, .tsv or .jsonl of prompts, or captioned pictures"
TEXT_KEYS, CATEGORY_KEYS = ("prompt", "prompts", "text", "caption"), ("category", "tag")
CONTENT_KEYS = ("include", "exclude")


@dataclass(frozen=True)
class Prompt:
    """A text to draw."""

    text: str
    category: str = ""
    content: Mapping[str, Any] | None = None  # GenEval's include, and exclude: what is to be seen


def read_prompts(path: Path) -> list[Prompt]:
    """The prompts of a file, or of captioned pictures; in their order, repeated ones too.

    Raises ValueError, naming the line, for what is no prompt file.
    """
    if not path.exists():
        raise ValueError(f"{path} does not exist: give {KINDS}")
    reader = _captions if path.is_dir() else _READERS.get(path.suffix.lower())
    if reader is None:
        raise ValueError(f"{path} is no prompt file: give {KINDS}")
    prompts = list(reader(path))
    if not prompts:
        raise ValueError(f"{path} has no prompt: write one a line")
    return prompts


def selected(
    prompts: Sequence[Prompt], categories: Sequence[str] | None = None, limit: int | None = None
) -> list[Prompt]:
    """Those of some categories, and of each category no more than the first `limit`.

    Raises ValueError for a category that is not there.
    """
    there = {prompt.category.casefold() for prompt in prompts}
    wanted = there if categories is None else {each.strip().casefold() for each in categories}
    if strangers := wanted - there:
        names = ", ".join(dict.fromkeys(prompt.category for prompt in prompts))
        raise ValueError(f"no prompt is of {min(strangers)!r}: categories are {names or 'none'}")
    counts, taken = Counter[str](), list[Prompt]()
    for prompt in prompts:
        category = prompt.category.casefold()
        if category in wanted and (limit is None or counts[category] < limit):
            counts[category] += 1
            taken.append(prompt)
    return taken


def by_lot(prompts: Sequence[Prompt], count: int, seed: int) -> list[Prompt]:
    """So many of them, or all if there are no more, a function of the seed."""
    return random.Random(seed).sample(prompts, min(count, len(prompts)))


def _lines(path: Path) -> Iterator[Prompt]:
    return (Prompt(text) for line in _text(path).split("\n") if (text := _clean(line)))


def _table(path: Path) -> Iterator[Prompt]:
    form: dict[str, Any] = {"strict": True}
    if path.suffix.lower() == ".tsv":
        form = {"delimiter": "\t", "quoting": csv.QUOTE_NONE}
    rows = csv.reader(StringIO(_text(path)), **form)
    try:
        names = [name.strip().lower() for name in next(rows, [])]
        for row in rows:
            if any(field.strip() for field in row):
                named = dict(zip(names, row, strict=False))
                yield of_row(named, f"{path}:{rows.line_num}")
    except csv.Error as error:
        raise ValueError(f"{path}:{rows.line_num} is no row of a table: {error}") from None


def _json(path: Path) -> Iterator[Prompt]:
    for number, line in enumerate(_text(path).split("\n"), 1):
        if line.strip():
            try:
                row = json.loads(line)
            except ValueError:
                raise ValueError(f"{path}:{number} is no JSON: write one object a line") from None
            if not isinstance(row, dict):
                raise ValueError(f"{path}:{number} is no object: give it a prompt")
            yield of_row(row, f"{path}:{number}")


def _captions(path: Path) -> Iterator[Prompt]:
    source = open_source(path)
    if isinstance(source, Pictures):  # whose pictures need not be read
        return (Prompt(pair.captions[0]) for pair in source.pairs)
    return (Prompt(item.captions[0]) for item in source.samples() if isinstance(item, Sample))


_READERS: dict[str, Callable[[Path], Iterator[Prompt]]] = {
    ".txt": _lines, ".csv": _table, ".tsv": _table, ".jsonl": _json,
    ".tar": _captions, ".parquet": _captions,
}  # fmt: skip


def of_row(row: Mapping[str, Any], where: str) -> Prompt:
    """A prompt from a row of a table or a line of JSON. ValueError, naming where, if it is none."""
    given = next((row[key] for key in TEXT_KEYS if row.get(key) is not None), None)
    if not isinstance(given, str) or not _clean(given):
        raise ValueError(f"{where} has no prompt: name its column or key `prompt`")
    try:
        text = clean_captions(given)[0]
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    categories = (row[key] for key in CATEGORY_KEYS if isinstance(row.get(key), str))
    content = {key: row[key] for key in CONTENT_KEYS if key in row}
    return Prompt(text, _clean(next(categories, "")), content or None)


def _clean(text: str) -> str:
    return " ".join(text.split())


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8: save it as UTF-8") from None
