"""What a request may say: OpenAI's parameters and ours, each checked, strangers refused.

Parameters of OpenAI's that mean nothing here are accepted, and named in the answer's notes.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar
from unicodedata import category

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
)

from openimagen.config import SamplerName
from openimagen.door import Format
from openimagen.imagen import MAX_SEED
from openimagen.serve.errors import Refusal, first_problem

LONGEST = 1000  # characters of a prompt


def as_list(value: object) -> object:
    """One number for every stage, or one each; a form may say 8,1,1."""
    if isinstance(value, str):
        return value.split(",")
    return value if value is None or isinstance(value, list) else [value]


def one_or_each(number: Mapping[str, Any]) -> WithJsonSchema:
    """The schema of what `as_list` takes."""
    each = {"type": "array", "items": dict(number), "minItems": 1, "maxItems": STAGES}
    return WithJsonSchema({"anyOf": [dict(number), each, {"type": "null"}]})


STAGES = 16  # at the most; how many there are, the model knows
Step = Annotated[int, Field(ge=1, le=10_000)]
Weight = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
Steps = Annotated[
    Annotated[list[Step], Field(min_length=1, max_length=STAGES)] | None,
    BeforeValidator(as_list),
    one_or_each({"type": "integer", "minimum": 1, "maximum": 10_000}),
]
Weights = Annotated[
    Annotated[list[Weight], Field(min_length=1, max_length=STAGES)] | None,
    BeforeValidator(as_list),
    one_or_each({"type": "number", "minimum": 0, "maximum": 100}),
]
BLANK = ("Cc", "Cf", "Mn", "Me", "Zs", "Zl", "Zp")  # kinds of characters that show nothing alone
FILLERS = "\u115f\u1160\u2800\u3164\uffa0"  # letters and signs that show nothing either


def without_blank(prompt: str) -> str:
    """A prompt; of nothing that can be seen, it is empty."""
    seen = (each for each in prompt if each not in FILLERS and category(each) not in BLANK)
    return prompt if any(seen) else ""


Prompt = Annotated[
    str,
    Field(max_length=LONGEST, description="What to draw."),
    AfterValidator(without_blank),
]


def not_empty(prompt: str) -> str:
    """The prompt of a picture from words alone."""
    if not prompt:
        raise ValueError('say what to draw, as in "a red apple"')
    return prompt


Negative = Annotated[str, Field(max_length=LONGEST, description="What to steer away from.")] | None
Strength = (
    Annotated[float, Field(gt=0, le=1, allow_inf_nan=False, description="How much may change.")]
    | None
)
IGNORED = "OpenAI's; accepted and ignored."
Ignored = Annotated[Any, Field(description=IGNORED)]


class ImageRequest(BaseModel):
    """What every request for pictures may say; null is as left out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Annotated[str, Field(max_length=200)] | None = None
    n: Annotated[int, Field(ge=1, le=10)] | None = None
    size: Annotated[str, Field(max_length=20)] | None = None
    response_format: Literal["b64_json", "url"] | None = None
    output_format: Format | None = None
    output_compression: Annotated[int, Field(ge=0, le=100)] | None = None  # quality, in fact
    background: Literal["auto", "opaque", "transparent"] | None = None
    stream: bool | None = None
    partial_images: Annotated[int, Field(ge=0, le=16)] | None = None
    progress: bool | None = None  # stream the place in the queue, too
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] | None = None
    steps: Steps = None
    guidance: Weights = None
    sampler: SamplerName | None = None

    quality: Ignored = None
    style: Ignored = None
    moderation: Ignored = None
    user: Ignored = None
    safety_identifier: Ignored = None
    complexity: Ignored = None
    frame_count: Ignored = None
    frame_duration_ms: Ignored = None
    svg: Ignored = None
    input_fidelity: Ignored = None

    @property
    def count(self) -> int:
        """Pictures asked for."""
        return self.n or 1

    @property
    def format(self) -> Format:
        """What pictures are written as."""
        return self.output_format or "png"

    @property
    def is_transparent(self) -> bool:
        """Whether pictures are wanted off their ground."""
        return self.background == "transparent"

    def notes(self) -> list[str]:
        """What was said and is not done, in plain words."""
        ignored = [
            name
            for name, field in ImageRequest.model_fields.items()
            if field.description == IGNORED
        ]
        notes = [f"{name} is ignored" for name in ignored if getattr(self, name) is not None]
        if self.output_compression is not None and self.format == "png":
            notes.append("output_compression is ignored: PNG keeps all")
        if self.partial_images and not self.stream:
            notes.append("partial_images is ignored: it needs stream")
        return notes


class Generation(ImageRequest):
    """A picture from words."""

    prompt: Annotated[
        Prompt,
        AfterValidator(not_empty),
        Field(json_schema_extra={"minLength": 1, "pattern": r"\S"}),
    ]
    negative_prompt: Negative = None


class Edit(ImageRequest):
    """A picture from a picture, with words or without; with a mask, where that says so."""

    prompt: Prompt = ""
    negative_prompt: Negative = None
    strength: Strength = None  # 0.7, with a mask 1


class Variation(ImageRequest):
    """Another picture like a picture."""

    strength: Strength = None  # 0.65


class Upscale(ImageRequest):
    """A picture taken as a lower stage's, drawn larger."""

    prompt: Prompt = ""
    negative_prompt: Negative = None


W = TypeVar("W", bound=ImageRequest)


def from_json(kind: type[W], content: bytes) -> W:
    """What a JSON body says; Refusal, naming the parameter, for whatever is wrong."""
    try:
        return kind.model_validate_json(content, strict=True)
    except ValidationError as error:
        raise refusal(kind, error) from None


def from_form(kind: type[W], fields: Mapping[str, Sequence[str]]) -> W:
    """What the text fields of a form say, `name[]` for lists; an empty one is as left out."""
    values: dict[str, Any] = {}
    for name, given in fields.items():
        texts = [text for text in given if text.strip()]
        if texts:
            values[name.removesuffix("[]")] = texts[0] if len(texts) == 1 else texts
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise refusal(kind, error) from None


def refusal(kind: type[ImageRequest], error: ValidationError) -> Refusal:
    """The answer to a body that is wrong."""
    where, why, problem = first_problem(error, kind.model_fields)
    param = where.partition(".")[0] or None
    if problem == "extra_forbidden":
        return Refusal(
            400, f"unknown parameter {where}: {why}", param=param, code="unknown_parameter"
        )
    if problem == "missing":
        message = f'{where} is missing: say what to draw, as in "a red apple"'
        return Refusal(400, message, param=param, code="missing_required_parameter")
    if param is None:
        return Refusal(400, f"the body must be a JSON object: {why}", code="invalid_json")
    return Refusal(400, f"{param}: {lowered(why)}", param=param, code="invalid_value")


def lowered(text: str) -> str:
    """A sentence as what follows a colon."""
    return text[:1].lower() + text[1:]
