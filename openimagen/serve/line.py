"""The line in front of the engine: bounded, fair between clients, and who can draw together."""

import heapq
import itertools
import math
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from openimagen.drawing import Drawing
from openimagen.serve.orders import Busy, Order, Queued
from openimagen.serve.ticket import Ticket

UNKNOWN = 0.1  # seconds of a network call, until one was timed
OF_LATE = 0.95  # what a call counts when the next was made


@dataclass(eq=False)
class Job:
    """An order in the line, until its picture is out."""

    order: Order
    number: int  # of the order in its ticket
    ticket: Ticket
    key: str  # whose it is
    drawing: Drawing
    left: dict[int, int]  # network calls still to come, by the stage's number
    deadline: float  # on time.monotonic's clock
    came: int = 0  # how many jobs came before
    is_busy: bool = False  # a worker has it
    is_dropped: bool = False  # nobody waits for it any more
    is_alone: bool = False  # it was in a batch that failed
    called: int = 0  # networks, so far
    shown: int = 0  # previews, so far

    def __post_init__(self) -> None:
        self.calls = sum(self.left.values())  # over all its stages

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

    `limit`: jobs that may be in it. `workers`: that take jobs out. `shares`: nobody may hold more
    places than are left to others, so that whoever comes anew finds one.
    """

    def __init__(self, limit: int, workers: int = 1, shares: bool = False) -> None:
        self.limit, self.workers, self.shares = limit, workers, shares
        self.jobs: list[Job] = []
        self.served: dict[str, float] = {}  # seconds of a worker, by client
        self.pace: dict[int, float] = {}  # seconds that a call takes of late, by stage
        self._timed: dict[int, tuple[float, float]] = {}  # seconds and calls, the older the less
        self._came = 0
        self._positions: dict[Ticket, int] = {}

    def add(self, jobs: Sequence[Job]) -> None:
        """Take all jobs of a request, or raise Busy; ValueError for more than ever find room."""
        key, count = jobs[0].key, len(jobs)
        most = max(1, self.limit // 2) if self.shares else self.limit
        if count > most:
            raise ValueError(f"{count} pictures at once: this server takes {most}")
        if not self._has_room(there := Counter(job.key for job in self.jobs), key, count):
            waiting = f"{len(self.jobs)} pictures are waiting, {self.limit} may"
            if there.total() + count <= self.limit:
                waiting = f"{there[key]} of your pictures are waiting, others need the last places"
            raise Busy(f"the server is busy: {waiting}", self.wait(key, count))
        for job in jobs:
            self.served.setdefault(job.key, min(self.served.values(), default=0.0))
            job.came, self._came = self._came, self._came + 1
        self.jobs += jobs

    def _has_room(self, there: Counter[str], key: str, count: int) -> bool:
        """Whether a client's jobs fit in with so many of each client."""
        places = self.limit - there.total() - count
        return places >= 0 and (not self.shares or there[key] + count <= max(1, places))

    # --- what is to come ---

    def wait(self, key: str, count: int) -> int:
        """Seconds after which a client may find room for so many jobs."""
        there = Counter(job.key for job in self.jobs if not job.is_dropped)
        seconds, forecast = 0.0, self.forecast()
        while there.total() and not self._has_room(there, key, count):
            job, seconds = next(forecast)
            there[job.key] -= 1
        return max(1, math.ceil(seconds))

    def length(self) -> int:
        """Seconds until all that are in the line are out."""
        return max([1, *(math.ceil(seconds) for _, seconds in self.forecast())])

    def forecast(self) -> Iterator[tuple[Job, float]]:
        """The jobs in the order in which they are drawn, and after how many seconds each is out."""
        now, clock = 0.0, time.monotonic()
        for job in self.upcoming():
            now = max(now, min(now + self.seconds(job) / self.workers, job.deadline - clock))
            yield job, now

    def upcoming(self) -> Iterator[Job]:
        """The jobs in the order in which they are drawn, as far as one can tell."""
        served, waiting = dict(self.served), defaultdict[str, deque[Job]](deque)
        for job in self.jobs:
            if job.is_started and not job.is_dropped:
                served[job.key] += self.seconds(job)
                yield job
            elif not job.is_dropped:
                waiting[job.key].append(job)
        turns = [(served[key], jobs[0].came, key) for key, jobs in waiting.items()]
        heapq.heapify(turns)
        while turns:
            so_far, _, key = heapq.heappop(turns)
            job = waiting[key].popleft()
            yield job
            if waiting[key]:
                turn = so_far + self.seconds(job), waiting[key][0].came, key
                heapq.heappush(turns, turn)

    def seconds(self, job: Job) -> float:
        """Of a worker, that a job still takes. A stage never met is as slow as the slowest."""
        slowest = max(self.pace.values(), default=UNKNOWN)
        ahead = job.drawing.ahead
        return math.fsum(self.pace.get(stage, slowest) * max(0, job.left[stage]) for stage in ahead)

    def learn(self, batch: Sequence[Job], seconds: float) -> None:
        """Note that a call of the batch's network took so long."""
        stage = batch[0].drawing.ahead[0]
        spent, calls = (OF_LATE * so_far for so_far in self._timed.get(stage, (0.0, 0.0)))
        self._timed[stage] = spent + seconds / len(batch), calls + 1
        self.pace[stage] = (spent + seconds / len(batch)) / (calls + 1)
        for job in batch:
            job.left[stage] -= 1

    # --- who is next ---

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
        """Tell each ticket that has nothing begun how many are before it, if that has changed."""
        waiting = Counter(job.ticket for job in self.jobs if not job.is_started)
        positions: dict[Ticket, int] = {}
        before = 0
        for job in self.upcoming():
            if waiting[job.ticket] == job.ticket.count:
                positions.setdefault(job.ticket, before)
            before += bool(job.drawing.ahead)  # not those that are only to be checked and marked
        for ticket, position in positions.items():
            if self._positions.get(ticket) != position:
                ticket.say(Queued(position))
        self._positions = positions
