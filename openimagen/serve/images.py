"""/v1/images: pictures from words, from pictures, and what pictures say of themselves."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request
from PIL import Image
from pydantic import BaseModel, ConfigDict
from starlette.responses import Response

from openimagen.editing import VARY, Source
from openimagen.serve.answers import Answer, Asked, answered, asked
from openimagen.serve.bodies import (
    Edit,
    Generation,
    ImageRequest,
    Upscale,
    Variation,
    from_form,
    from_json,
)
from openimagen.serve.description import (
    DRAWING,
    IMAGE,
    IMAGES,
    MASK,
    Schema,
    drawing_answers,
    form_body,
    json_body,
    may_answer,
)
from openimagen.serve.errors import Refusal
from openimagen.serve.forms import in_turn, mask_from, pictures_of, received
from openimagen.serve.reading import read_json
from openimagen.serve.service import Service, drawing_caller, service_of
from openimagen.serve.streams import streamed
from openimagen.serve.uploads import check_picture

routes = APIRouter(prefix="/v1/images")
Caller = Annotated[str, Depends(drawing_caller)]


class WatermarkFound(BaseModel):
    """The watermark in a picture; `model` is its name if the package has one of the number."""

    model_config = ConfigDict(extra="forbid")
    model: str | None
    model_number: int
    seed_number: int


class CredentialsFound(BaseModel):
    """What is signed in a picture's file, from the signing certificate up in `chain`."""

    model_config = ConfigDict(extra="forbid")
    status: Literal["trusted", "untrusted", "tampered", "none"]
    generator: str | None
    model: str | None
    when: str | None
    edited: bool
    chain: list[str]
    problems: list[str]


class Verdict(BaseModel):
    """What a picture says of itself."""

    model_config = ConfigDict(extra="forbid")
    watermark: WatermarkFound | None
    credentials: CredentialsFound


def drawing(body: Schema) -> dict[str, Any]:
    """How a route that draws is described."""
    return {"response_model": Answer, "responses": drawing_answers(), "openapi_extra": body}


@routes.post("/generations", **drawing(json_body(Generation)))
async def generations(request: Request, who: Caller) -> Response:
    """Draw pictures from words."""
    service = service_of(request)
    body = from_json(Generation, await read_json(request, service.config.limits))
    if not body.prompt:
        message = 'the prompt is empty: say what to draw, as in "a red apple"'
        raise Refusal(400, message, param="prompt", code="invalid_value")
    return await drawn(request, service, body, [None], who)


@routes.post("/edits", **drawing(form_body(Edit, image=IMAGES, mask=MASK)))
async def edits(request: Request, who: Caller) -> Response:
    """Draw pictures anew from pictures; with a mask, only where that is transparent.

    Without a prompt a picture is restored from noise as the model sees fit.
    """
    service = service_of(request)
    async with received(request, service, who, ["image", "mask"]) as form:
        body = from_form(Edit, form.texts)
        pictures = await pictures_of(request, service, form)
        mask = await mask_from(request, service, form, len(pictures))
    if mask is not None and not body.prompt:
        message = "the prompt is missing: say what to draw where the mask is transparent"
        raise Refusal(400, message, param="prompt", code="missing_required_parameter")
    sources = [sourced(picture, mask, body.strength) for picture in pictures]
    return await drawn(request, service, body, sources, who)


@routes.post("/variations", **drawing(form_body(Variation, image=IMAGES)))
async def variations(request: Request, who: Caller) -> Response:
    """Draw pictures like a picture."""
    service = service_of(request)
    async with received(request, service, who, ["image"]) as form:
        body = from_form(Variation, form.texts)
        pictures = await pictures_of(request, service, form)
    strength = VARY if body.strength is None else body.strength
    sources = [sourced(picture, None, strength) for picture in pictures]
    return await drawn(request, service, body, sources, who)


@routes.post("/upscales", **drawing(form_body(Upscale, image=IMAGES)))
async def upscales(request: Request, who: Caller) -> Response:
    """Take pictures as a lower stage's, and draw them larger."""
    service = service_of(request)
    async with received(request, service, who, ["image"]) as form:
        body = from_form(Upscale, form.texts)
        pictures = await pictures_of(request, service, form)
    sources = [Source(picture, task="upscale") for picture in pictures]
    return await drawn(request, service, body, sources, who)


@routes.post("/verify", responses=may_answer(*DRAWING), openapi_extra=form_body(None, image=IMAGE))
async def verify(request: Request, who: Caller) -> Verdict:
    """Tell what a picture says of itself: its watermark, and who signed what."""
    service = service_of(request)
    async with received(request, service, who, ["image"]) as form:
        if form.texts:
            name = next(iter(form.texts))
            message = f"unknown parameter {name}: verify takes an image alone"
            raise Refusal(400, message, param=name, code="unknown_parameter")
        given = form.files.get("image", [])
        if len(given) != 1:
            raise Refusal(400, "send one image", param="image", code="missing_required_parameter")
        models = [] if service.engine is None else [service.door.model]
        look = partial(verdict_on, pixels=service.config.limits.pixels, models=models)
        return await in_turn(request, service, look, given[0])


def verdict_on(data: bytes, pixels: int, models: Sequence[str]) -> Verdict:
    """What a picture's file says of itself; `models`: those whose marks are known, too.

    Refusal for what cannot be decoded, unless it was signed and has been changed since.
    """
    from openimagen.verify import verify as look
    from openimagen.verify import verify_unreadable

    try:
        check_picture(data, "image", pixels)
        found = look(data, models=models)
    except Refusal as refusal:
        unreadable = verify_unreadable(data, refusal.detail)
        if unreadable is None:
            raise
        found = unreadable
    except ValueError as error:
        raise Refusal(400, f"image: {error}", param="image", code="invalid_image") from None
    return Verdict.model_validate(found.as_json())


def sourced(picture: Image.Image, mask: Image.Image | None, strength: float | None) -> Source:
    """What a new picture is made from. Refusal for a mask that does not fit."""
    try:
        return Source(picture, mask, strength)
    except ValueError as error:
        raise Refusal(400, str(error), param="mask", code="invalid_value") from None


async def drawn(
    request: Request,
    service: Service,
    body: ImageRequest,
    sources: Sequence[Source | None],
    who: str,
) -> Response:
    """The pictures, in one answer or as they come."""
    this = asked(service, body, sources, who)
    tell_log(request, service, this)
    if body.stream:
        return await streamed(service, this)
    return await answered(request, service, this)


def tell_log(request: Request, service: Service, asked: Asked) -> None:
    """What the log may know of a request: no prompt, unless whoever runs the server wants it."""
    told: dict[str, Any] = {"pictures": len(asked.orders), "size": asked.body.size or "auto"}
    if service.keys is not None:
        told["key"] = asked.who
    if service.config.log_prompts:
        told["prompt"] = asked.orders[0].prompt
    request.scope["told"] = told
