"""Server-sent events: pictures as they become clear, for as long as the client stays."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from PIL import Image
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from openimagen.serve import errors
from openimagen.serve.answers import (
    Asked,
    as_text,
    check_passed,
    encoded,
    failure,
    gone,
    hand_in,
    size_of,
)
from openimagen.serve.errors import Refusal
from openimagen.serve.orders import Failed, Finished, Preview, Queued
from openimagen.serve.service import Service

if TYPE_CHECKING:
    from openimagen.serve.ticket import Ticket

PULSE = 15.0  # seconds of silence that no proxy should take for death
USAGE = {
    "input_tokens": 0,
    "input_tokens_details": {"image_tokens": 0, "text_tokens": 0},
    "output_tokens": 0,
    "total_tokens": 0,
}


async def streamed(service: Service, asked: Asked) -> Response:
    """The events of orders as an answer. Refusal, before it begins, for those that are refused."""
    if asked.body.response_format == "url":
        message = 'a stream carries its pictures: leave response_format "url" out'
        raise Refusal(400, message, param="response_format", code="invalid_value")
    ticket = await hand_in(service, asked)
    return EventStream(Telling(service, asked, ticket).events(), ticket)


class Telling:
    """One request's events, in OpenAI's shape and ours."""

    def __init__(self, service: Service, asked: Asked, ticket: "Ticket") -> None:
        self.service, self.asked, self.ticket = service, asked, ticket
        self.family = "image_generation" if asked.orders[0].source is None else "image_edit"
        self.ends: list[Finished] = []
        self.withheld: list[dict[str, Any]] = []
        self.failed: Failed | None = None

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """What happens, until every order has ended; an error is the last."""
        try:
            async for event in self.ticket:
                if isinstance(event, Queued) and self.asked.body.progress:
                    yield {"type": "openimagen.queued", "position": event.position}
                elif isinstance(event, Preview):
                    yield await self._preview(event)
                elif isinstance(event, Finished):
                    told = await self._completed(event)
                    if event.image is None:
                        self.withheld.append(told)  # if no other passes, it is an error
                    else:
                        yield told
                elif isinstance(event, Failed):
                    self.failed = event
            if self.failed:
                raise failure(self.failed)
            check_passed(self.ends)
            for told in self.withheld:
                yield told
        except Refusal as error:
            body = errors.body(error.status_code, str(error.detail), error.param, error.code)
            yield {"type": "error", **body.model_dump()}

    async def _preview(self, event: Preview) -> dict[str, Any]:
        told = await self._picture("partial_image", event.image, event.number)
        return told | {
            "partial_image_index": event.index,
            "stage": event.stage,
            "call": event.call,
            "calls": event.calls,
            "log_snr": event.log_snr,
        }

    async def _completed(self, event: Finished) -> dict[str, Any]:
        self.ends.append(event)
        told = await self._picture("completed", event.image, event.number)
        notes = [*self.asked.notes, *event.notes]
        return told | {
            "usage": USAGE,
            "seed": event.seed,
            "flagged": event.flagged,
            "notes": notes,
        }

    async def _picture(self, what: str, image: Image.Image | None, number: int) -> dict[str, Any]:
        data = await encoded(self.service, self.asked, image, number)
        return {
            "type": f"{self.family}.{what}",
            "b64_json": None if data is None else as_text(data),
            "created_at": int(time.time()),
            "size": "auto" if image is None else size_of(image),
            "quality": "auto",
            "background": "transparent" if self.asked.body.is_transparent else "opaque",
            "output_format": self.asked.body.format,
            "image_index": number,
        }


class EventStream(Response):
    """Sends events until they end, or the client goes away: then cancels."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncIterator[dict[str, Any]], ticket: "Ticket") -> None:
        self.status_code, self.background = 200, None
        self.init_headers({"cache-control": "no-store", "x-accel-buffering": "no"})
        self.events, self.ticket = events, ticket

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        told = asyncio.ensure_future(self._tell(send))
        work = [told, *map(asyncio.ensure_future, (self._beat(send), gone(receive)))]
        try:
            await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
            if not told.done():
                raise ClientDisconnect
            told.result()
        finally:
            self.ticket.cancel()
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)

    async def _tell(self, send: Send) -> None:
        headers = self.raw_headers
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        async for event in self.events:
            text = f"event: {event['type']}\ndata: {json.dumps(event)}\n\n"
            await send(part(text.encode()))
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _beat(self, send: Send) -> None:
        while True:
            await asyncio.sleep(PULSE)
            await send(part(b": still here\n\n"))


def part(chunk: bytes) -> Message:
    """A part of a body, not the last."""
    return {"type": "http.response.body", "body": chunk, "more_body": True}
