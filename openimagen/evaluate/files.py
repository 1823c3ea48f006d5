"""Folders that say what they are for."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from openimagen.files import write_whole


def claim(path: Path, identity: Mapping[str, Any], what: str) -> None:
    """Write down in a new folder what it is for, before anything else; or see that it is for this.

    Raises ValueError if the folder holds other files, or `what`, as in "another drawing"; naming
    what differs.
    """
    folder = path.parent
    folder.mkdir(parents=True, exist_ok=True)
    wanted = json.loads(json.dumps(identity))  # lists, no tuples
    strangers = [file.name for file in folder.iterdir() if file.name[0] != "."]
    if not path.exists():
        if strangers:
            raise ValueError(f"{folder} holds {min(strangers)}: choose an empty folder")
        write_whole(path, json.dumps(wanted, indent=1) + "\n")
    try:
        there = json.loads(path.read_text("utf-8"))
        other = [key for key in wanted if there.get(key) != wanted[key]]
    except (ValueError, AttributeError):
        raise ValueError(f"{path} is damaged: choose another folder") from None
    if other:
        raise ValueError(
            f"{folder} holds {what} (not the same: {', '.join(other)}): "
            "choose another folder, or delete it"
        )
