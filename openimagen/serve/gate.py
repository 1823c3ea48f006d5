"""What is turned away at the gate: web pages of others that use a visitor's browser to get in.

Without keys, a server on this machine trusts whoever can reach it; any page that its user opens
could then send forms to it, or give itself an address of this machine (DNS rebinding). Browsers
say where a request comes from, and under which name they think they reached us.
"""

from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from openimagen.serve import errors
from openimagen.serve.config import HERE, ServeConfig
from openimagen.serve.errors import Refusal


class Gate:
    """Refuses requests under a name that is not ours, and other sites' requests for work."""

    def __init__(self, app: ASGIApp, config: ServeConfig) -> None:
        self.app = app
        self.names = names_of(config)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let in."""
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        if refusal is None:
            await self.app(scope, receive, send)
        else:
            await errors.answer(refusal)(scope, receive, send)

    def _refusal(self, scope: Scope) -> Refusal | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self.names and name_of(host) not in self.names:
            message = f"this server is not {name_of(host)[:100]}: call it by its own name"
            return Refusal(400, message, code="invalid_host")
        if scope["method"] not in ("GET", "HEAD", "OPTIONS") and is_foreign(headers, self.names):
            message = "other sites' pages may not draw here: there is no CORS"
            return Refusal(403, message, code="cross_site")
        return None


def names_of(config: ServeConfig) -> frozenset[str]:
    """The names that a server for this machine alone is called by; any, if it is for others."""
    if not config.is_local:
        return frozenset()
    given = urlsplit(config.url).hostname if config.url else None
    return frozenset([*HERE, *([given] if given else [])])


def name_of(host: str) -> str:
    """A host header without its port."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def is_foreign(headers: Headers, names: Collection[str]) -> bool:
    """Whether a browser sends this for a page of another site."""
    if (site := headers.get("sec-fetch-site")) is not None:
        return site not in ("same-origin", "none")
    if (origin := headers.get("origin")) is None:
        return False
    try:
        whose = urlsplit(origin)
    except ValueError:
        return True
    return whose.netloc != headers.get("host", "") and (whose.hostname or "") not in names
