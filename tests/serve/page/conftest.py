"""The real server with the model that ships, and visits to its page that must leave no trace."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_engine import FakeEngine
from PIL import Image, ImageDraw
from playwright.sync_api import Browser, Page, expect
from servers import listening
from visits import DEADLINE, MakeVisit, Visit

from openimagen import model_folder
from openimagen.config import ModelConfig
from openimagen.door import Safety
from openimagen.imagen import Imagen
from openimagen.serve.config import ServeConfig
from openimagen.serve.engine import Engine
from openimagen.serve.service import Service

expect.set_options(timeout=DEADLINE)


@pytest.fixture(scope="session")
def emoji() -> ModelConfig:
    return model_folder.read_model_file(model_folder.find_model("emoji")).model


@pytest.fixture(scope="session")
def studio(emoji: ModelConfig, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its address."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        imagen = Imagen.from_pretrained("emoji", device="cpu", safety=Safety())
        service = Service.of(ServeConfig(), emoji)
        with listening(service, lambda: Engine([imagen])) as address:
            yield address


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def told(emoji: ModelConfig, engine: FakeEngine) -> Iterator[str]:
    """A server whose engine says what it is told to say."""
    with listening(Service.of(ServeConfig(), emoji), lambda: engine) as address:
        yield address


@pytest.fixture
def visit(browser: Browser, studio: str) -> Iterator[MakeVisit]:
    """Opens a view; at the end nothing may have gone wrong or astray.

    `troubled`: answers with an error status, which browsers log by themselves, are expected.
    """
    visits: list[Visit] = []

    def make(
        view: str = "draw", *, address: str = studio, troubled: bool = False, **settings: object
    ) -> Page:
        visits.append(Visit(browser, address, troubled=troubled, **settings))
        return visits[-1].open(view)

    yield make
    for one in visits:
        one.close()
    for one in visits:
        one.check()


@pytest.fixture
def red_apple(tmp_path: Path) -> Path:
    """A small picture: red on white."""
    image = Image.new("RGB", (64, 64), "white")
    ImageDraw.Draw(image).ellipse((12, 14, 52, 56), fill=(200, 30, 40))
    path = tmp_path / "apple.png"
    image.save(path)
    return path
