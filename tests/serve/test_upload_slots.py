"""How much of a server uploads may hold: a number of slots, shared, and little memory."""

import http.client
import random
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from fake_engine import FakeEngine
from PIL import Image
from servers import listening
from test_uploads import form, written

from openimagen.config import ModelConfig
from openimagen.serve import forms
from openimagen.serve.config import ServeConfig
from openimagen.serve.errors import Refusal
from openimagen.serve.keys import add_key
from openimagen.serve.limits import Slots
from openimagen.serve.service import DECODING, Service

SLOTS = 8
NAMES = ("ann", "ben", "cat", "dan", "eve")
SIDE = 2000  # of a picture whose file has 12 MB
MEGABYTE = 2**20
PAGE = (Path(__file__).parents[2] / "docs/serving.md").read_text()


class Uploads:
    """A server with few slots, its keys, and uploads to it."""

    def __init__(self, address: str, service: Service, keys: dict[str, str]) -> None:
        self.where, self.service, self.keys = urlsplit(address).netloc, service, keys

    def head(self, who: str, length: int) -> bytes:
        return (
            f"POST /v1/images/variations HTTP/1.1\r\nhost: {self.where}\r\n"
            f"authorization: Bearer {self.keys[who]}\r\ncontent-length: {length}\r\n"
            "content-type: multipart/form-data; boundary=b\r\n\r\n"
        ).encode()

    def begin(self, who: str, body: bytes, length: int | None = None) -> socket.socket:
        """Send a request, all of it or, if it is longer than that, its beginning."""
        host, _, port = self.where.partition(":")
        connection = socket.create_connection((host, int(port)), timeout=20)
        connection.sendall(self.head(who, length or len(body)))
        connection.sendall(body)
        return connection

    def held(self) -> int:
        return self.service.uploads.held.total()

    def wait_until_held(self, count: int) -> None:
        deadline = time.monotonic() + 20
        while self.held() != count:
            assert time.monotonic() < deadline, self.held()
            time.sleep(0.01)


@pytest.fixture
def server(emoji: ModelConfig, tmp_path: Path) -> Iterator[Uploads]:
    keys = {name: add_key(tmp_path / "keys", name) for name in NAMES}
    limits = {"uploads": SLOTS, "upload_seconds": 20}
    config = ServeConfig.model_validate({"keys": tmp_path / "keys", "limits": limits})
    service = Service.of(config, emoji)
    with listening(service, FakeEngine) as address:
        yield Uploads(address, service, keys)


def answer_of(connection: socket.socket) -> tuple[int, bytes]:
    """Status and body."""
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    said = answer.status, answer.read()
    connection.close()
    return said


def body_of(side: int) -> bytes:
    pixels = random.Random(0).randbytes(3 * side * side)
    picture = Image.frombytes("RGB", (side, side), pixels)
    return form({"size": "64x64"}, {"image": written(picture, compress_level=0)})


SMALL = body_of(8)


def test_nobody_takes_more_than_they_leave() -> None:
    for room in range(1, 20):
        slots, held = Slots(room), ExitStack()
        with held, pytest.raises(Refusal, match="too many uploads") as refused:
            for _ in range(room + 1):
                held.enter_context(slots.take("ann"))
        assert refused.value.status_code == 429
        slots, held = Slots(room), ExitStack()
        with held:
            with pytest.raises(Refusal):
                while True:
                    held.enter_context(slots.take("ann"))
            assert slots.held["ann"] == (room + 1) // 2
            for number in range(room - slots.held["ann"]):  # others still come in, one by one
                held.enter_context(slots.take(str(number)))
            with pytest.raises(Refusal):
                held.enter_context(slots.take("late"))
        assert not slots.held


def test_who_drips_leaves_room_for_others(server: Uploads) -> None:
    drips = [server.begin("ann", SMALL[:50], 10_000) for _ in range(2 * SLOTS)]
    server.wait_until_held(SLOTS // 2)
    assert answer_of(server.begin("ann", SMALL))[0] == 429
    status, said = answer_of(server.begin("ben", SMALL))
    assert status == 200, said
    for drip in drips:
        drip.close()
    server.wait_until_held(0)


def peak() -> int:
    """Bytes of memory that this process held at the most since it was asked before."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (most,) = (int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    Path("/proc/self/clear_refs").write_text("5")
    return most * 1024


def test_uploads_that_wait_to_be_decoded_hold_their_slots_and_no_memory(
    server: Uploads, monkeypatch: pytest.MonkeyPatch
) -> None:
    body, turn, decoded = body_of(SIDE), threading.Event(), list[int]()
    begun = threading.Semaphore(0)

    def decode(data: bytes, **_: object) -> Image.Image:
        begun.release()
        turn.wait(20)
        decoded.append(len(data))
        return Image.new("RGB", (8, 8))

    monkeypatch.setattr(forms, "picture_of", decode)
    peak()
    before = peak()
    waiting = [server.begin("ann", body) for _ in range(DECODING)]
    assert all(begun.acquire(timeout=20) for _ in range(DECODING))
    others = ("ann",) * (4 - DECODING) + ("ben",) * 2 + ("cat", "dan")
    waiting += [server.begin(who, body) for who in others]
    server.wait_until_held(SLOTS)
    status, said = answer_of(server.begin("eve", SMALL))
    assert status == 429 and b"uploads_full" in said
    time.sleep(0.2)  # until all of it has come
    assert peak() - before < (DECODING + 1) * len(body)  # those that are decoded
    waiting.pop().close()
    server.wait_until_held(SLOTS - 1)  # it has seen that
    turn.set()
    server.wait_until_held(0)
    assert [answer_of(connection)[0] for connection in waiting] == [200] * (SLOTS - 1)
    assert len(decoded) == SLOTS - 1  # but for the one that went away


PEAK = """
import sys
from pathlib import Path
from openimagen.serve.uploads import picture_of
data = Path(sys.argv[1]).read_bytes()
Path("/proc/self/clear_refs").write_text("5")
picture_of(data, "image", 4096 * 4096, 1024)
print(*[line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")])
"""


@pytest.mark.parametrize(("mode", "kind"), [("I;16", "PNG"), ("RGBA", "PNG"), ("RGBA", "WEBP")])
def test_a_picture_is_decoded_in_what_the_page_says(tmp_path: Path, mode: str, kind: str) -> None:
    told = re.search(r"up to (\d+) MB while it is decoded", PAGE)
    assert told
    file = tmp_path / "a"
    file.write_bytes(written(Image.new(mode, (4096, 4096)), kind))
    run = [sys.executable, "-c", PEAK, str(file)]
    took = subprocess.run(run, capture_output=True, text=True, check=True).stdout
    assert int(took) * 1024 < int(told[1]) * MEGABYTE
