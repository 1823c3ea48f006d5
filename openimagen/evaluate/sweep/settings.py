"""What a sweep goes over: settings of sampling, named as in `SamplingConfig`, of stages.

    guidance=1,1.5,2                    of every stage that draws
    base.guidance=1,1.5,2               of one stage
    aug_level=0,0.1,0.3                 of every super-resolution stage that draws
    guidance_interval=-100..100,-2..3   a value of two numbers

One value alone holds a setting at it. Of several settings every combination is a point.
"""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any

from pydantic import ValidationError

from openimagen.cascade import Cascade
from openimagen.config import SamplingConfig

USUAL = "guidance=1,1.25,1.5,2,3,5"
UPSAMPLING = ("aug_level", "match_colours")  # what the first stage, with nothing below it, lacks
NEEDS = {  # a setting that is at work only where another is not at this value
    "guidance_interval": ("guidance", (1.0,)),
    "guidance_rescale": ("guidance", (1.0,)),
    "percentile": ("threshold", ("none", "static")),
}

Settings = Mapping[str, Mapping[str, Any]]  # stage -> its SamplingConfig as JSON, smallest first


@dataclass(frozen=True)
class Setting:
    """A setting of one stage or several, and the values that it is to have."""

    key: str  # "guidance", or "base.guidance" where other stages have it too
    field: str
    stages: tuple[str, ...]
    values: tuple[Any, ...]  # as JSON has them


@dataclass(frozen=True)
class Place:
    """A point of a sweep, before it is drawn."""

    name: str  # "guidance=1.5,threshold=static"
    overrides: tuple[dict[str, Any], ...]  # as `Cascade.sample` takes them
    settings: Settings  # what these come to, of the stages that draw


def read_settings(texts: Sequence[str], cascade: Cascade, size: int | None) -> list[Setting]:
    """What texts such as "guidance=1,1.5,2" ask of the stages that lead to `size`.

    If there is no text, the guidance weight of the first stage, as in the paper.
    Raises ValueError, naming the nearest, for a setting or stage that there is not, for a value
    that does not fit, and for a stage's setting that is asked for twice.
    """
    names = [stage.config.name for stage in cascade.stages]
    drawn = [names[number] for number in cascade.stages_between(0, size)]
    settings = [_read(text, names, drawn) for text in texts or [f"{names[0]}.{USUAL}"]]
    for one, other in combinations(settings, 2):
        if one.field == other.field and set(one.stages) & set(other.stages):
            raise ValueError(
                f"--over {one.key} and --over {other.key} set the same: give all values to one"
            )
    return settings


def places(settings: Sequence[Setting], cascade: Cascade, size: int | None) -> list[Place]:
    """Every combination of the values. ValueError for a setting that is at work in none."""
    found = [_place(settings, values, cascade, size) for values in
             product(*(setting.values for setting in settings))]  # fmt: skip
    for setting in settings:
        other, idle = NEEDS.get(setting.field, ("", ()))
        at_work = [place.settings[stage] for place in found for stage in setting.stages]
        if other and all(sampling[other] in idle for sampling in at_work):
            raise ValueError(
                f"--over {setting.key} changes nothing where {other} is "
                f"{word(at_work[0][other])}: "
                f"give --over {other}=... too"
            )
    return found


def value_of(key: str, settings: Settings) -> Any:  # noqa: ANN401  (any JSON)
    """What a point has at a key. ValueError if that differs from stage to stage."""
    stage, dot, field = key.rpartition(".")
    stages = [stage] if dot else list(settings)[field in UPSAMPLING :]
    first, *others = (settings[name][field] for name in stages)
    if any(other != first for other in others):
        raise ValueError(f"{key} differs from stage to stage")
    return first


def word(value: Any) -> str:  # noqa: ANN401  (any JSON)
    """A value as it is written in names, tables and figures."""
    if isinstance(value, list):
        return "..".join(map(word, value))
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, float):
        short = f"{value:g}"
        return short if float(short) == value else repr(value)
    return str(value)


def is_number(value: object) -> bool:
    """Whether values of this kind have an order."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _read(text: str, names: Sequence[str], drawn: Sequence[str]) -> Setting:
    key, equals, given = text.partition("=")
    stage, dot, field = key.strip().rpartition(".")
    if not equals or not given.strip():
        raise ValueError(f"--over {text}: write KEY=VALUE,VALUE as in guidance=1,1.5,2")
    if field not in SamplingConfig.model_fields:
        raise ValueError(f"--over {key}: no setting {_near(field, SamplingConfig.model_fields)}")
    if dot and stage not in names:
        raise ValueError(f"--over {key}: no stage {_near(stage, names)}")
    if dot and stage not in drawn:
        raise ValueError(f"--over {key}: stage {stage} comes after the --size that is drawn")
    able = tuple(drawn[field in UPSAMPLING :])
    if not able or (dot and stage not in able):
        raise ValueError(f"--over {key}: of super-resolution stages only, give a larger --size")
    stages = (stage,) if dot else able
    values = dict.fromkeys(_value(key, field, part.strip()) for part in given.split(","))
    plain = tuple(list(value) if isinstance(value, tuple) else value for value in values)
    return Setting(field if stages == able else f"{stage}.{field}", field, stages, plain)


def _value(key: str, field: str, text: str) -> Any:  # noqa: ANN401  (any field's)
    given = text.split("..") if ".." in text else text
    try:
        return getattr(SamplingConfig.model_validate({field: given}), field)
    except ValidationError as error:
        why = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise ValueError(f"--over {key}: {text or 'no value'}: {why[0].lower()}{why[1:]}") from None


def _near(name: str, options: Iterable[str]) -> str:
    options = list(options)
    near = difflib.get_close_matches(name, options, n=1)
    return f"{name!r}: " + (f"did you mean {near[0]}?" if near else f"choose {', '.join(options)}")


def _place(
    settings: Sequence[Setting], values: Sequence[Any], cascade: Cascade, size: int | None
) -> Place:
    overrides: dict[str, dict[str, Any]] = {stage.config.name: {} for stage in cascade.stages}
    for setting, value in zip(settings, values, strict=True):
        for stage in setting.stages:
            overrides[stage][setting.field] = value
    drawing = [cascade.stages[number] for number in cascade.stages_between(0, size)]
    adjusted = [stage.adjusted(overrides[stage.config.name]).config for stage in drawing]
    pairs = zip(settings, values, strict=True)
    return Place(
        ",".join(f"{setting.key}={word(value)}" for setting, value in pairs),
        tuple(overrides.values()),
        {stage.name: stage.sampling.model_dump(mode="json") for stage in adjusted},
    )
