"""What draws here: /v1/models, in OpenAI's shape, and what the page wants to know."""

from typing import get_args

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict

from openimagen.config import SamplerName
from openimagen.data.icon_packages import CORPUS, STYLES
from openimagen.serve.description import may_answer
from openimagen.serve.service import Service, caller, service_of

ICONS = "emoji"  # the model that is trained on the corpus of icons

routes = APIRouter(prefix="/v1/models", dependencies=[Depends(caller)])


class StageCard(BaseModel):
    """One stage: what it draws, and how unless told otherwise."""

    model_config = ConfigDict(extra="forbid")
    name: str
    side: int
    steps: int
    guidance: float
    sampler: str


class StyleCard(BaseModel):
    """A look that prompts may name."""

    model_config = ConfigDict(extra="forbid")
    name: str
    words: str  # of the prompt, as in "a fox, noto style"


class ModelCard(BaseModel):
    """A model that is served."""

    model_config = ConfigDict(extra="forbid")
    id: str
    object: str = "model"
    created: int
    owned_by: str = "openimagen"
    sizes: list[str]
    stages: list[StageCard]
    samplers: list[str]
    styles: list[StyleCard]


class ModelList(BaseModel):
    """All of them."""

    model_config = ConfigDict(extra="forbid")
    object: str = "list"
    data: list[ModelCard]


def styles_of(name: str) -> list[StyleCard]:
    """The styles that a model was trained to tell apart; none are known of others than ours."""
    known = CORPUS if name == ICONS else ()
    return [StyleCard(name=style, words=STYLES[style].words) for style in known]


def card(service: Service) -> ModelCard:
    """The served model's."""
    stages = [
        StageCard(
            name=stage.name,
            side=stage.side,
            steps=stage.sampling.steps,
            guidance=stage.sampling.guidance,
            sampler=stage.sampling.sampler,
        )
        for stage in service.model.stages
    ]
    return ModelCard(
        id=service.model.name,
        created=service.began,
        sizes=service.sizes(),
        stages=stages,
        samplers=list(get_args(SamplerName)),
        styles=styles_of(service.model.name),
    )


@routes.get("", responses=may_answer(400, 401, 500))
async def list_models(request: Request) -> ModelList:
    """The models that draw here."""
    return ModelList(data=[card(service_of(request))])


@routes.get("/{model}", responses=may_answer(400, 401, 404, 500))
async def retrieve_model(request: Request, model: str) -> ModelCard:
    """One model."""
    service = service_of(request)
    service.check_model(model)
    return card(service)
