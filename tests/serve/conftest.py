"""The application in this process, with an engine that says what it is told to."""

from collections.abc import Iterator

import pytest
from fake_engine import FakeEngine
from servers import MakeClient, RealServer, keys_file, listening
from starlette.testclient import TestClient

from openimagen import model_folder
from openimagen.config import ModelConfig
from openimagen.imagen import Imagen
from openimagen.serve.api import build
from openimagen.serve.config import ServeConfig
from openimagen.serve.engine import Engine
from openimagen.serve.service import Service


@pytest.fixture(scope="session")
def emoji() -> ModelConfig:
    return model_folder.read_model_file(model_folder.find_model("emoji")).model


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


def entered(engine: FakeEngine, model: ModelConfig, **settings: object) -> TestClient:
    """A client of a new application, ready to draw."""
    service = Service.of(ServeConfig.model_validate(settings), model)
    client = TestClient(build(service, lambda: engine), base_url="http://127.0.0.1:8000")
    client.__enter__()
    while not service.is_ready:
        client.get("/healthz")
    return client


@pytest.fixture
def client_of(emoji: ModelConfig, engine: FakeEngine) -> Iterator[MakeClient]:
    """A client of an application of its own; settings as in the file."""
    clients: list[TestClient] = []

    def make(**settings: object) -> TestClient:
        clients.append(entered(engine, emoji, **settings))
        return clients[-1]

    yield make
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture(scope="session")
def shared(emoji: ModelConfig) -> Iterator[TestClient]:
    client = entered(FakeEngine(), emoji)
    yield client
    client.__exit__(None, None, None)


@pytest.fixture
def client(shared: TestClient, engine: FakeEngine) -> TestClient:
    """A client of one application for all, with an engine of its own."""
    engine.start()
    shared.app.state.service.engine = engine  # type: ignore[attr-defined]
    return shared


@pytest.fixture(scope="session")
def real(emoji: ModelConfig, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    """The model that ships, behind uvicorn, for those with a key."""
    file, key = keys_file(tmp_path_factory.mktemp("keys"))
    engine = Engine([Imagen.from_pretrained("emoji")])
    with listening(Service.of(ServeConfig(keys=file), emoji), lambda: engine) as address:
        yield RealServer(address, key, engine)
