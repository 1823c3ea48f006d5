"""What our web servers share: the headers of every answer, a page's files, a socket.

Nothing is loaded from elsewhere, and the policy says so.
"""

import errno
import os
import socket
from pathlib import Path

from starlette.datastructures import MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
HEADERS = {
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-robots-tag": "noindex",
}


def policy(pictures: str = "'self'") -> str:
    """The content security policy of a page, given where its pictures come from."""
    return (
        f"default-src 'none'; script-src 'self'; style-src 'self'; img-src {pictures}; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


class Headers:
    """Adds the security headers to every answer."""

    def __init__(self, app: ASGIApp, policy: str) -> None:
        self.app, self.headers = app, HEADERS | {"content-security-policy": policy}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, with them."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self.headers)
            await send(message)

        await self.app(scope, receive, send_with_headers)


class PageFiles:
    """The files of a page, by names listed once: no other can be asked for."""

    def __init__(self, folder: Path) -> None:
        self.paths = {path.name: path for path in folder.glob("*") if path.suffix in TYPES}

    def answer(self, name: str) -> Response | None:
        """A file, checked for anew by browsers each time; None if there is none of the name."""
        path = self.paths.get(name)
        if path is None:
            return None
        kind, fresh = TYPES[path.suffix], {"cache-control": "no-cache"}
        return Response(path.read_bytes(), media_type=kind, headers=fresh)


def listen(host: str, port: int) -> socket.socket:
    """A socket to serve on; port 0 finds a free one.

    ValueError for a host that is none of this machine, OSError for a port that is not to be had.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except (OSError, UnicodeError) as error:
        number = getattr(error, "errno", None)
        if isinstance(error, UnicodeError) or number == errno.EADDRNOTAVAIL or (number or 0) < 0:
            why = "is no address of this machine; choose another --host"
            raise ValueError(f"cannot serve at {host}: it {why}") from None
        why = os.strerror(number) if number else str(error)
        raise OSError(f"cannot serve at {host}:{port}: {why}; choose another --port") from None
