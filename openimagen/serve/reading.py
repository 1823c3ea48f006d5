"""Bodies as they stream in: counted, timed, and given up on when they are too much."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from typing import Any, TypeVar

from fastapi import Request

from openimagen.serve.config import Limits
from openimagen.serve.errors import Refusal

T = TypeVar("T")


async def read_json(request: Request, limits: Limits) -> bytes:
    """A JSON body. Refusal for another kind, one too long, or one that takes too long."""
    check_kind(request, "application/json")

    async def read() -> bytes:
        return b"".join([chunk async for chunk in arriving(request, limits.json_bytes)])

    return await in_time(read(), limits.upload_seconds)


async def in_time(reading: Coroutine[Any, Any, T], seconds: float) -> T:
    """What is read. Refusal if it takes too long to arrive."""
    try:
        async with asyncio.timeout(seconds):
            return await reading
    except TimeoutError:
        raise Refusal(408, f"the body took over {seconds:g} s to arrive", code="too_slow") from None


def check_kind(request: Request, kind: str) -> None:
    """Refusal for a body of another content type."""
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given != kind:
        raise Refusal(400, f"the body must be {kind}: say so as content-type", code="invalid_body")


async def arriving(request: Request, most: int) -> AsyncGenerator[bytes, None]:
    """The chunks of a body. Refusal once it has, or says it will have, more bytes than it may."""
    told = request.headers.get("content-length", "")
    count, too_large = 0, Refusal(413, f"a body has at most {most} bytes here", code="too_large")
    if told.isdecimal() and int(told) > most:
        raise too_large
    async for chunk in request.stream():
        count += len(chunk)
        if count > most:
            raise too_large
        yield chunk
