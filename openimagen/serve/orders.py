"""What the engine is asked for, and what it says while it works.

An order is one picture. The orders of one request are handed in together, and what becomes of them
comes out of their ticket as events, each with the order's number.
"""

from dataclasses import dataclass

from PIL import Image

from openimagen.editing import Source

__all__ = ["Busy", "Event", "Failed", "Finished", "Order", "Preview", "Queued", "Source"]


@dataclass(frozen=True)
class Order:
    """One picture, with every choice made. Checked by `Engine.submit`, which raises ValueError."""

    prompt: str
    seed: int
    size: int | None = None  # side in pixels, one of the stages'; None is the largest
    steps: tuple[int, ...] | None = None  # for every stage, or one each; None is the model's own
    guidance: tuple[float, ...] | None = None
    negative: str | None = None
    sampler: str | None = None
    transparent: bool = False
    partials: int = 0  # previews, spread evenly over the network calls
    source: Source | None = None


@dataclass(frozen=True)
class Queued:
    """Nothing of the ticket was begun: so many orders of others are before its first."""

    position: int


@dataclass(frozen=True)
class Preview:
    """What the network makes out so far; it has passed the picture filter."""

    number: int  # of the order, from 0
    index: int  # of the preview, from 0
    stage: str
    call: int  # of the stage's network, from 1
    calls: int
    log_snr: float
    image: Image.Image


@dataclass(frozen=True)
class Finished:
    """An order's picture, marked; None if it was withheld, and then `flagged` says why."""

    number: int
    image: Image.Image | None
    flagged: str | None
    seed: int
    notes: tuple[str, ...] = ()  # such as: it has no plain ground to be taken off


@dataclass(frozen=True)
class Failed:
    """An order that could not be drawn: why, in one line for the client.

    `retry_after`: seconds until the server may be less busy, if its time was up; else None.
    """

    number: int
    reason: str
    retry_after: int | None = None


Event = Queued | Preview | Finished | Failed


class Busy(Exception):
    """The queue is full, or is being drained: come again in `retry_after` seconds."""

    def __init__(self, reason: str, retry_after: int) -> None:
        super().__init__(reason)
        self.retry_after = retry_after
