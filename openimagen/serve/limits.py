"""How often one may ask, and how much of the server one may hold.

How often: a bucket of pictures for each key, filled at a steady rate.
"""

import ipaddress
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from openimagen.serve.errors import Refusal

REMEMBERED = 10_000  # buckets


class Buckets:
    """A request is let in while its bucket is not empty, then pays for all its pictures.

    So no request is too large to be let in ever; a large one is waited for afterwards.
    """

    def __init__(
        self, rate: float | None, burst: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.rate, self.burst, self.clock = rate, burst, clock
        self.levels: OrderedDict[str, tuple[float, float]] = OrderedDict()  # level, when

    def check(self, who: str) -> None:
        """Refusal, with the time to wait, while there is not one picture in the bucket."""
        if self.rate is None:
            return
        lacking = 1 - self._level(who)
        if lacking > 1e-9:
            message = f"over {self.rate:g} pictures a minute: slow down"
            seconds = 60 * lacking / self.rate
            raise Refusal(429, message, code="rate_limit_exceeded", retry_after=seconds)

    def pay(self, who: str, pictures: int) -> None:
        """Take pictures out; the bucket may come to hold less than none."""
        if self.rate is None:
            return
        self.levels[who] = (self._level(who) - pictures, self.clock())
        self.levels.move_to_end(who)
        while len(self.levels) > REMEMBERED:
            self.levels.popitem(last=False)

    def _level(self, who: str) -> float:
        level, when = self.levels.get(who, (float(self.burst), self.clock()))
        assert self.rate is not None
        return min(float(self.burst), level + (self.clock() - when) * self.rate / 60)


class Slots:
    """Room for so many uploads at once. Nobody holds more of it than they leave free.

    So one who fills what they may, and lets it drip, leaves half of it to others.
    """

    def __init__(self, room: int) -> None:
        self.room = room
        self.held: Counter[str] = Counter()

    @contextmanager
    def take(self, who: str) -> Iterator[None]:
        """Hold a slot. Refusal, not a wait, if there is none left for this one."""
        if self.held[who] >= self.room - self.held.total():
            message = "too many uploads at once: send this again when another is done"
            raise Refusal(429, message, code="uploads_full", retry_after=1.0)
        self.held[who] += 1
        try:
            yield
        finally:
            self.held[who] -= 1
            self.held += Counter()  # forgets who holds none


def neighbourhood(address: str) -> str:
    """Whom an address counts as: itself, or of IPv6 its /64, which is one customer's."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped:
            return str(ip.ipv4_mapped)
        return str(ipaddress.ip_network((ip, 64), strict=False))
    return str(ip)
