"""A client's side of its orders: what becomes of them, as it happens."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable

from openimagen.serve.orders import Event, Preview

PREVIEWS = 4  # that wait for a slow reader; older ones are let go


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
            previews = [each for each in self._events if isinstance(each, Preview)]
            if isinstance(event, Preview) and len(previews) == PREVIEWS:
                self._events.remove(previews[0])
            self._events.append(event)
            self._left -= ends
            self._wake()

    def _wake(self) -> None:
        if self._reader is None:
            return
        loop, arrival = self._reader
        if not loop.is_closed():  # else nobody is left to be told
            loop.call_soon_threadsafe(arrival.set)
