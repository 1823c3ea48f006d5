"""Pictures on their way through the cascade, stage by stage, in company that may change.

`Cascade.sample` draws a batch from bottom to top. Whoever draws for many lets pictures meet stage
by stage: those with one `company` are drawn by one call. Noise comes of a picture's own seed, so
company changes nothing but the last bits of the arithmetic.
"""

import json
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from openimagen.cascade import Cascade, OnStep, network_calls
from openimagen.data.images import to_pil
from openimagen.editing import Known, Source, Start, begin, ends_of
from openimagen.text import TextEmbedding

Picture = Float[Tensor, "3 s s"]


@dataclass
class Drawing:
    """One picture on its way.

    `prompt`: empty for no text. `ahead`: numbers of the stages still to run. `image`: in [-1, 1],
    of the last stage that ran. `drawn`: of each stage that ran, by name. `text`: [1 n d], once the
    prompt was read. `latents`: noise that the first stage starts from instead of the seed's.
    `draws_negative`: whether some stage's guidance is below 1, which turns round what the two
    prompts are for.
    """

    prompt: str
    seed: int
    ahead: list[int]
    settings: Sequence[dict[str, Any]]  # as `Cascade.settings` has them
    negative: str | None = None
    source: Source | None = None
    latents: Picture | None = None
    image: Picture | None = None
    drawn: dict[str, Picture] = field(default_factory=dict)
    text: TextEmbedding | None = None
    draws_negative: bool = False

    @property
    def sought(self) -> tuple[str, str | None]:
        """What the door is asked about: the prompt, and the negative one if it is drawn, too.

        x = w x_text + (1 - w) x_null steers away from the negative prompt where w > 1 alone.
        """
        return self.prompt, self.negative if self.draws_negative else None

    @cached_property
    def known(self) -> Known | None:
        """The source, squared; only once it is drawn from, as it is large."""
        return None if self.source is None else self.source.known()

    @property
    def company(self) -> Hashable:
        """Drawings of equal company can take their next step together."""
        number, source = self.ahead[0], self.source
        settings = json.dumps(self.settings[number], sort_keys=True)
        start = None
        if source is not None and source.task == "edit":
            start = source.mask is None, source.sigma
        return number, settings, self.negative, start, self.latents is None

    def pictures(self) -> dict[str, Image.Image]:
        """What each stage drew, in the proportions of the source if there is one."""
        drawn = {name: to_pil(image) for name, image in self.drawn.items()}
        if self.source is None:
            return drawn
        return {name: self.source.finish(image) for name, image in drawn.items()}


def prepare(
    cascade: Cascade,
    prompt: str,
    seed: int,
    *,
    size: int | None = None,
    overrides: dict[str, Any] | None = None,
    negative: str | None = None,
    source: Source | None = None,
    latents: Picture | None = None,
) -> Drawing:
    """Get a picture ready: nothing is computed yet, but what it asks for is checked.

    A picture to be raised to `size` stands for the largest stage that it covers.
    Raises ValueError for a size, or overrides of sampling, that the cascade does not know, and
    for latents beside a picture: what is drawn from one has its noise from the seed.
    """
    if source is not None and latents is not None:
        raise ValueError("latents are for pictures from nothing: give a seed instead")
    start = 0
    if source is not None and source.task == "upscale":
        start = stage_above(cascade, max(source.picture.size), size)
    stages = cascade.stages_between(start, size)
    settings = cascade.settings(size, **(overrides or {}))
    adjusted = cascade.adjusted(stages, settings).values()
    weights = [stage.config.sampling.guidance for stage in adjusted]
    negative = negative if negative and negative.strip() else None
    if source is not None and source.task == "edit":
        ends_of(cascade.stages[0].config.diffusion.schedule, source.sigma)
    return Drawing(
        prompt,
        seed,
        [*stages],
        settings,
        negative,
        source,
        latents,
        draws_negative=min(weights) < 1,
    )


def calls_of(cascade: Cascade, drawing: Drawing) -> int:
    """Network calls that the stages ahead of a drawing take."""
    return sum(calls_ahead(cascade, drawing).values())


def calls_ahead(cascade: Cascade, drawing: Drawing) -> dict[int, int]:
    """Network calls that each stage ahead of a drawing takes, by its number."""
    stages = cascade.adjusted(drawing.ahead, drawing.settings)
    return {number: network_calls(stage.config.sampling) for number, stage in stages.items()}


def stage_above(cascade: Cascade, side: int, size: int | None) -> int:
    """First stage to run on a picture of `side` to raise it to `size`. ValueError if none is."""
    sides = [stage.config.side for stage in cascade.stages]
    size = sides[-1] if size is None else size
    if size in sides and side >= size:
        raise ValueError(f"the picture has a side of {side} already: choose a size above it")
    under = [number for number, each in enumerate(sides) if each <= side and each < size]
    return max(under, default=0) + 1


def advance(cascade: Cascade, drawings: Sequence[Drawing], on_step: OnStep | None = None) -> None:
    """Run the next stage of drawings that have equal company. Fails as a whole, changing none."""
    first, number = drawings[0], drawings[0].ahead[0]
    stage = cascade.stages[number].config
    seeds = [drawing.seed for drawing in drawings]
    knowns = [drawing.known for drawing in drawings if drawing.known is not None]
    start = begin(cascade, number, seeds, knowns) if knowns else Start(_latents(number, drawings))
    settings = list(first.settings)
    settings[number] = {**settings[number], **start.settings}
    below = [_sized(cascade, number, drawing) for drawing in drawings] if number else None
    (images,) = cascade.sample(
        read(cascade, drawings),
        seeds,
        negative=first.negative,
        settings=settings,
        size=stage.side,
        start=number,
        lowres=None if below is None else torch.cat(below),
        latents=start.latents,
        wrap=start.wrap,
        on_step=on_step,
    )
    for drawing, image in zip(drawings, images, strict=True):
        drawing.ahead.pop(0)
        drawing.image = drawing.drawn[stage.name] = image


def read(cascade: Cascade, drawings: Sequence[Drawing]) -> TextEmbedding:
    """What the prompts say, [b n d]; each is read once, and nothing where it is empty."""
    unread = [drawing for drawing in drawings if drawing.text is None]
    if unread:
        states = cascade.encode([drawing.prompt.strip() or "nothing" for drawing in unread])
        states = states.drop(
            torch.tensor([not d.prompt.strip() for d in unread]).to(cascade.device)
        )
        for drawing, tokens, mask in zip(unread, states.tokens, states.mask, strict=True):
            drawing.text = TextEmbedding(tokens[None], mask[None])
    texts = [drawing.text.to(cascade.device) for drawing in drawings if drawing.text is not None]
    return TextEmbedding.concatenate(texts)


def _latents(number: int, drawings: Sequence[Drawing]) -> Float[Tensor, "b 3 s s"] | None:
    given = [drawing.latents for drawing in drawings if drawing.latents is not None]
    return torch.stack(given) if given and number == 0 else None


def _sized(cascade: Cascade, number: int, drawing: Drawing) -> Float[Tensor, "1 3 s s"]:
    """The picture below a stage, on the side that it stands for."""
    image = drawing.image
    if image is None:
        assert drawing.source is not None
        image = drawing.source.whole()
    return cascade.below(number, image[None].to(cascade.device))
