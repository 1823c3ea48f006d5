"""Files that are whole or not there."""

import os
import secrets
from pathlib import Path


def write_whole(path: Path, contents: bytes | str) -> None:
    """Write a file beside its place, and rename it; others may write the same at once.

    After a power cut, too, there is the old file or the whole new one.
    """
    blob = contents.encode() if isinstance(contents, str) else contents
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        with partial.open("wb") as file:
            file.write(blob)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
