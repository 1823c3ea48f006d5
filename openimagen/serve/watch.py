"""What surrounds every request: its id, its line in the log, its count, its last resort."""

import json
import logging
import re
import secrets
import time
from datetime import UTC, datetime
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from openimagen.serve import errors
from openimagen.serve.errors import Refusal
from openimagen.serve.metrics import Metrics

SANE = re.compile(r"[A-Za-z0-9._-]{8,128}")
GONE = 499  # the client went away: nginx's number for it
ELSEWHERE = "none"  # the route of what is nowhere

log = logging.getLogger("openimagen.serve")


class Watched:
    """Gives a request an id, answers what nobody else did, and tells log and metrics how it went.

    Told are method, route, status and times; never an address of a picture, nor what was asked
    for.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        name = given if SANE.fullmatch(given) else f"req_{secrets.token_hex(12)}"
        scope["request_id"], began, status = name, time.perf_counter(), 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["x-request-id"] = name
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        except ClientDisconnect:
            status = GONE
        except Exception:
            log.exception("a request failed", extra={"told": {"id": name}})
            if status == 0:
                failed = Refusal(500, f"the server failed; its log says why, under {name}")
                await errors.answer(failed)(scope, receive, send_with_id)
            status = 500
        finally:
            self._tell(scope, status or GONE, time.perf_counter() - began)

    def _tell(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", ELSEWHERE)
        method = scope["method"] if scope["method"] in METHODS else "other"
        self.metrics.requests.labels(method, route, status).inc()
        self.metrics.seconds.labels(route).observe(seconds)
        told = {
            "id": scope["request_id"],
            "method": method,
            "route": route,
            "status": status,
            "seconds": round(seconds, 4),
            **scope.get("told", {}),
        }
        level = logging.DEBUG if route in QUIET else logging.INFO
        log.log(level, "request", extra={"told": told})


METHODS = {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"}
QUIET = {"/healthz", "/readyz", "/metrics", "/page/{name}"}


class JsonLines(logging.Formatter):
    """A line of JSON for each thing that happened."""

    def format(self, record: logging.LogRecord) -> str:
        """One record."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "told", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)
