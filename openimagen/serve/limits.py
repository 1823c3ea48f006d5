"""How often one may ask: a bucket of pictures for each key, filled at a steady rate."""

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable

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
