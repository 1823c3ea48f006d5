"""Small files that make much work: refused by their structure, before a decoder meets them.

How many pixels a picture has is in its header, and says nothing of these: a JPEG may paint its
pixels over as often as it likes, and Pillow remembers every part of a file.
"""

import re
from io import BufferedReader, BytesIO

SCANS = 100  # of a JPEG; progressive ones have ten or so, and each walks all pixels
PARTS = 5_000  # of a JPEG's segments, and of a PNG's chunks that are no pixels
PIXELS = (b"IDAT", b"fdAT", b"fcTL")  # of a PNG, and an animated one

MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")  # neither a byte of pixels nor a restart
FIRST, START, END, SCAN = 0xC0, 0xD8, 0xD9, 0xDA


def check_parts(file: BytesIO | BufferedReader) -> None:
    """ValueError for a JPEG of too many scans or segments, or a PNG of too many chunks."""
    file.seek(0)
    start = file.read(8)
    if start.startswith(b"\xff\xd8"):
        _check_jpeg(start + file.read())
    elif start == b"\x89PNG\r\n\x1a\n":
        _check_png(file)


def _check_jpeg(data: bytes) -> None:
    """Walk from marker to marker as libjpeg does, up to the end that it stops at."""
    at, scans, parts = 2, 0, 0
    while (found := MARKER.search(data, at)) is not None:
        kind = data[found.end() - 1]
        if kind == END:
            return
        parts += 1 + (0 if scans else found.start() - at)  # Pillow stops at each byte of filling
        at = found.end()
        if kind == SCAN:
            scans += 1
            if scans == 1 and data.count(b"\xff\xda", at) < SCANS:
                return  # there cannot be too many: what follows is not worth the walk
        if scans > SCANS or parts > PARTS:
            raise ValueError("a JPEG of so many parts is no honest picture: save it anew")
        if kind >= FIRST and kind != START:  # others have no length
            at += max(2, int.from_bytes(data[at : at + 2]))


def _check_png(file: BytesIO | BufferedReader) -> None:
    parts = 0
    while len(head := file.read(8)) == 8:
        parts += head[4:] not in PIXELS
        if parts > PARTS:
            raise ValueError("a PNG of so many parts is no honest picture: save it anew")
        file.seek(int.from_bytes(head[:4]) + 4, 1)
