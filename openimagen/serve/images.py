"""/v1/images: pictures from words."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from openimagen.serve.answers import answered, orders_of
from openimagen.serve.bodies import Generation, from_json
from openimagen.serve.reading import read_json
from openimagen.serve.service import drawing_caller, service_of
from openimagen.serve.streams import streamed

routes = APIRouter(prefix="/v1/images")
Caller = Annotated[str, Depends(drawing_caller)]


@routes.post("/generations")
async def generations(request: Request, who: Caller) -> Response:
    """Draw pictures from words."""
    service = service_of(request)
    wishes = from_json(Generation, await read_json(request, service.config.limits))
    orders = orders_of(service, wishes, [None])
    if wishes.stream:
        return streamed(service, wishes, orders, who)
    return await answered(request, service, wishes, orders, who)
