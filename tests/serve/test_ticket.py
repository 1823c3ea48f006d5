"""A ticket tells its one reader everything in order, and never more than it can hold."""

import asyncio
import threading

from PIL import Image

from openimagen.serve import ticket as ticket_module
from openimagen.serve.orders import Event, Failed, Preview, Queued
from openimagen.serve.ticket import Ticket


async def story(ticket: Ticket) -> list[Event]:
    return [event async for event in ticket]


def test_a_ticket_tells_what_comes_before_and_while_it_is_read() -> None:
    ticket = Ticket(2, lambda: None)
    ticket.say(Queued(3))

    async def read() -> list[Event]:
        async def tell() -> None:
            await asyncio.sleep(0.01)
            thread = threading.Thread(target=ticket.say, args=(Failed(0, "no"), True))
            thread.start()
            thread.join()
            ticket.say(Failed(1, "no"), ends=True)
            ticket.say(Queued(9))  # too late: the story has ended

        task = asyncio.create_task(tell())
        events = await story(ticket)
        await task
        return events

    assert asyncio.run(read()) == [Queued(3), Failed(0, "no"), Failed(1, "no")]


def test_cancelling_wakes_whoever_reads() -> None:
    dropped = []
    ticket = Ticket(1, lambda: dropped.append(True))

    async def read() -> list[Event]:
        reading = asyncio.create_task(story(ticket))
        await asyncio.sleep(0.01)
        ticket.cancel()
        return await asyncio.wait_for(reading, 5)

    assert asyncio.run(read()) == [] and dropped == [True]


def test_of_previews_that_nobody_reads_the_newest_are_kept() -> None:
    ticket, most = Ticket(1, lambda: None), ticket_module.PREVIEWS
    image = Image.new("RGB", (8, 8))
    ticket.say(Queued(0))
    for index in range(most + 3):
        ticket.say(Preview(0, index, "base", 1, 8, 0.0, image))
    ticket.say(Failed(0, "no"), ends=True)
    events = asyncio.run(story(ticket))
    kept = [event.index for event in events if isinstance(event, Preview)]
    assert kept == [*range(3, most + 3)]
    assert events[0] == Queued(0) and events[-1] == Failed(0, "no")
