"""The line in front of the engine: bounded, fair between clients, and who can draw together."""

import itertools
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from openimagen.drawing import Drawing
from openimagen.serve.orders import Busy, Order, Queued
from openimagen.serve.ticket import Ticket


@dataclass(eq=False)
class Job:
    """An order in the line, until its picture is out."""

    order: Order
    number: int  # of the order in its ticket
    ticket: Ticket
    key: str  # whose it is
    drawing: Drawing
    calls: int  # of networks, over all its stages
    deadline: float  # on time.monotonic's clock
    came: int = 0  # how many jobs came before
    is_busy: bool = False  # a worker has it
    is_dropped: bool = False  # nobody waits for it any more
    is_alone: bool = False  # it was in a batch that failed
    called: int = 0  # networks, so far
    shown: int = 0  # previews, so far
    began: float = 0.0  # when a worker first took it

    @property
    def is_started(self) -> bool:
        """Whether a stage of it was begun."""
        return self.is_busy or self.called > 0

    @property
    def is_late(self) -> bool:
        """Whether its time is up."""
        return time.monotonic() > self.deadline


class Line:
    """Jobs in the order in which they came, and what each client was served. Not thread-safe.

    Fair queueing: the client whose pictures took the least time is next. One that comes anew
    starts with the least of those who are there, so that nobody saves up turns. A picture that was
    begun is finished first, and so is a client's older one.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.jobs: list[Job] = []
        self.served: dict[str, float] = {}  # seconds of a worker, by client
        self.pace = 1.0  # seconds that a picture takes, of late
        self._came = 0
        self._positions: dict[Ticket, int] = {}

    def add(self, jobs: Sequence[Job]) -> None:
        """Take all jobs of a request, or raise Busy."""
        if len(self.jobs) + len(jobs) > self.limit:
            if len(jobs) > self.limit:
                raise ValueError(f"{len(jobs)} pictures at once: this server takes {self.limit}")
            waiting = f"{len(self.jobs)} pictures are waiting, {self.limit} may"
            raise Busy(f"the server is busy: {waiting}", self.wait(len(jobs)))
        for job in jobs:
            self.served.setdefault(job.key, min(self.served.values(), default=0.0))
            job.came, self._came = self._came, self._came + 1
        self.jobs += jobs

    def wait(self, places: int) -> int:
        """Seconds after which so many places may have become free."""
        return max(1, math.ceil(self.pace * places))

    def take(self, most: int) -> list[Job]:
        """The jobs whose next stage is to be drawn now, together; they become busy."""
        free = [job for job in self.jobs if not (job.is_busy or job.is_dropped)]
        free.sort(key=lambda job: (not job.is_started, self.served[job.key], job.came))
        batch = free[:1]
        if batch and not batch[0].is_alone:
            company = batch[0].drawing.company
            others = (job for job in free[1:] if job.drawing.company == company)
            batch += itertools.islice((job for job in others if not job.is_alone), most - 1)
        for job in batch:
            job.is_busy = True
            job.began = job.began or time.monotonic()
        return batch

    def charge(self, batch: Sequence[Job], seconds: float) -> None:
        """Note that a worker was with these for so long."""
        for job in batch:
            if job.key in self.served:
                self.served[job.key] += seconds / len(batch)

    def remove(self, job: Job) -> None:
        """A job has left, one way or the other."""
        self.jobs.remove(job)
        if all(other.key != job.key for other in self.jobs):
            del self.served[job.key]

    def tell_positions(self) -> None:
        """Tell those who wait how many are before them, if that has changed."""
        positions: dict[Ticket, int] = {}
        for place, job in enumerate(self.jobs):
            if not job.is_started:
                positions.setdefault(job.ticket, place)
        for ticket, position in positions.items():
            if self._positions.get(ticket) != position:
                ticket.say(Queued(position))
        self._positions = positions
