"""Small streams."""

from pathlib import Path

from openimagen.data.dataset import PictureStream
from openimagen.data.source import Shards, open_source

SIDE = 16


def stream_of(root: Path, **settings: int) -> PictureStream:
    """Crops of 8 pixels, five samples at a time."""
    source = open_source(root)
    assert isinstance(source, Shards)
    return PictureStream(source, SIDE, **({"crop": 8, "buffer": 5} | settings))
