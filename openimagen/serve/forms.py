"""Multipart bodies: what they say, and the pictures in them, decoded."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from fastapi import Request
from PIL import Image
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from openimagen.serve.errors import Refusal
from openimagen.serve.reading import arriving, check_kind, in_time
from openimagen.serve.service import Service
from openimagen.serve.uploads import mask_of, picture_of

PICTURES = 4  # of one request
TEXT_BYTES = 64 * 1024  # of a text field
FIELDS = 64


@dataclass
class Form:
    """Text fields and files by their names; `image[]` is `image`."""

    texts: dict[str, list[str]] = field(default_factory=dict)
    files: dict[str, list[bytes]] = field(default_factory=dict)


async def read_form(request: Request, service: Service, files: Sequence[str]) -> Form:
    """A multipart body; `files` may be in it. Refusal for one that is wrong, or too much."""
    check_kind(request, "multipart/form-data")
    if service.uploads.locked():
        raise Refusal(429, "too many uploads at once", code="uploads_full", retry_after=1.0)
    async with service.uploads:
        limits = service.config.limits
        form = await in_time(_parse(request, limits.upload_bytes), limits.upload_seconds)
    for name in [*form.texts]:
        if name.removesuffix("[]") in files:
            message = f"{name} must be a file, not text: addresses are not fetched"
            raise Refusal(400, message, param=name, code="invalid_value")
    for name in form.files:
        if name not in files:
            raise Refusal(400, f"unknown file {name}", param=name or None, code="unknown_parameter")
    return form


async def _parse(request: Request, most: int) -> Form:
    parser = MultiPartParser(
        request.headers,
        arriving(request, most),
        max_files=2 * PICTURES,
        max_fields=FIELDS,
        max_part_size=TEXT_BYTES,
    )
    try:
        data = await parser.parse()
    except MultiPartException as error:
        raise Refusal(400, f"the form is wrong: {error.message}", code="invalid_body") from None
    except UnicodeError:  # of a charset that is none for text
        raise Refusal(400, "the form's text must be UTF-8", code="invalid_body") from None
    form = Form()
    try:
        for name, value in data.multi_items():
            if isinstance(value, UploadFile):
                content = await value.read()
                form.files.setdefault(name.removesuffix("[]"), []).append(content)
            else:
                form.texts.setdefault(name, []).append(value)
    finally:
        await data.close()
    return form


async def pictures_of(form: Form, service: Service) -> list[Image.Image]:
    """The form's `image`s, decoded."""
    given = form.files.get("image", [])
    if not given:
        message = "image is missing: send it as a file of a multipart form"
        raise Refusal(400, message, param="image", code="missing_required_parameter")
    if len(given) > PICTURES:
        message = f"{len(given)} images: at most {PICTURES} in one request"
        raise Refusal(400, message, param="image", code="invalid_value")
    pixels, side = service.config.limits.pixels, service.model.stages[-1].side
    async with service.decoding:
        return [await asyncio.to_thread(picture_of, data, "image", pixels, side) for data in given]


async def mask_from(form: Form, service: Service, pictures: int) -> Image.Image | None:
    """The form's `mask`, decoded, if there is one."""
    given = form.files.get("mask", [])
    if len(given) > 1 or (given and pictures > 1):
        message = "one mask is for one image: send a request for each"
        raise Refusal(400, message, param="mask", code="invalid_value")
    if not given:
        return None
    limits, side = service.config.limits, service.model.stages[-1].side
    async with service.decoding:
        return await asyncio.to_thread(partial(mask_of, given[0], limits.pixels, side))
