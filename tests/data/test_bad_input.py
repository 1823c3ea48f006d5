"""Whatever people have in their data: used if it can be, else skipped, counted and named."""

import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from pyarrow import parquet
from shard_files import encoded, picture, write_tar

from openimagen.data.dataset import Examples, PictureSet, PictureStream, loader
from openimagen.data.folder import Pictures
from openimagen.data.images import load, square, to_tensor
from openimagen.data.source import open_source

SIDE = 8


def bomb(side: int) -> bytes:
    """A PNG that says it is this large, and ends before its pixels."""
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


RED = Image.new("RGB", (24, 24), "red")
GREY = Image.fromarray(np.full((24, 24), 257 * 100, dtype=np.uint16))
GOOD = {
    "plain.jpg": picture(0, "JPEG"),
    "png.jpg": picture(1, "PNG"),  # the extension is wrong, the picture is not
    "cmyk.jpg": encoded(RED.convert("CMYK"), "JPEG"),
    "sixteen.png": encoded(GREY),
    "palette.png": encoded(RED.convert("P")),
    "animated.webp": encoded(RED, "WEBP", save_all=True, append_images=[GREY.convert("RGB")]),
}
BAD = {
    "truncated.jpg": (picture(2, "JPEG")[:-300], "truncated", "image file is truncated"),
    "nothing.png": (b"", "nothing", "empty"),
    "text.png": (b"no picture", "text", "no picture"),
    "bomb.png": (bomb(12_000), "bomb", "over 89478485 pixels: 12000"),
    "large-bomb.png": (bomb(60_000), "large bomb", "over 89478485 pixels: Image"),
    "latin.png": (picture(3), b"cr\xe8me", "not UTF-8"),
    "blank.png": (picture(4), " ", "empty caption"),
    "untold.png": (picture(5), None, "no caption"),
}


def files() -> list[tuple[str, bytes]]:
    """Pictures and captions; a good picture's caption is its name."""
    found = []
    captions = {name: name for name in GOOD} | {name: text for name, (_, text, _) in BAD.items()}
    contents = GOOD | {name: content for name, (content, _, _) in BAD.items()}
    for name, caption in captions.items():
        found.append((name, contents[name]))
        if caption is not None:
            text = caption if isinstance(caption, bytes) else caption.encode()
            found.append((f"{name.partition('.')[0]}.txt", text))
    return found


def as_folder(root: Path) -> Path:
    for name, content in files():
        (root / name).write_bytes(content)
    return root


def as_tar(root: Path) -> Path:
    """With a second shard, cut in its first picture."""
    write_tar(root / "0.tar", files())
    write_tar(root / "1.tar", files())
    (root / "1.tar").write_bytes((root / "1.tar").read_bytes()[:700])
    return root


def as_parquet(root: Path) -> Path:
    images = list(GOOD.values()) + [content for content, _, _ in BAD.values()]
    captions = [*GOOD, *(text for _, text, _ in BAD.values())]
    raw = pa.array([t.encode() if isinstance(t, str) else t for t in captions], pa.binary())
    known, places, content = raw.buffers()
    texts = pa.StringArray.from_buffers(len(raw), places, content, known)
    parquet.write_table(pa.table({"image": images, "text": texts}), root / "0.parquet")
    return root


def opened(path: Path) -> Examples:
    source = open_source(path)
    if isinstance(source, Pictures):
        return PictureSet(source, SIDE)
    return PictureStream(source, SIDE)


MAKERS = {"folder": as_folder, "tar": as_tar, "parquet": as_parquet}


@pytest.mark.filterwarnings("ignore:Image size:PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", MAKERS)
def test_bad_input_is_skipped_counted_and_named(tmp_path: Path, kind: str, workers: int) -> None:
    dataset = opened(MAKERS[kind](tmp_path))
    batches = list(loader(dataset, 0, 36, 4, workers))
    seen = {
        caption: image
        for batch in batches
        for image, caption in zip(batch.image, batch.captions, strict=True)
    }
    assert seen.keys() == GOOD.keys()
    for name, image in seen.items():
        assert torch.equal(image, to_tensor(square(load(GOOD[name]), SIDE)))
    whys = [why for _, _, why in BAD.values()] + ["damaged after 0 samples"] * (kind == "tar")
    named = dataset.faults.named
    assert len(dataset.faults) == len(named) == len(whys)
    assert sum(dataset.faults.counts().values()) == len(whys)
    for why in whys:
        assert [why in reason for reason in named.values()].count(True) >= 1, (why, named)
    if kind != "parquet":  # where names say which
        for name, (_, _, why) in BAD.items():
            stem = name.partition(".")[0]
            assert any(stem in where and why in reason for where, reason in named.items())
    json.dumps(named)


def test_what_is_converted_looks_right() -> None:
    assert {name: load(GOOD[name]).getpixel((9, 9)) for name in ("sixteen.png", "palette.png")} == {
        "sixteen.png": (100, 100, 100),
        "palette.png": (255, 0, 0),
    }
    for name in ("cmyk.jpg", "animated.webp"):
        red, *others = load(GOOD[name]).getpixel((9, 9))
        assert red > 245 and max(others) < 10
