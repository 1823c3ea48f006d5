"""Packages of icons, as npm pack leaves them."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

from openimagen.data.icons import STYLES

RED = '<path fill="#f00" d="M0 0h{0}v{1}H0z"/>'
LABELS = [
    {"label": "red apple", "hexcode": "1F34E", "tags": ["apple", "fruit", "food"], "group": 4},
    {"label": "man: red hair", "tags": ["adult"], "group": 1},
    {"label": "piñata", "hexcode": "1FA85", "tags": ["party"], "group": 6},
    {"label": "check mark", "hexcode": "2714", "tags": ["tick"], "group": 8},
    {"label": "crossed flags", "group": 9},
]


def tarball_of(style: str) -> str:
    """How npm calls the tarball of a set."""
    return STYLES[style].package.lstrip("@").replace("/", "-").replace("@", "-") + ".tgz"


def pack(path: Path, members: dict[str, object]) -> None:
    """Write a tarball of files: bytes, or what is written as JSON."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def parts(style: str, of: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The files in the package of a set."""
    author = {"name": f"{style} people", "url": "https://example.com"}
    info = {"name": style.title(), "author": author, "license": {"title": "L", "spdx": "MIT"}}
    return {
        "icons": {"prefix": style, "icons": of, "width": 8, "height": 8},
        "metadata": {"categories": {"Symbols": ["on-arrow", "red-apple"]}},
        "info": info,
    }


def rows(out: Path) -> dict[str, dict[str, Any]]:
    """What the metadata of all styles say, by the picture's path in the corpus."""
    return {
        f"{file.parent.name}/{row['file_name']}": row
        for file in out.glob("*/metadata.jsonl")
        for row in map(json.loads, file.read_text().splitlines())
    }
