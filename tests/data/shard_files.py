"""Small data sets to read: pictures of noise, each with its number as caption."""

import io
import json
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import webdataset
from PIL import Image
from pyarrow import parquet

SIDE = 24


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def picture(number: int, kind: str = "PNG", side: int = SIDE) -> bytes:
    """A picture file of noise that is its number's own."""
    colours = np.random.default_rng(number).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return encoded(Image.fromarray(colours), kind)


def write_tar(path: Path, files: Iterable[tuple[str, bytes]]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def write_img2dataset(root: Path, shards: Sequence[int], kind: str = "PNG") -> Path:
    """Shards of so many samples, as img2dataset lays them out, metadata and all."""
    root.mkdir(exist_ok=True)
    number = 0
    for shard, count in enumerate(shards):
        rows = []
        with webdataset.TarWriter(str(root / f"{shard:05}.tar")) as tar:
            for place in range(count):
                key = f"{shard:05}{place:04}"
                rows.append({"key": key, "caption": str(number), "status": "success"})
                image, meta = picture(number, kind), json.dumps(rows[-1], indent=4)
                sample = {kind.lower(): image, "txt": str(number), "json": meta}
                tar.write({"__key__": key, **sample})
                number += 1
        parquet.write_table(pa.Table.from_pylist(rows), root / f"{shard:05}.parquet")
        (root / f"{shard:05}_stats.json").write_text(json.dumps({"count": count}))
    return root


def write_parquet(
    path: Path, images: Sequence[bytes | None], texts: Sequence[object], rows: int = 4
) -> Path:
    """A data set as Hugging Face writes it: images are structs of bytes and path."""
    image = pa.array(
        [{"bytes": content, "path": None} for content in images],
        pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
    )
    table = pa.table({"image": image, "text": pa.array(texts)})
    parquet.write_table(table, path, row_group_size=rows)
    return path
