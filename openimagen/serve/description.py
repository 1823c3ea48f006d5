"""What /openapi.json says: bodies as they are checked, every error, and no more."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from openimagen.imagen import MAX_SEED
from openimagen.serve.bodies import ImageRequest
from openimagen.serve.errors import ErrorBody
from openimagen.serve.service import Service

Schema = dict[str, Any]
WHY = {
    400: "The request is wrong, or its prompt or pictures are refused.",
    401: "No valid key.",
    403: "A browser asks for another site's page.",
    404: "There is no such thing.",
    408: "The body took too long to arrive.",
    413: "The body is too large.",
    429: "Too much at once: come again after `retry-after` seconds.",
    500: "The server failed.",
    503: "The model is loading, the server is going down, or a picture took too long.",
}
DRAWING = (400, 401, 403, 404, 408, 413, 429, 500, 503)
EVENT: Schema = {
    "type": "object",
    "properties": {
        "event": {"type": "string", "description": "The `type` that is also in the data."},
        "data": {"type": "string", "contentMediaType": "application/json"},
    },
    "required": ["event", "data"],
}
STREAM = {"text/event-stream": {"itemSchema": EVENT}}
FILE: Schema = {"type": "string", "format": "binary"}
IMAGE = FILE | {"description": "PNG, JPEG, WebP or GIF."}
IMAGES: Schema = {
    "description": "Up to four files, n pictures of each; also as `image[]`.",
    "type": "array",
    "items": IMAGE,
    "minItems": 1,
    "maxItems": 4,
}
MASK = FILE | {
    "description": "Of the image's size: draw anew where it is transparent or, if it nowhere is, "
    "where it is black."
}


def may_answer(*statuses: int) -> dict[int | str, Schema]:
    """The errors of a route."""
    return {status: {"model": ErrorBody, "description": WHY[status]} for status in statuses}


def drawing_answers() -> dict[int | str, Schema]:
    """The answers of a route that draws: pictures, their stream, every error."""
    return {200: {"content": STREAM, "description": "Pictures."}, **may_answer(*DRAWING)}


def json_body(kind: type[ImageRequest]) -> Schema:
    """A JSON body's description."""
    return body("application/json", kind.model_json_schema())


def form_body(kind: type[ImageRequest] | None, **files: Schema) -> Schema:
    """A form: the fields of `kind` as text, and files: all but a mask must be there."""
    fields = {} if kind is None else kind.model_json_schema()["properties"]
    schema = {
        "type": "object",
        "additionalProperties": False,
        "properties": {name: as_text(field) for name, field in fields.items()} | files,
        "required": [name for name in files if name != "mask"],
    }
    return body("multipart/form-data", schema)


def as_text(field: Schema) -> Schema:
    """A field of a form, which knows neither null nor an empty list."""
    options = [
        {key: value for key, value in option.items() if key != "minItems"}
        for option in field.get("anyOf", [])
        if option.get("type") != "null"
    ]
    if not options:
        return field if "type" in field else field | {"type": "string"}
    rest = {key: value for key, value in field.items() if key not in ("anyOf", "default")}
    return rest | (options[0] if len(options) == 1 else {"anyOf": options})


def body(kind: str, schema: Schema) -> Schema:
    """An operation's body."""
    return {"requestBody": {"required": True, "content": {kind: {"schema": schema}}}}


def describe(app: FastAPI, service: Service) -> Schema:
    """The description of this server: its model's sizes, and keys if it wants them."""
    schema = get_openapi(
        title=app.title, version=app.version, summary=app.summary, routes=app.routes
    )
    schemas = schema["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):  # which no answer has
        schemas.pop(name, None)
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            operation["responses"].pop("422", None)
            for content in operation.get("requestBody", {}).get("content", {}).values():
                as_served(content["schema"]["properties"], service)
            if service.keys is not None and path.startswith("/v1/"):
                operation["security"] = [{"key": []}]
    if service.keys is not None:
        bearer = {"type": "http", "scheme": "bearer"}
        schema["components"]["securitySchemes"] = {"key": bearer}
    return schema


def as_served(fields: Schema, service: Service) -> None:
    """Say what this server takes: its model's sizes, as many steps as it allows."""
    if "size" in fields:
        fields["size"] = {"type": "string", "enum": [*service.sizes(), "auto"]}
    for option in fields.get("steps", {}).get("anyOf", []):
        number = option.get("items", option)
        if "maximum" in number:
            number["maximum"] = service.config.limits.steps
    for option in (seed := fields.get("seed", {})).get("anyOf", [seed]):
        if "maximum" in option:
            option["maximum"] = MAX_SEED  # which FastAPI rounds
