"""What all requests share: the model that draws, who may ask, how often, what is counted."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fastapi import Request

from openimagen.config import ModelConfig
from openimagen.serve.config import ServeConfig
from openimagen.serve.errors import Refusal
from openimagen.serve.keys import Keys
from openimagen.serve.limits import Buckets, Slots, neighbourhood
from openimagen.serve.links import Links
from openimagen.serve.metrics import Metrics
from openimagen.text import TextEncoder

if TYPE_CHECKING:
    from openimagen.door import Door
    from openimagen.serve.engine import Engine

DECODING = 2  # pictures at once
LOADING = 5.0  # seconds until one may ask again


@dataclass
class Service:
    """One server's state. The engine comes when its model is loaded, and goes when draining."""

    config: ServeConfig
    model: ModelConfig
    keys: Keys | None
    buckets: Buckets
    links: Links
    uploads: Slots  # from their first byte until they are decoded
    decoding: asyncio.Semaphore  # being decoded, each large in memory
    metrics: Metrics
    engine: "Engine | None" = None
    draining: bool = False
    began: int = field(default_factory=lambda: int(time.time()))

    @classmethod
    def of(cls, config: ServeConfig, model: ModelConfig) -> "Service":
        """A service whose engine is still to come. ValueError for keys that cannot be read."""
        limits = config.limits
        return cls(
            config=config,
            model=model,
            keys=None if config.keys is None else Keys(config.keys),
            buckets=Buckets(limits.rate, limits.burst),
            links=Links(limits.link_bytes, limits.link_seconds),
            uploads=Slots(limits.uploads),
            decoding=asyncio.Semaphore(DECODING),
            metrics=Metrics(),
        )

    @property
    def is_ready(self) -> bool:
        """Whether pictures are drawn."""
        return self.engine is not None and self.engine.is_ready and not self.draining

    def at_work(self) -> "Engine":
        """The engine. Refusal while there is none, or while it takes nothing more."""
        if self.draining:
            raise Refusal(503, "the server is going down", code="draining", retry_after=LOADING)
        if self.engine is None or not self.engine.is_ready:
            raise Refusal(503, "the model is loading", code="loading", retry_after=LOADING)
        return self.engine

    @property
    def door(self) -> "Door":
        """The door of the engine that drew a picture."""
        assert self.engine is not None
        return self.engine.imagen.door

    def cuts(self, prompt: str) -> bool:
        """Whether a prompt is longer than the model's encoder reads."""
        encoder = None if self.engine is None else self.engine.imagen.cascade.encoder
        return isinstance(encoder, TextEncoder) and bool(encoder.cut([prompt]))

    async def drain(self) -> None:
        """Take nothing more, and finish what was taken."""
        self.draining = True
        if self.engine is not None:
            await self.engine.drain(self.config.limits.drain)

    async def end(self) -> None:
        """Drain, and let the engine's workers go."""
        await self.drain()
        if self.engine is not None:
            await asyncio.to_thread(self.engine.stop)

    def sizes(self) -> list[str]:
        """What a client may ask for as size."""
        return [f"{stage.side}x{stage.side}" for stage in self.model.stages]

    def side(self, size: str | None) -> int | None:
        """A size's side in pixels; None for the largest. Refusal for one that is not drawn."""
        if size in (None, "auto"):
            return None
        for name, stage in zip(self.sizes(), self.model.stages, strict=True):
            if size == name:
                return stage.side
        options = ", ".join([*self.sizes(), "auto"])
        raise Refusal(400, f"size must be one of {options}", param="size", code="invalid_value")

    def check_model(self, name: str | None) -> None:
        """Refusal for a model that is not served."""
        if name not in (None, self.model.name, *self.config.aliases):
            raise Refusal(
                404,
                f"this server draws with {self.model.name}: leave model out, say so, or have this "
                "name put among the server's aliases",
                param="model",
                code="model_not_found",
            )


def service_of(request: Request) -> Service:
    """The service that a request came to."""
    service = request.app.state.service
    assert isinstance(service, Service)
    return service


def caller(request: Request) -> str:
    """Who asks: a key's name, or without keys an address. Refusal for a stranger's key."""
    service = service_of(request)
    if service.keys is None:
        host = request.client.host if request.client else "nowhere"
        return neighbourhood(host)
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    name = service.keys.find(key.strip()) if scheme.lower() == "bearer" else None
    if name is None:
        raise Refusal(
            401,
            "no valid API key was given: send it as Authorization: Bearer oi-...",
            code="invalid_api_key",
        )
    return name


def drawing_caller(request: Request) -> str:
    """Who asks for work, let in as often as the rate allows; asking costs a picture."""
    service, who = service_of(request), caller(request)
    service.buckets.check(who)
    service.buckets.pay(who, 1)
    return who
