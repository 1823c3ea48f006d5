"""What a browser asks for: the studio's page, and pictures by their links."""

from pathlib import Path

from fastapi import APIRouter, Request
from starlette.responses import Response

from openimagen.serve.description import FILE, may_answer
from openimagen.serve.errors import Refusal
from openimagen.serve.service import service_of
from openimagen.web import PageFiles

PAGE = Path(__file__).parent / "page"
PICTURES = {f"image/{kind}": {"schema": FILE} for kind in ("png", "jpeg", "webp")}


def router(folder: Path) -> APIRouter:
    """The routes; the page's files are those that are in the folder now."""
    routes, files = APIRouter(), PageFiles(folder)

    @routes.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    def index() -> Response:
        return file("index.html")

    @routes.api_route("/page/{name}", methods=["GET", "HEAD"], include_in_schema=False)
    def file(name: str) -> Response:
        answer = files.answer(name)
        if answer is None:
            raise Refusal(404, "there is no such page")
        return answer

    @routes.get(
        "/pictures/{token}",
        response_class=Response,
        responses={200: {"content": PICTURES}, **may_answer(400, 404, 500)},
    )
    async def picture(request: Request, token: str) -> Response:
        """A picture of an answer with response_format url, for as long as it is kept."""
        links = service_of(request).links
        kept = links.find(token)
        if kept is None:
            raise Refusal(404, "this picture is not kept any more: draw it again")
        age = f"private, max-age={links.left(kept):.0f}"
        headers = {"cache-control": age, "content-disposition": "inline"}
        return Response(kept.data, media_type=kept.mime, headers=headers)

    return routes
