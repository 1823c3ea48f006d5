"""Files that are whole or not there, whoever is killed, and whoever else writes the same."""

import os
import secrets
from pathlib import Path


def write_whole(path: Path, contents: bytes | str) -> None:
    """Write a file under a name of its own, then rename it into place."""
    blob = contents.encode() if isinstance(contents, str) else contents
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        partial.write_bytes(blob)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
