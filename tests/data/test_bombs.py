"""Small files that make much work are refused unread; honest ones of many parts are not."""

import struct
import time
import zlib
from pathlib import Path

import pytest
from PIL import Image, ImageFile
from shard_files import encoded

from openimagen.data.bombs import PARTS, SCANS
from openimagen.data.decode import load, load_rgba

PLAIN = encoded(Image.new("L", (1024, 1024), 128), "JPEG", progressive=True)
LAST = PLAIN[PLAIN.rindex(b"\xff\xda") : -2]  # a scan of few bytes over all pixels
END = PLAIN[-2:]
NOTE = b"\xff\xfe\x00\x04\xff\xd9"  # a comment that reads as the end
PHOTO = encoded(Image.effect_noise((64, 64), 80), "JPEG", quality=95)


def painted(times: int, between: bytes = b"") -> bytes:
    """A JPEG whose pixels are painted over so many times more."""
    return PLAIN[:-2] + between + LAST * times + END


def chunked(name: bytes, count: int) -> bytes:
    """A PNG with so many chunks of nothing."""
    whole = encoded(Image.new("RGB", (8, 8)))
    chunk = struct.pack(">I", 0) + name + struct.pack(">I", zlib.crc32(name))
    return whole[:33] + chunk * count + whole[33:]


BOMBS = {
    "scans": painted(20_000),
    "few-too-many": painted(SCANS),
    "after-a-comment": painted(SCANS, NOTE),
    "behind-no-segment": painted(SCANS, b"\xff\x02\xff\xff"),  # which libjpeg skips, length and all
    "comments": PHOTO[:2] + b"\xff\xfe\x00\x02" * 100_000 + PHOTO[2:],
    "filling": PHOTO[:2] + b"\xff" * 400_000 + PHOTO[2:],
    "chunks": chunked(b"abCd", PARTS + 1),
}


@pytest.mark.parametrize("data", BOMBS.values(), ids=BOMBS.keys())
def test_it_is_refused_before_it_is_decoded(
    data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decoded(*_: object) -> None:
        raise AssertionError("it was decoded")

    monkeypatch.setattr(Image, "open", decoded)
    monkeypatch.setattr(ImageFile.ImageFile, "load", decoded)
    (tmp_path / "a.jpg").write_bytes(data)
    began = time.monotonic()
    for source in (data, tmp_path / "a.jpg"):
        for read in (load, load_rgba):
            with pytest.raises(ValueError, match="of so many parts is no honest picture"):
                read(source)
    assert time.monotonic() - began < 1.0


HONEST = {
    "plain": PHOTO,
    "progressive": encoded(
        Image.effect_noise((64, 64), 80).convert("RGB"), "JPEG", progressive=True
    ),
    "four-colours": encoded(Image.new("CMYK", (64, 64)), "JPEG"),
    "with-a-film": PHOTO + b"\xff\xda\x00\x02" * 10 * SCANS,
    "with-a-small-one": PHOTO[:2] + b"\xff\xe1\x10\x02" + b"\xff\xda" * 0x800 + PHOTO[2:],
    "scans": painted(50),
    "chunks": chunked(b"abCd", 1000),
    "pieces": chunked(b"IDAT", 10 * PARTS),
}


@pytest.mark.parametrize("data", HONEST.values(), ids=HONEST.keys())
def test_what_is_honest_is_read(data: bytes) -> None:
    assert load(data).size in ((64, 64), (8, 8), (1024, 1024))
