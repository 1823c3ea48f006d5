"""From orders to answers: hand them in, wait as long as the client does, send the pictures."""

import asyncio
import base64
import secrets
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from fastapi import Request
from PIL import Image
from pydantic import BaseModel, ConfigDict
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive

from openimagen.door import Refused
from openimagen.serve.bodies import ImageRequest
from openimagen.serve.errors import Refusal
from openimagen.serve.orders import Busy, Failed, Finished, Order, Source
from openimagen.serve.service import Service

if TYPE_CHECKING:
    from openimagen.serve.ticket import Ticket

T = TypeVar("T")


class Picture(BaseModel):
    """One picture; without one, `flagged` says why it was withheld."""

    model_config = ConfigDict(extra="forbid")
    b64_json: str | None = None
    url: str | None = None
    seed: int
    flagged: str | None


class Answer(BaseModel):
    """The pictures of a request, and what was asked for and not done."""

    model_config = ConfigDict(extra="forbid")
    created: int
    data: list[Picture]
    output_format: str
    size: str
    background: str
    notes: list[str]


@dataclass(frozen=True)
class Asked:
    """A request for pictures: what was said, the orders it comes to, and whose it is."""

    body: ImageRequest
    orders: Sequence[Order]
    who: str
    notes: Sequence[str]  # what was said and is not done


def asked(
    service: Service, body: ImageRequest, sources: Sequence[Source | None], who: str
) -> Asked:
    """What a request comes to. Refusal for what is not drawn here."""
    orders = orders_of(service, body, sources)
    notes = body.notes()
    if service.cuts(orders[0].prompt):
        notes.append("the prompt is longer than the model reads: its end was left out")
    return Asked(body, orders, who, notes)


def orders_of(
    service: Service, body: ImageRequest, sources: Sequence[Source | None]
) -> list[Order]:
    """One order for each picture: n of each source, or n from nothing."""
    service.check_model(body.model)
    check_body(service, body)
    seed = secrets.randbelow(2**31) if body.seed is None else body.seed
    return [
        Order(
            prompt=getattr(body, "prompt", ""),
            seed=seed + number,
            size=service.side(body.size),
            steps=None if body.steps is None else tuple(body.steps),
            guidance=None if body.guidance is None else tuple(body.guidance),
            negative=getattr(body, "negative_prompt", None),
            sampler=body.sampler,
            transparent=body.is_transparent,
            partials=(body.partial_images or 0) if body.stream else 0,
            source=source,
        )
        for source in sources
        for number in range(body.count)
    ]


def check_body(service: Service, body: ImageRequest) -> None:
    """Refusal for more steps than this server takes, or transparency in a JPEG."""
    if body.response_format == "url" and not service.config.keeps_links:
        message = "links are not kept by a server of several replicas: leave response_format out"
        raise Refusal(400, message, param="response_format", code="invalid_value")
    most = service.config.limits.steps
    if body.steps and max(body.steps) > most:
        message = f"steps: at most {most} of a stage"
        raise Refusal(400, message, param="steps", code="invalid_value")
    if body.is_transparent and body.format == "jpeg":
        message = "background: JPEG knows no transparency; ask for output_format png or webp"
        raise Refusal(400, message, param="background", code="invalid_value")


async def hand_in(service: Service, asked: Asked) -> "Ticket":
    """The engine's ticket for orders. Refusal if it will not have them."""
    engine = service.at_work()
    try:
        ticket = await asyncio.to_thread(engine.submit, asked.orders, asked.who)
    except Refused as refused:
        code = "content_policy_violation"
        param = refused.finding.where
        raise Refusal(400, str(refused), param=param, code=code) from None
    except ValueError as error:
        raise Refusal(400, str(error), code="invalid_value") from None
    except Busy as busy:
        raise Refusal(
            429, str(busy), code="queue_full", retry_after=float(busy.retry_after)
        ) from None
    service.buckets.pay(asked.who, len(asked.orders) - 1)  # one was paid for coming in
    return ticket


async def answered(request: Request, service: Service, asked: Asked) -> Response:
    """All pictures in one answer; given up when the client goes away."""
    ticket = await hand_in(service, asked)
    try:
        ends = await while_connected(request, drawn(service, asked, ticket))
    except BaseException:
        ticket.cancel()
        raise
    notes = dict.fromkeys(note for end, _ in ends for note in (*asked.notes, *end.notes))
    answer = Answer(
        created=int(time.time()),
        data=[as_said(request, service, asked.body, one) for one in ends],
        output_format=asked.body.format,
        size=next(size_of(end.image) for end, _ in ends if end.image is not None),
        background="transparent" if asked.body.is_transparent else "opaque",
        notes=[*notes],
    )
    content = answer.model_dump_json(exclude_unset=True)
    return Response(content, media_type="application/json", headers={"cache-control": "no-store"})


Encoded = tuple[Finished, bytes | None]


async def drawn(service: Service, asked: Asked, ticket: "Ticket") -> list[Encoded]:
    """Each order's end with its picture's file. Refusal if one fails, or none passes."""
    ends: dict[int, Encoded] = {}
    async for event in ticket:
        if isinstance(event, Failed):
            raise failure(event)
        if isinstance(event, Finished):
            ends[event.number] = event, await encoded(service, asked, event.image, event.number)
    check_passed([end for end, _ in ends.values()])
    return [ends[number] for number in sorted(ends)]


def failure(event: Failed) -> Refusal:
    """The answer to a picture that could not be drawn."""
    if event.retry_after is None:
        return Refusal(500, event.reason, code="drawing_failed")
    late = Refusal(503, event.reason, code="too_late", retry_after=float(event.retry_after))
    never = {"x-should-retry": "false"}  # OpenAI's clients would spend as long again, twice
    late.headers = {**(late.headers or {}), **never}
    return late


def check_passed(ends: Sequence[Finished]) -> None:
    """Refusal if every picture was withheld."""
    reasons = [end.flagged for end in ends if end.image is None]
    if ends and len(reasons) == len(ends):
        raise Refusal(400, str(reasons[0]), code="content_policy_violation")


async def encoded(
    service: Service, asked: Asked, image: Image.Image | None, number: int
) -> bytes | None:
    """A picture as a signed file, as the client wants it."""
    if image is None:
        return None
    edited, quality = asked.orders[number].source is not None, asked.body.output_compression
    encode = service.door.encode
    return await asyncio.to_thread(encode, image, asked.body.format, quality, edited=edited)


def as_said(request: Request, service: Service, body: ImageRequest, one: Encoded) -> Picture:
    """A picture in an answer: its bytes, or a link to them."""
    end, data = one
    if data is None:
        return Picture(b64_json=None, seed=end.seed, flagged=end.flagged)
    if body.response_format != "url":
        return Picture(b64_json=as_text(data), seed=end.seed, flagged=None)
    token = service.links.keep(data, f"image/{body.format}")
    home = service.config.url or str(request.base_url).rstrip("/")
    return Picture(url=f"{home}/pictures/{token}", seed=end.seed, flagged=None)


def as_text(data: bytes) -> str:
    """Bytes in base64."""
    return base64.b64encode(data).decode()


def size_of(image: Image.Image) -> str:
    """The size of a picture, as 1024x1024."""
    return f"{image.width}x{image.height}"


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """What comes of the work, which is given up with ClientDisconnect if the client goes away."""
    task, left = asyncio.ensure_future(work), asyncio.ensure_future(gone(request.receive))
    try:
        await asyncio.wait({task, left}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        for one in (task, left):
            one.cancel()
        await asyncio.gather(task, left, return_exceptions=True)


async def gone(receive: Receive) -> None:
    """Wait until the client goes away."""
    while (await receive())["type"] != "http.disconnect":
        pass
