"""The server as an application: which requests there are, and what surrounds them."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache
from typing import TYPE_CHECKING

from fastapi import FastAPI

from openimagen import __version__
from openimagen.serve import errors, images, models, operations, studio
from openimagen.serve.description import describe
from openimagen.serve.gate import Gate
from openimagen.serve.sending import Paced
from openimagen.serve.service import Service
from openimagen.serve.watch import Watched
from openimagen.web import Headers, policy

if TYPE_CHECKING:
    from openimagen.serve.engine import Engine

POLICY = policy(pictures="'self' data: blob:")

log = logging.getLogger("openimagen.serve")


def build(
    service: Service,
    load: "Callable[[], Engine]",
    failed: Callable[[Exception], None] | None = None,
) -> FastAPI:
    """The application. It answers at once, and draws as soon as `load` has made its engine.

    `failed` is called if that does not work.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        loading = asyncio.create_task(start(service, load, failed))
        yield
        loading.cancel()
        await service.end()

    app = FastAPI(
        title="openimagen",
        summary="Pictures from words: OpenAI's image API, and what it lacks.",
        version=__version__,
        openapi_url=None,  # it is a route as others are
        docs_url=None,  # its page loads from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    app.state.service = service
    for router in (images.routes, models.routes, operations.routes, studio.router(studio.PAGE)):
        app.include_router(router)
    errors.install(app)
    described = cache(lambda: describe(app, service))
    app.openapi = described  # type: ignore[method-assign]
    app.add_api_route("/openapi.json", described, include_in_schema=False)
    app.add_middleware(Gate, config=service.config)
    app.add_middleware(Watched, metrics=service.metrics)
    app.add_middleware(Headers, policy=POLICY)
    app.add_middleware(Paced)
    return app


async def start(
    service: Service, load: "Callable[[], Engine]", failed: Callable[[Exception], None] | None
) -> None:
    """Load the model beside the server, which can say meanwhile that it is loading."""
    try:
        engine = await asyncio.to_thread(load)
        await asyncio.to_thread(engine.start)
    except Exception as error:
        log.error("the model cannot be loaded: %s", error)
        if failed is not None:
            failed(error)
        return
    service.engine = engine
    service.metrics.watch(engine.state)
    log.info("ready", extra={"told": {"model": service.model.name}})
