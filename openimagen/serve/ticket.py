"""A client's side of its orders: what becomes of them, as it happens."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence

from openimagen.serve.orders import Event, Preview, Queued

ROOM = 4 * 1024 * 1024  # pixels of previews that wait for a slow reader


class Ticket:
    """The orders of one request: an async iterator of events, for one reader.

    It ends when each order is finished or failed, or when the request was cancelled.
    """

    def __init__(self, count: int, cancel: Callable[[], None]) -> None:
        self.count = count
        self._cancel = cancel
        self._lock = threading.Lock()
        self._events: deque[Event] = deque()
        self._left = count  # orders whose end was not said yet
        self._reader: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None

    def __aiter__(self) -> "Ticket":
        return self

    async def __anext__(self) -> Event:
        """The next event, when it comes."""
        arrival = asyncio.Event()
        while True:
            with self._lock:
                if self._events:
                    return self._events.popleft()
                if self._left == 0:
                    raise StopAsyncIteration
                arrival.clear()
                self._reader = asyncio.get_running_loop(), arrival
            await arrival.wait()

    def cancel(self) -> None:
        """The client went away: what is being drawn for it stops within a network call."""
        self._cancel()
        with self._lock:
            self._left = 0
            self._events.clear()
            self._wake()

    def say(self, event: Event, ends: bool = False) -> None:
        """Tell the client, from any thread; `ends` an order's story."""
        with self._lock:
            if self._left == 0:
                return
            if isinstance(event, Queued):  # what was told before is true no more
                self._let_go([each for each in self._events if isinstance(each, Queued)])
            self._events.append(event)
            self._let_go(too_many([each for each in self._events if isinstance(each, Preview)]))
            self._left -= ends
            self._wake()

    def _let_go(self, events: Sequence[Event]) -> None:
        for event in events:
            self._events.remove(event)

    def _wake(self) -> None:
        if self._reader is None:
            return
        loop, arrival = self._reader
        if not loop.is_closed():  # else nobody is left to be told
            loop.call_soon_threadsafe(arrival.set)


def too_many(previews: Sequence[Preview]) -> list[Preview]:
    """Previews for which there is no room: of the largest the older, so that every strip begins."""
    excess = sum(map(pixels, previews)) - ROOM
    dispensable: list[Preview] = []
    for preview in sorted(previews, key=pixels, reverse=True):
        if excess <= 0:
            break
        dispensable.append(preview)
        excess -= pixels(preview)
    return dispensable


def pixels(preview: Preview) -> int:
    """Of a preview's picture."""
    return preview.image.width * preview.image.height
