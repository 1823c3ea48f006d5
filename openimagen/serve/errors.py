"""Every error in one shape, OpenAI's: {"error": {"message", "type", "param", "code"}}."""

import difflib
import math
from collections.abc import Iterable
from typing import Any, Literal

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

Kind = Literal["invalid_request_error", "rate_limit_error", "server_error"]
CODES = {401: "invalid_api_key", 404: "not_found", 405: "method_not_allowed"}


class Problem(BaseModel):
    """What is wrong, in one line, and with which parameter."""

    model_config = ConfigDict(extra="forbid")
    message: str
    type: Kind
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """The body of every error."""

    model_config = ConfigDict(extra="forbid")
    error: Problem


class Refusal(HTTPException):
    """A request that is not served."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        headers = None if retry_after is None else wait(retry_after)
        super().__init__(status, message, headers)
        self.param, self.code = param, code


def wait(seconds: float) -> dict[str, str]:
    """The headers that tell when to come again: in whole seconds, and in OpenAI's own precision."""
    thousandths = max(1, math.ceil(1000 * seconds))
    return {"retry-after": str(math.ceil(thousandths / 1000)), "retry-after-ms": str(thousandths)}


def body(status: int, message: str, param: str | None = None, code: str | None = None) -> ErrorBody:
    """An error as it is sent."""
    kind: Kind = "invalid_request_error"
    if status == 429:
        kind = "rate_limit_error"
    elif status >= 500:
        kind = "server_error"
    line = " ".join(message.split())
    return ErrorBody(
        error=Problem(message=line, type=kind, param=param, code=code or CODES.get(status))
    )


def answer(error: HTTPException) -> JSONResponse:
    """An error's answer."""
    content = body(
        error.status_code,
        str(error.detail),
        getattr(error, "param", None),
        getattr(error, "code", None),
    )
    headers = {**(error.headers or {}), "cache-control": "no-store"}
    return JSONResponse(content.model_dump(), error.status_code, headers)


def install(app: FastAPI) -> None:
    """Have the app answer errors of its own, of Starlette's and of FastAPI's in the one shape."""

    def refused(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        if isinstance(error, Refusal) or error.status_code not in (404, 405):
            return answer(error)
        known = {
            404: "there is nothing at this address: the API is at /v1, its description at "
            "/openapi.json",
            405: f"{request.method} is not allowed here: use {(error.headers or {}).get('Allow')}",
        }
        return answer(HTTPException(error.status_code, known[error.status_code], error.headers))

    def invalid(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        param = str(first["loc"][-1]) if first["loc"] else None
        return answer(Refusal(400, f"{param}: {first['msg']}", param=param, code="invalid_value"))

    app.add_exception_handler(HTTPException, refused)
    app.add_exception_handler(RequestValidationError, invalid)


def first_problem(error: ValidationError, known: Iterable[str]) -> tuple[str, str, str]:
    """Where, why and by pydantic's type: what is wrong first of all, strangers named before all."""
    problems: list[Any] = sorted(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
    first = problems[0]
    where = ".".join(map(str, first["loc"]))
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(first["loc"][-1]), list(known), 1)
        return where, f"did you mean {near[0]}?" if near else "there is no such one", first["type"]
    return where, first["msg"].removeprefix("Value error, "), first["type"]
