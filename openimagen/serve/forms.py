"""Multipart bodies: what they say, and the pictures in them, decoded.

An upload holds a slot from its first byte until its pictures are decoded. Its files lie in the
temporary folder meanwhile: in memory are no more of them than are being decoded.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from fastapi import Request
from PIL import Image
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from openimagen.serve.errors import Refusal
from openimagen.serve.reading import arriving, check_kind, in_time
from openimagen.serve.service import Service
from openimagen.serve.uploads import mask_of, picture_of

PICTURES = 4  # of one request
TEXT_BYTES = 64 * 1024  # of a text field
FIELDS = 64
IN_MEMORY = 64 * 1024  # bytes of a file that arrives; more is written to the temporary folder

T = TypeVar("T")


@dataclass
class Form:
    """Text fields and files by their names; `image[]` is `image`."""

    texts: dict[str, list[str]] = field(default_factory=dict)
    files: dict[str, list[UploadFile]] = field(default_factory=dict)


@asynccontextmanager
async def received(
    request: Request, service: Service, who: str, files: Sequence[str]
) -> AsyncIterator[Form]:
    """A multipart body, with its slot; `files` may be in it. Refusal for one wrong, or too much."""
    check_kind(request, "multipart/form-data")
    with service.uploads.take(who):
        limits = service.config.limits
        data = await in_time(_parse(request, limits.upload_bytes), limits.upload_seconds)
        try:
            yield _form_of(data, files)
        finally:
            await data.close()


async def _parse(request: Request, most: int) -> FormData:
    parser = MultiPartParser(
        request.headers,
        arriving(request, most),
        max_files=2 * PICTURES,
        max_fields=FIELDS,
        max_part_size=TEXT_BYTES,
    )
    parser.spool_max_size = IN_MEMORY
    try:
        return await parser.parse()
    except MultiPartException as error:
        raise Refusal(400, f"the form is wrong: {error.message}", code="invalid_body") from None
    except UnicodeError:  # of a charset that is none for text
        raise Refusal(400, "the form's text must be UTF-8", code="invalid_body") from None


def _form_of(data: FormData, files: Sequence[str]) -> Form:
    form = Form()
    for name, value in data.multi_items():
        if isinstance(value, UploadFile):
            form.files.setdefault(name.removesuffix("[]"), []).append(value)
        else:
            form.texts.setdefault(name, []).append(value)
    for name in form.texts:
        if name.removesuffix("[]") in files:
            message = f"{name} must be a file, not text: addresses are not fetched"
            raise Refusal(400, message, param=name, code="invalid_value")
    for name in form.files:
        if name not in files:
            raise Refusal(400, f"unknown file {name}", param=name or None, code="unknown_parameter")
    return form


async def in_turn(
    request: Request, service: Service, look: Callable[[bytes], T], file: UploadFile
) -> T:
    """What `look` makes of a file, in a thread; a few at once, none for who went away."""
    async with service.decoding:
        if await request.is_disconnected():
            raise ClientDisconnect
        return await asyncio.to_thread(lambda: look(file.file.read()))


async def pictures_of(request: Request, service: Service, form: Form) -> list[Image.Image]:
    """The form's `image`s, decoded."""
    given = form.files.get("image", [])
    if not given:
        message = "image is missing: send it as a file of a multipart form"
        raise Refusal(400, message, param="image", code="missing_required_parameter")
    if len(given) > PICTURES:
        message = f"{len(given)} images: at most {PICTURES} in one request"
        raise Refusal(400, message, param="image", code="invalid_value")
    pixels, side = service.config.limits.pixels, service.model.stages[-1].side
    look = partial(picture_of, name="image", pixels=pixels, side=side)
    return [await in_turn(request, service, look, file) for file in given]


async def mask_from(
    request: Request, service: Service, form: Form, pictures: int
) -> Image.Image | None:
    """The form's `mask`, decoded, if there is one."""
    given = form.files.get("mask", [])
    if len(given) > 1 or (given and pictures > 1):
        message = "one mask is for one image: send a request for each"
        raise Refusal(400, message, param="mask", code="invalid_value")
    if not given:
        return None
    pixels, side = service.config.limits.pixels, service.model.stages[-1].side
    look = partial(mask_of, pixels=pixels, side=side)
    return await in_turn(request, service, look, given[0])
