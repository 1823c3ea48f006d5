"""The application in this process, with an engine that says what it is told to."""

from collections.abc import Iterator
from typing import Any

import pytest
from fake_engine import FakeEngine
from servers import MakeClient
from starlette.testclient import TestClient

from openimagen import model_folder
from openimagen.config import ModelConfig
from openimagen.serve.api import build
from openimagen.serve.config import ServeConfig
from openimagen.serve.service import Service


@pytest.fixture(scope="session")
def emoji() -> ModelConfig:
    return model_folder.read_model_file(model_folder.find_model("emoji")).model


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


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
