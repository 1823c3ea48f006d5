"""Server-sent events: what is told, in which order; nobody draws for a client that left."""

import asyncio
import json
import socket
import time
from typing import Any
from urllib.parse import urlsplit

import pytest
from fake_engine import FakeEngine
from servers import exchange, listening
from starlette.testclient import TestClient
from starlette.types import Message

from openimagen.config import ModelConfig
from openimagen.serve import sending, streams
from openimagen.serve.config import ServeConfig
from openimagen.serve.service import Service

GENERATIONS = "/v1/images/generations"


def events_of(client: TestClient, **body: object) -> list[dict[str, Any]]:
    asked = {"prompt": "a fox", "size": "64x64", "stream": True, **body}
    answer = client.post(GENERATIONS, json=asked)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    events = []
    for block in answer.text.strip().split("\n\n"):
        kind, data = block.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert kind == f"event: {event['type']}"
        events.append(event)
    return events


def test_previews_come_before_their_picture(client: TestClient) -> None:
    events = events_of(client, n=2, partial_images=2, seed=5, quality="high")
    kinds = [(event["type"].partition(".")[2], event["image_index"]) for event in events]
    one = [("partial_image", 0), ("partial_image", 0), ("completed", 0)]
    assert kinds == [*one, *((kind, 1) for kind, _ in one)]
    first, last = events[0], events[-1]
    assert first["type"] == "image_generation.partial_image"
    assert (first["partial_image_index"], first["stage"], first["call"]) == (0, "base", 1)
    assert (first["calls"], first["log_snr"], first["size"]) == (10, -2.0, "64x64")
    assert (last["seed"], last["flagged"], last["size"]) == (6, None, "64x64")
    assert last["notes"] == ["quality is ignored", "a note"]
    assert last["usage"]["total_tokens"] == 0


def test_the_place_in_the_queue_is_told_who_asks(client: TestClient) -> None:
    assert events_of(client, progress=True)[0] == {"type": "openimagen.queued", "position": 2}
    assert [event["type"] for event in events_of(client)] == ["image_generation.completed"]


def test_a_withheld_picture_is_told_last(client: TestClient, engine: FakeEngine) -> None:
    engine.withheld = {0}
    one, two = events_of(client, n=2)
    assert (one["image_index"], two["image_index"]) == (1, 0)
    assert (two["b64_json"], two["flagged"]) == (None, "indecent")


@pytest.mark.parametrize(
    ("trouble", "code"), [("withheld", "content_policy_violation"), ("failing", "drawing_failed")]
)
def test_trouble_ends_the_stream_with_one_error(
    client: TestClient, engine: FakeEngine, trouble: str, code: str
) -> None:
    setattr(engine, trouble, {0})
    *_, last = events_of(client, partial_images=1)
    assert (last["type"], last["error"]["code"]) == ("error", code)


def test_a_stream_has_no_links(client: TestClient, engine: FakeEngine) -> None:
    body = {"prompt": "a fox", "stream": True, "response_format": "url"}
    answer = client.post(GENERATIONS, json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "response_format")
    assert not engine.orders


# --- clients that go away -------------------------------------------------------------------------


def asked_and_left(client: TestClient, left: asyncio.Event, **body: object) -> list[Message]:
    """What is sent to a client that asks, and goes away once `left` is set."""
    content = json.dumps({"prompt": "a fox", "size": "64x64", **body}).encode()
    messages: list[Message] = [{"type": "http.request", "body": content, "more_body": False}]

    async def receive() -> Message:
        if messages:
            return messages.pop()
        await left.wait()
        return {"type": "http.disconnect"}

    return exchange(client, GENERATIONS, "application/json", receive)


@pytest.mark.parametrize("stream", [False, True])
def test_nothing_is_drawn_for_a_client_that_left(
    client: TestClient, engine: FakeEngine, stream: bool
) -> None:
    engine.holds, left = asyncio.Event(), asyncio.Event()
    left.set()
    sent = asked_and_left(client, left, stream=stream)
    assert [ticket.is_cancelled for ticket in engine.tickets] == [True]
    assert all(message.get("more_body", True) for message in sent)  # no answer was finished
    told = client.get("/metrics").text
    assert (
        'openimagen_requests_total{method="POST",route="/v1/images/generations",status="499"}'
        in told
    )


def test_silence_is_filled_so_that_proxies_stay(
    client: TestClient, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "PULSE", 0.01)
    engine.holds, left = asyncio.Event(), asyncio.Event()

    async def leave() -> None:
        await asyncio.sleep(0.1)
        left.set()

    assert client.portal is not None
    client.portal.start_task_soon(leave)
    sent = asked_and_left(client, left, stream=True)
    assert sum(message.get("body") == b": still here\n\n" for message in sent) >= 3


@pytest.mark.parametrize("stream", [False, True])
def test_who_does_not_read_is_let_go(
    emoji: ModelConfig, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    """A picture of many megabytes, or events without end, for a client that reads nothing."""
    monkeypatch.setattr(sending, "STALLED", 0.3)
    monkeypatch.setattr(streams, "PULSE", 1e-6)
    engine, service = FakeEngine(), Service.of(ServeConfig(), emoji)
    engine.holds = asyncio.Event()
    with listening(service, lambda: engine) as address, socket.socket() as client:
        token = service.links.keep(bytes(20_000_000), "image/png")
        head, body = f"GET /pictures/{token}", b""
        if stream:
            head, body = f"POST {GENERATIONS}", b'{"prompt": "a fox", "stream": true}'
        kind = f"content-type: application/json\r\ncontent-length: {len(body)}"
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", urlsplit(address).port))
        client.sendall(f"{head} HTTP/1.1\r\nhost: localhost\r\n{kind}\r\n\r\n".encode() + body)
        until = time.monotonic() + 20
        while 'status="499"' not in service.metrics.text().decode():
            assert time.monotonic() < until
            time.sleep(0.05)
    assert [ticket.is_cancelled for ticket in engine.tickets] == [True] * stream
