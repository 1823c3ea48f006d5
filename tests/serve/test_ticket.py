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


def preview(number: int, index: int, side: int) -> Preview:
    return Preview(number, index, "base", 1, 8, 0.0, Image.new("RGB", (side, side)))


def read(ticket: Ticket) -> list[Event]:
    ticket.say(Failed(0, "no"), ends=True)
    return asyncio.run(story(ticket))


def test_a_reader_who_is_busy_with_one_picture_misses_nothing_of_the_next() -> None:
    """Ten pictures of the shipped model: eight calls at 64, one at 256."""
    ticket = Ticket(1, lambda: None)
    sent = [preview(n, i, 64 if i < 8 else 256) for n in range(10) for i in range(9)]
    for each in sent:
        ticket.say(each)
    assert read(ticket)[:-1] == sent


def test_what_waits_for_a_slow_reader_is_bounded_and_strips_still_begin_in_noise() -> None:
    ticket = Ticket(1, lambda: None)
    sides = [64] * 8 + [256] * 4 + [1024] * 4
    for number in range(10):
        for index, side in enumerate(sides):
            ticket.say(preview(number, index, side))
            waiting = [event for event in ticket._events if isinstance(event, Preview)]
            assert sum(map(ticket_module.pixels, waiting)) <= ticket_module.ROOM
    *kept, _ = read(ticket)
    assert all(isinstance(event, Preview) for event in kept)
    places = [(event.number, event.index) for event in kept if isinstance(event, Preview)]
    assert {(number, index) for number in range(10) for index in range(8)} <= {*places}
    assert places == sorted(places) and places[-1] == (9, 15)


def test_only_the_newest_place_in_the_queue_waits_to_be_read() -> None:
    ticket = Ticket(1, lambda: None)
    for position in (7, 6, 5):
        ticket.say(Queued(position))
    assert read(ticket) == [Queued(5), Failed(0, "no")]
