"""Pictures kept for response_format "url": in memory, for a while, under names nobody guesses."""

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Kept:
    """A picture's file, and when it is let go."""

    data: bytes
    mime: str
    until: float


class Links:
    """Token -> picture; the oldest make room, and none is older than its time."""

    def __init__(
        self, most_bytes: int, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.most_bytes, self.seconds, self.clock = most_bytes, seconds, clock
        self.kept: OrderedDict[str, Kept] = OrderedDict()
        self.bytes = 0

    def keep(self, data: bytes, mime: str) -> str:
        """A token for the picture: 256 random bits."""
        token = secrets.token_urlsafe(32)
        self.kept[token] = Kept(data, mime, self.clock() + self.seconds)
        self.bytes += len(data)
        self._let_go()
        return token

    def find(self, token: str) -> Kept | None:
        """The picture of a token; None if there is none, or it is too old."""
        self._let_go()
        return self.kept.get(token)

    def left(self, kept: Kept) -> float:
        """Seconds until it is let go, if no other needs its room before."""
        return max(0.0, kept.until - self.clock())

    def _let_go(self) -> None:
        while self.kept:
            oldest = next(iter(self.kept.values()))
            if oldest.until > self.clock() and self.bytes <= self.most_bytes:
                return
            self.kept.popitem(last=False)
            self.bytes -= len(oldest.data)
