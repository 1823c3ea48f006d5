"""Servers to talk to: uvicorn in a thread of its own, and what a test asks it with."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from starlette.testclient import TestClient
from starlette.types import Message

from openimagen.serve.api import build
from openimagen.serve.engine import Engine
from openimagen.serve.keys import add_key
from openimagen.serve.service import Service
from openimagen.web import listen

MakeClient = Callable[..., TestClient]


@dataclass(frozen=True)
class RealServer:
    """A server with the model that ships, and a key to it."""

    address: str
    key: str
    engine: Engine


def exchange(
    client: TestClient, path: str, kind: str, receive: Callable[[], Awaitable[Message]]
) -> list[Message]:
    """What is sent for a POST whose body, and end, come out of `receive`; it must come back."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "scheme": "http",
        "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"content-type", kind.encode())],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8000),
    }
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def ask() -> None:
        await asyncio.wait_for(client.app(scope, receive, send), 5)

    assert client.portal is not None
    client.portal.call(ask)
    return sent


@contextmanager
def listening(service: Service, load: Callable[[], Any]) -> Iterator[str]:
    """A server in a thread; its address."""
    config = uvicorn.Config(build(service, load), log_config=None, access_log=False)
    server = uvicorn.Server(config)
    with listen("127.0.0.1", 0) as door:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [door]})
        thread.start()
        while not service.is_ready:
            thread.join(0.01)
            assert thread.is_alive()
        try:
            yield f"http://127.0.0.1:{door.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(30)


def keys_file(folder: Path, name: str = "ann") -> tuple[Path, str]:
    """A file with one key, and the key."""
    path = folder / "keys"
    return path, add_key(path, name)
