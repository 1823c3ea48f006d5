"""What the clients of an engine are told."""

import asyncio

from PIL import Image

from openimagen.serve.orders import Event, Failed, Finished
from openimagen.serve.ticket import Ticket


async def story(ticket: Ticket) -> list[Event]:
    return [event async for event in ticket]


def told(*tickets: Ticket) -> list[list[Event]]:
    """All events of tickets that are read at the same time."""

    async def read() -> list[list[Event]]:
        return await asyncio.wait_for(asyncio.gather(*map(story, tickets)), 60)

    return asyncio.run(read())


def endings(events: list[Event]) -> dict[int, Image.Image | str | None]:
    ends: dict[int, Image.Image | str | None] = {}
    for event in events:
        if isinstance(event, Finished):
            ends[event.number] = event.image
        if isinstance(event, Failed):
            ends[event.number] = event.reason
    return ends


def same(one: object, other: Image.Image) -> bool:
    assert isinstance(one, Image.Image)
    return one.size == other.size and one.tobytes() == other.tobytes()
