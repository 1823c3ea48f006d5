"""Whatever is changed in a signed picture or its note is seen."""

import random
import re
import struct
import time
import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from certificates import CLAIM, KINDS, encoded, operators, picture
from PIL import Image

from openimagen.safety.credentials import Signer, verify

WHEN = CLAIM.when


def chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 8
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        yield png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        at += 12 + length


def from_chunks(parts: list[tuple[bytes, bytes]]) -> bytes:
    """A PNG with right checksums, so that nothing but the credentials can tell."""
    packed = (
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def tampered(signed: bytes, other: bytes, how: str) -> bytes:
    """A signed PNG with something done to it; `other` is another one."""
    parts = list(chunks(signed))
    where = [name for name, _ in parts].index(b"caBX")
    note = parts[where][1]
    if how == "a pixel changed":
        with Image.open(BytesIO(signed)) as image:
            image.putpixel((3, 3), (1, 2, 3))
            pixels = dict(chunks(encoded(image)))[b"IDAT"]
        parts = [(name, pixels if name == b"IDAT" else body) for name, body in parts]
    elif how == "another's pixels":
        parts[[name for name, _ in parts].index(b"IDAT")] = (b"IDAT", dict(chunks(other))[b"IDAT"])
    elif how == "another's credentials":
        parts[where] = (b"caBX", dict(chunks(other))[b"caBX"])
    elif how == "a chunk added":
        parts.insert(where + 1, (b"tEXt", b"Comment\0hello"))
    elif how == "chunks swapped":
        parts[where], parts[where + 1] = parts[where + 1], parts[where]
    elif how == "something after the end":
        return signed + b"\0"
    elif how == "the model renamed":
        parts[where] = (b"caBX", note.replace(b"emoji", b"other"))
    elif how == "the day changed":
        parts[where] = (b"caBX", note.replace(b"2026-03-04", b"2026-03-05"))
    elif how == "drawn turned into taken":
        parts[where] = (
            b"caBX",
            note.replace(b"trainedAlgorithmicMedia", b"digitalCapture" + b"/" * 9),
        )
    elif how == "the signature changed":
        at = note.rindex(b"\x58\x40") + 2  # the last string of 64 bytes: r, then s
        parts[where] = (b"caBX", note[:at] + bytes([note[at] ^ 1]) + note[at + 1 :])
    elif how == "the note cut":
        parts[where] = (b"caBX", note[: len(note) // 2])
    elif how == "the note's place lost":
        parts[where] = (b"caBY", note)
    elif how == "the file cut":
        return signed[:-30]
    return from_chunks(parts)


TAMPERING = {
    "a pixel changed": "the picture was changed",
    "another's pixels": "the picture was changed",
    "another's credentials": "another picture's",
    "a chunk added": "the picture was changed",
    "chunks swapped": "the picture was changed",
    "something after the end": "the picture was changed",
    "the model renamed": "what the credentials say was changed",
    "the day changed": "what the credentials say was changed",
    "drawn turned into taken": "what the credentials say was changed",
    "the signature changed": "the signature is not of these credentials",
    "the note cut": "cannot be read",
    "the note's place lost": "what is left",
    "the file cut": "cannot be read",
}


@pytest.mark.parametrize("how", TAMPERING)
@pytest.mark.parametrize("trusting", [False, True])
def test_tampering_is_seen(tmp_path: Path, anchors: Path, how: str, trusting: bool) -> None:
    signer = operators(tmp_path)
    signed = signer.sign(encoded(picture()), "image/png", CLAIM)
    other = signer.sign(encoded(picture().rotate(90)), "image/png", CLAIM)
    assert from_chunks(list(chunks(signed))) == signed
    found = verify(tampered(signed, other, how), "image/png", anchors if trusting else None)
    assert found.status == "tampered"
    assert TAMPERING[how] in found.problems[0]
    if TAMPERING[how] not in ("the picture was changed", "another picture's"):
        assert (found.model, found.when) == (None, None)  # a changed note is not repeated
    if how == "the signature changed":
        assert found.chain == ()


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_is_done_to_the_bytes_there_is_an_answer(signer: Signer, kind: str) -> None:
    """No crash, no hang; never trusted; and no other model or day than was signed."""
    signed = signer.sign(encoded(picture(16), kind), KINDS[kind], CLAIM)
    lot = random.Random(kind)
    seen = set()
    for _ in range(150):
        began = time.monotonic()
        try:
            found = verify(mutated(signed, lot), KINDS[kind])
        except ValueError as error:
            assert re.match(r"these bytes are no picture|the picture cannot be read", str(error))
        else:
            seen.add(found.status)
            assert found.status != "trusted"
            assert found.model in (None, "emoji")
            assert found.when in (None, WHEN)
            assert all(each.isprintable() for each in (*found.problems, *found.chain))
        assert time.monotonic() - began < 2
    assert "tampered" in seen


def mutated(data: bytes, lot: random.Random) -> bytes:
    """Bits flipped, a piece cut out, doubled, zeroed or made noise."""
    at, size = lot.randrange(len(data)), lot.choice([1, 1, 2, 8, 64, 500])
    head, piece, tail = data[:at], data[at : at + size], data[at + size :]
    how = lot.randrange(5)
    if how == 0:
        return head + bytes([data[at] ^ 1 << lot.randrange(8)]) + data[at + 1 :]
    return head + (b"", piece * 2, bytes(len(piece)), lot.randbytes(len(piece)))[how - 1] + tail


def shortened(note: bytes, by: int) -> bytes:
    """The note with so many bytes less of the padding after its signature; it is still valid."""
    at, out, start = note.index(b"cpadY") + 5, bytearray(note), 0
    while True:
        (length,) = struct.unpack(">I", note[start : start + 4])
        if start + length <= at:
            start += length
            continue
        out[start : start + 4] = struct.pack(">I", length - by)
        if note[start + 4 : start + 8] != b"jumb":
            break
        start += 8
    (room,) = struct.unpack(">H", note[at : at + 2])
    out[at : at + 2] = struct.pack(">H", room - by)
    del out[at + 2 : at + 2 + by]
    return bytes(out)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_can_hide_in_the_notes_room(signer: Signer, home: Path, kind: str) -> None:
    """The signature leaves out the note's own place; a shorter note would make room there."""
    signed = signer.sign(encoded(picture(), kind), KINDS[kind], CLAIM)
    start = signed.index(b"jumb") - 4
    (length,) = struct.unpack(">I", signed[start : start + 4])
    head, note, tail = signed[:start], signed[start : start + length], signed[start + length :]
    if kind == "PNG":  # another picture, that viewers would show
        other = dict(chunks(encoded(Image.new("RGB", (48, 48), "red"))))[b"IDAT"]
        hidden = from_chunks([(b"IDAT", other)])[8:]
        note = shortened(note, len(hidden))
        tail = struct.pack(">I", zlib.crc32(b"caBX" + note)) + hidden + tail[4:]
        head = head[:-8] + struct.pack(">I", len(note)) + head[-4:]
    elif kind == "JPEG":  # another table of quantisation
        hidden = b"\xff\xdb" + struct.pack(">H", 67) + b"\0" + bytes([255] * 64)
        note = shortened(note, len(hidden)) + hidden
        (size,) = struct.unpack(">H", head[-10:-8])
        head = head[:-10] + struct.pack(">H", size - len(hidden)) + head[-8:]
    else:
        hidden = b"JUNK" + struct.pack("<I", 12) + b"x" * 12
        note = shortened(note, len(hidden))
        head, note = head[:-4] + struct.pack("<I", len(note)), note + hidden
    spliced = head + note + tail
    assert len(spliced) == len(signed)
    with Image.open(BytesIO(spliced)) as image:
        assert kind != "PNG" or image.getpixel((5, 5)) == (255, 0, 0)
    assert verify(signed, KINDS[kind], home / "root.pem").status == "trusted"
    found = verify(spliced, KINDS[kind], home / "root.pem")
    assert found.status == "tampered"
    assert "the picture was changed" in found.problems[0]


def test_any_change_outside_the_note_is_seen(signer: Signer) -> None:
    signed = signer.sign(encoded(picture(16)), "image/png", CLAIM)
    start = signed.index(b"caBX") - 4
    (length,) = struct.unpack(">I", signed[start : start + 4])
    for at in [*range(8, start), *range(start + 12 + length, len(signed), 3)]:
        changed = signed[:at] + bytes([signed[at] ^ 16]) + signed[at + 1 :]
        assert verify(changed, "image/png").status == "tampered", at
