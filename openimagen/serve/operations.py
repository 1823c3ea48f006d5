"""What whoever runs the server asks: is it alive, is it ready, how is it doing."""

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import PlainTextResponse, Response

from openimagen.serve.description import may_answer
from openimagen.serve.service import service_of

routes = APIRouter()


@routes.get("/healthz", responses=may_answer(400, 500))
async def healthz() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@routes.get("/readyz", responses=may_answer(400, 500, 503))
async def readyz(request: Request) -> dict[str, str]:
    """Pictures are drawn: 503 until the model is loaded, and again once the server goes down."""
    service_of(request).at_work()
    return {"status": "ready"}


@routes.get("/metrics", response_class=PlainTextResponse, responses=may_answer(400, 500))
async def metrics(request: Request) -> Response:
    """Counts and times, for Prometheus."""
    return Response(service_of(request).metrics.text(), media_type=CONTENT_TYPE_LATEST)
