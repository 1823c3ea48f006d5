"""The study over HTTP: a page without build step, a small JSON interface, and pictures.

A rater's token is the fragment of the invitation link, which browsers keep to themselves; the page
sends it as a bearer token. Nothing is loaded from elsewhere, and the policy says so.
"""

import logging
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import uvicorn
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from openimagen.evaluate.study.booth import Booth, UnknownPage
from openimagen.evaluate.study.votes import Rater
from openimagen.web import Headers, PageFiles, policy

PAGE = Path(__file__).parent / "page"
POLICY = policy()
LONGEST = 1024  # bytes of a vote

log = logging.getLogger(__name__)


class Said(BaseModel):
    """The body of a vote."""

    model_config = ConfigDict(extra="forbid")
    answer: str = Field(max_length=32)


def build(booth: Booth) -> Starlette:
    """The application."""

    def who(request: Request) -> Rater:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        rater = booth.votes.rater(token) if scheme.lower() == "bearer" else None
        if rater is None:
            raise HTTPException(401, "this invitation is not valid: ask for a new link")
        return rater

    def session(request: Request) -> Response:
        return _private(booth.overview(who(request)))

    def page(request: Request) -> Response:
        return _private(booth.page(who(request), request.path_params["key"]))

    async def vote(request: Request) -> Response:
        rater = await run_in_threadpool(who, request)
        key, question = request.path_params["key"], request.path_params["question"]
        said = await _read_vote(request)
        try:
            await run_in_threadpool(booth.vote, rater, key, question, said.answer)
        except ValueError as error:
            raise HTTPException(422, str(error)) from None
        return _private({"saved": True})

    def picture(request: Request) -> Response:
        place = request.path_params
        full = request.query_params.get("full") == "1"
        try:
            body = booth.picture(place["key"], place["side"], place["number"], full=full)
        except ValueError as error:  # names a file, which is not for raters
            log.error("%s", error)
            raise HTTPException(500, "this picture cannot be shown") from None
        kept = {"cache-control": "private, max-age=86400, immutable"}
        return Response(body, media_type="image/webp", headers=kept)

    files = PageFiles(PAGE)

    def file(request: Request) -> Response:
        answer = files.answer(request.path_params.get("name", "index.html"))
        if answer is None:
            raise HTTPException(404, "no such page")
        return answer

    routes = [
        Route("/", file),
        Route("/page/{name}", file),
        Route("/api/session", session),
        Route("/api/pages/{key}", page),
        Route("/api/pages/{key}/{question}", vote, methods=["PUT"]),
        Route("/pictures/{key}/{side:int}/{number:int}", picture),
    ]
    errors: Mapping[Any, Any] = {HTTPException: _refused, UnknownPage: _refused}
    app = Starlette(routes=routes, exception_handlers=errors)
    app.add_middleware(Headers, policy=POLICY)
    return app


async def _read_vote(request: Request) -> Said:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > LONGEST:
            raise HTTPException(413, f"a vote has at most {LONGEST} bytes")
    try:
        return Said.model_validate_json(body)
    except ValidationError:
        raise HTTPException(422, 'a vote is {"answer": "..."}') from None


def _private(content: dict[str, Any]) -> Response:
    return JSONResponse(content, headers={"cache-control": "no-store"})


def _refused(_: Request, error: Exception) -> Response:
    status, why = 404, str(error)
    if isinstance(error, HTTPException):
        status, why = error.status_code, error.detail
    return JSONResponse({"error": why}, status, headers={"cache-control": "no-store"})


def serve(booth: Booth, door: socket.socket) -> None:
    """Answer raters until interrupted."""
    config = uvicorn.Config(
        build(booth), log_level="warning", access_log=False, server_header=False, lifespan="off"
    )
    uvicorn.Server(config).run(sockets=[door])
