"""Serve until told to stop, and then finish what was begun."""

import asyncio
import ctypes
import logging
import os
import warnings
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn

from openimagen import model_folder
from openimagen.serve.api import build
from openimagen.serve.config import ServeConfig, check_exposure
from openimagen.serve.replicas import devices_of
from openimagen.serve.service import Service
from openimagen.serve.watch import JsonLines
from openimagen.web import listen

if TYPE_CHECKING:
    from openimagen.serve.engine import Engine

CLOSING = 10  # seconds for answers that are still being sent when all is drawn
LARGE = 8 * 2**20  # bytes of memory that go back to the system as soon as they are free
MMAP_THRESHOLD = -3  # its number in glibc's malloc.h

log = logging.getLogger("openimagen.serve")


class Server(uvicorn.Server):
    """uvicorn, which on a signal goes on answering until accepted work is done."""

    def __init__(self, config: uvicorn.Config, drain: Callable[[], Awaitable[None]]) -> None:
        super().__init__(config)
        self.drain, self.told_to_stop = drain, False
        self.draining: asyncio.Future[None] | None = None
        self.failure: Exception | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain at the first signal; end at the second, whatever threads are busy with."""
        if self.told_to_stop:
            os._exit(128 + sig)
        self.told_to_stop = True

    def fail(self, error: Exception) -> None:
        """Stop: there is nothing to serve."""
        self.failure, self.should_exit = error, True

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: whether to stop."""
        if self.told_to_stop and self.draining is None:
            log.info("draining")
            self.draining = asyncio.ensure_future(self.drain())
        drained = self.draining is not None and self.draining.done()
        return drained or await super().on_tick(counter)


def serve(config: ServeConfig, tell: Callable[[str], None]) -> None:
    """Answer until SIGTERM or Ctrl-C. `tell` gets lines for whoever started it.

    Raises ValueError for what cannot be served, OSError for a port that is taken.
    """
    dangers = check_exposure(config)
    model = model_folder.read_model_file(model_folder.find_model(config.model)).model
    devices_of(config.device, config.replicas)  # wrong ones are told now, not when it is served
    service = Service.of(config, model)
    with listen(config.host, config.port) as door:
        log_as_json()
        server = Server(settings(config), service.drain)
        server.config.app = build(service, partial(load, config), server.fail)
        for danger in dangers:
            tell(f"warning: {danger}")
        tell(f"serving {model.name} at {address(config, door.getsockname()[1])} until Ctrl-C")
        server.run(sockets=[door])
    if server.failure is not None:
        raise server.failure


def load(config: ServeConfig) -> "Engine":
    """The model on each device that is to draw. ValueError for what cannot be loaded."""
    from openimagen.imagen import Imagen
    from openimagen.serve.engine import Engine

    imagens = [
        Imagen.from_pretrained(config.model, device=device, safety=config.safety)
        for device in devices_of(config.device, config.replicas)
    ]
    give_memory_back()
    limits = config.limits
    return Engine(
        imagens,
        limit=limits.waiting,
        shares=config.keys is not None or config.open,
        batch=limits.batch,
        deadline=limits.deadline,
    )


def give_memory_back() -> None:
    """Have glibc give large blocks back when they are freed, where that is the C library.

    By itself it keeps them for later, and pictures that wait, allocated between those that were
    decoded, keep it from ever joining them: 60 edits took 2.5 GB, and take 1.5.
    """
    with suppress(OSError, TypeError, AttributeError):
        ctypes.CDLL(None).mallopt(MMAP_THRESHOLD, LARGE)


def settings(config: ServeConfig) -> uvicorn.Config:
    """uvicorn's: silent, and believing no proxy but those that it is told of."""
    return uvicorn.Config(
        "",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(config.proxies),
        forwarded_allow_ips=list(config.proxies),
        timeout_graceful_shutdown=CLOSING,
        lifespan="on",
        ws="none",
    )


def address(config: ServeConfig, port: int) -> str:
    """What a browser opens."""
    if config.url:
        return config.url
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(config.host, config.host)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def log_as_json() -> None:
    """Lines of JSON on stderr: ours, and others' warnings."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("openimagen").setLevel(logging.INFO)
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # clients' mistakes
    warnings.simplefilter("ignore")  # they are for who calls, and would quote prompts
