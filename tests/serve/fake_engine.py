"""An engine that draws squares of one colour: what the API does with its events, in no time."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from types import SimpleNamespace

from PIL import Image

from openimagen.door import Door, Safety
from openimagen.serve.engine import State
from openimagen.serve.orders import Busy, Event, Failed, Finished, Order, Preview, Queued

PLAIN = Safety(prompt_filter=False, picture_filter=False, watermark=False, credentials=False)


class FakeTicket:
    """Tells its events one by one; `holds` until it is cancelled or let go."""

    def __init__(self, events: Sequence[Event], holds: asyncio.Event | None) -> None:
        self.events_, self.holds, self.is_cancelled = [*events], holds, False

    def __aiter__(self) -> AsyncIterator[Event]:
        return self._tell()

    async def _tell(self) -> AsyncIterator[Event]:
        for event in self.events_:
            yield event
            if self.holds is not None:
                await self.holds.wait()

    def cancel(self) -> None:
        self.is_cancelled = True


class FakeEngine:
    """Says what it is told to say."""

    def __init__(self) -> None:
        self.imagen = SimpleNamespace(
            door=Door("fake", PLAIN), cascade=SimpleNamespace(encoder=None)
        )
        self.is_ready, self.is_draining = False, False
        self.orders: list[Order] = []
        self.keys: list[str] = []
        self.tickets: list[FakeTicket] = []
        self.refusal: Exception | None = None
        self.withheld: set[int] = set()  # numbers of orders
        self.failing: set[int] = set()
        self.retry_after: int | None = None  # of those that fail
        self.holds: asyncio.Event | None = None

    def start(self) -> None:
        self.is_ready = True

    def submit(self, orders: Sequence[Order], key: str = "") -> FakeTicket:
        if self.refusal is not None:
            raise self.refusal
        if self.is_draining:
            raise Busy("it is being stopped", 10)
        self.orders += orders
        self.keys.append(key)
        events: list[Event] = [Queued(2)]
        for number, order in enumerate(orders):
            side = order.size or 64
            events += [
                Preview(number, index, "base", index + 1, 10, -2.0, Image.new("RGB", (64, 64)))
                for index in range(order.partials)
            ]
            if number in self.failing:
                events.append(Failed(number, "it could not be drawn", self.retry_after))
            else:
                shown = None if number in self.withheld else Image.new("RGB", (side, side), "red")
                flagged = "indecent" if shown is None else None
                events.append(Finished(number, shown, flagged, order.seed, ("a note",)))
        self.tickets.append(FakeTicket(events, self.holds))
        return self.tickets[-1]

    def state(self) -> State:
        return State(waiting=3, running=1)

    async def drain(self, seconds: float) -> bool:
        self.is_draining = True
        return True

    def stop(self) -> None:
        self.is_ready = False
