"""Prompt files: what models are asked to draw, as published sets have it.

A text file with a prompt a line; a table (.csv, .tsv) with a column `prompt`, and perhaps
`category`, as DrawBench and PartiPrompts have; lines of JSON with `prompt` and perhaps `tag`,
`include` and `exclude`, as GenEval has; or captioned pictures, whose first captions count.
"""

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openimagen.data.sample import Sample
from openimagen.data.source import open_source

TEXT_KEYS, CATEGORY_KEYS = ("prompt", "text", "caption"), ("category", "tag")


@dataclass(frozen=True)
class Prompt:
    """A text to draw."""

    text: str
    category: str = ""
    content: Mapping[str, Any] | None = None  # of GenEval's files: what must be in the picture


def read_prompts(path: Path) -> list[Prompt]:
    """The prompts of a file, or of captioned pictures; in their order, repeated ones too.

    Raises ValueError, naming the line, for what is no prompt file.
    """
    if not path.exists():
        raise ValueError(f"{path} does not exist: give a .txt, .csv, .tsv or .jsonl of prompts")
    prompts = list(_READERS.get(path.suffix.lower(), _captions)(path))
    if not prompts:
        raise ValueError(f"{path} has no prompt: write one a line")
    return prompts


def _lines(path: Path) -> Iterator[Prompt]:
    return (Prompt(text) for line in _text(path).splitlines() if (text := _clean(line)))


def _table(path: Path) -> Iterator[Prompt]:
    dialect = csv.excel_tab if path.suffix.lower() == ".tsv" else csv.excel
    rows = csv.DictReader(_text(path).splitlines(keepends=True), dialect=dialect)
    for row in rows:
        named = {str(key).strip().lower(): value for key, value in row.items()}
        yield _prompt(named, f"{path}:{rows.line_num}", None)


def _json(path: Path) -> Iterator[Prompt]:
    for number, line in enumerate(_text(path).splitlines(), 1):
        if line.strip():
            try:
                row = json.loads(line)
            except ValueError:
                raise ValueError(f"{path}:{number} is no JSON: write one object a line") from None
            if not isinstance(row, dict):
                raise ValueError(f"{path}:{number} is no object: give it a prompt")
            yield _prompt(row, f"{path}:{number}", row if "include" in row else None)


def _captions(path: Path) -> Iterator[Prompt]:
    samples = (item for item in open_source(path).samples() if isinstance(item, Sample))
    return (Prompt(sample.captions[0]) for sample in samples)


_READERS: dict[str, Callable[[Path], Iterator[Prompt]]] = {
    ".txt": _lines, ".csv": _table, ".tsv": _table, ".jsonl": _json,
}  # fmt: skip


def _prompt(row: Mapping[str, Any], where: str, content: Mapping[str, Any] | None) -> Prompt:
    given = next((row[key] for key in TEXT_KEYS if row.get(key) is not None), None)
    if not isinstance(given, str) or not (text := _clean(given)):
        raise ValueError(f"{where} has no prompt: name its column or key `prompt`")
    categories = (row[key] for key in CATEGORY_KEYS if isinstance(row.get(key), str))
    return Prompt(text, _clean(next(categories, "")), content)


def _clean(text: str) -> str:
    return " ".join(text.split())


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8: save it as UTF-8") from None
