"""Servers to talk to: the application in this process, or uvicorn in a thread of its own."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fake_engine import FakeEngine
from starlette.testclient import TestClient

from openimagen import model_folder
from openimagen.config import ModelConfig
from openimagen.serve.api import build
from openimagen.serve.config import ServeConfig
from openimagen.serve.service import Service
from openimagen.web import listen


@pytest.fixture(scope="session")
def emoji() -> ModelConfig:
    return model_folder.read_model_file(model_folder.find_model("emoji")).model


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


MakeClient = Callable[..., TestClient]


@pytest.fixture
def client_of(emoji: ModelConfig, engine: FakeEngine) -> Iterator[MakeClient]:
    """A client of an application of its own, ready to draw; settings as in the file."""
    clients: list[TestClient] = []

    def make(**settings: Any) -> TestClient:  # noqa: ANN401  (as a TOML file has them)
        service = Service.of(ServeConfig.model_validate(settings), emoji)
        app = build(service, lambda: engine)
        client = TestClient(app, base_url="http://127.0.0.1:8000")
        clients.append(client.__enter__())
        while not service.is_ready:
            client.get("/healthz")
        return client

    yield make
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture
def client(client_of: MakeClient) -> TestClient:
    return client_of()


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
    from openimagen.serve.keys import add_key

    path = folder / "keys"
    return path, add_key(path, name)
