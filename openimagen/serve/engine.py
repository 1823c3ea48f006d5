"""The engine: one worker per device draws for everybody, one stage of a batch at a time.

Between two stages a worker looks up: it takes whoever is next in the line, and with it those who
can take the same step. Dropped orders free the device within a network call. A batch that fails is
drawn again one by one, so that only the order at fault fails.
"""

import asyncio
import copy
import logging
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import torch

from openimagen.cascade import Cascade, OnStep, Progress
from openimagen.data.images import to_pil
from openimagen.door import Door
from openimagen.drawing import Picture, advance, calls_ahead, prepare
from openimagen.imagen import MAX_SEED, Imagen
from openimagen.serve.line import Job, Line
from openimagen.serve.orders import Busy, Event, Failed, Finished, Order, Preview
from openimagen.serve.ticket import Ticket

LATE = "it took longer than this server allows: ask for fewer pictures or steps, or a smaller size"
BROKEN = "the picture could not be drawn; the server's log says why"
BATCH = 8  # pictures at once on a GPU; on a CPU one at a time is as fast, and the same to the bit

log = logging.getLogger(__name__)


class Gone(Exception):
    """Nobody waits for any picture of the batch any more."""


@dataclass
class State:
    """What the engine has done since it started, and is doing."""

    waiting: int = 0
    running: int = 0
    ends: Counter[str] = field(default_factory=Counter)  # finished, flagged, failed, late, dropped
    batches: Counter[int] = field(default_factory=Counter)  # by the number of pictures
    stages: Counter[str] = field(default_factory=Counter)  # pictures that went through each
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))  # by stage


class Engine:
    """Draws orders of many clients on one or more devices, each with an Imagen of its own.

    `limit`: orders that may be in the line, those being drawn included. `shares`: no client's may
    be more than the places left to others. `batch`: pictures drawn at once; None is 8, on a CPU 1.
    `deadline`: seconds that an order may take.
    """

    def __init__(
        self,
        imagens: Sequence[Imagen],
        *,
        limit: int = 64,
        shares: bool = False,
        batch: int | None = None,
        deadline: float = 300.0,
    ) -> None:
        self.imagens, self.imagen = imagens, imagens[0]
        self.deadline = deadline
        on_cpu = self.imagen.cascade.device.type == "cpu"
        self.batch = batch or (1 if on_cpu else BATCH)
        self.is_draining = False
        self._line = Line(limit, len(imagens), shares)
        self._state = State()
        self._changed = threading.Condition()
        self._stopped = False
        self._workers: list[threading.Thread] = []
        self._finisher = ThreadPoolExecutor(1, "finisher")  # one: events stay in order

    # --- for whoever serves ---

    @property
    def is_ready(self) -> bool:
        """Whether orders are taken and drawn at once."""
        return bool(self._workers) and not self.is_draining

    def start(self) -> None:
        """Load what is otherwise loaded at the first picture, and start the workers, once.

        Raises ValueError for a part of the door that is not installed.
        """
        if self._workers:
            return
        for imagen in self.imagens:
            imagen.door.get_ready()
            imagen.cascade.encode(["ready"])
        for number, imagen in enumerate(self.imagens):
            worker = threading.Thread(target=self._work, args=(imagen,), name=f"worker-{number}")
            worker.daemon = True
            worker.start()
            self._workers.append(worker)

    def submit(self, orders: Sequence[Order], key: str = "") -> Ticket:
        """Take a client's orders, all or none. Any thread may.

        Raises ValueError for orders that are wrong, door.Refused for a prompt that the filter
        refuses, Busy if there is no room.
        """
        if not orders:
            raise ValueError("there is nothing to draw: ask for at least one picture")
        jobs: list[Job] = []
        ticket = Ticket(len(orders), lambda: self._drop(jobs))
        until = time.monotonic() + self.deadline
        for number, order in enumerate(orders):
            jobs.append(job_of(self.imagen.cascade, order, number, ticket, key, until))
        for texts in {job.drawing.sought for job in jobs}:
            self.imagen.door.refuse(*texts)
        with self._changed:
            if self.is_draining:
                raise Busy("the server is being stopped: it takes no more orders", 10)
            self._line.add(jobs)
            self._line.tell_positions()
            self._changed.notify_all()
        return ticket

    def state(self) -> State:
        """A copy of the counts."""
        with self._changed:
            state = copy.deepcopy(self._state)
            state.running = sum(job.is_started for job in self._line.jobs)
            state.waiting = len(self._line.jobs) - state.running
        return state

    async def drain(self, seconds: float) -> bool:
        """Take no more orders and wait until those accepted are out; False if that takes longer."""
        self.is_draining = True
        until = time.monotonic() + seconds
        while self._line.jobs and time.monotonic() < until:
            await asyncio.sleep(0.05)
        return not self._line.jobs

    def stop(self) -> None:
        """End the workers, dropping what is left."""
        with self._changed:
            self.is_draining = self._stopped = True
            for job in self._line.jobs:
                job.is_dropped = True
            self._changed.notify_all()
        for worker in self._workers:
            worker.join()
        self._finisher.shutdown()

    # --- workers ---

    def _work(self, imagen: Imagen) -> None:
        while (batch := self._next()) is not None:
            began = time.monotonic()
            stage = imagen.cascade.stages[batch[0].drawing.ahead[0]].config.name
            failed = False
            try:
                advance(imagen.cascade, [job.drawing for job in batch], self._watcher(batch))
            except Gone:
                pass
            except Exception:
                log.exception("stage %s failed for a batch of %d", stage, len(batch))
                failed = True
            self._release(batch, stage, time.monotonic() - began, failed)

    def _next(self) -> list[Job] | None:
        """Wait for the next batch; None when the engine stops."""
        with self._changed:
            while not self._stopped:
                self._sweep()
                self._line.tell_positions()
                if batch := self._line.take(self.batch):
                    return batch
                self._changed.wait(timeout=1.0)
        return None

    def _sweep(self) -> None:
        """Let go of those whom nobody waits for, or whose time is up."""
        for job in [job for job in self._line.jobs if not job.is_busy]:
            if job.is_dropped:
                self._end(job, "dropped")
            elif job.is_late:
                self._end(job, "late", Failed(job.number, LATE, self._line.length()))

    def _watcher(self, batch: list[Job]) -> OnStep:
        """After each network call: is anybody still there, and who is to be shown what."""

        called = time.monotonic()

        def watch(progress: Progress) -> None:
            nonlocal called
            with self._changed:
                called, before = time.monotonic(), called
                self._line.learn(batch, called - before)
            if self._stopped or all(job.is_dropped or job.is_late for job in batch):
                raise Gone
            for row, job in enumerate(batch):
                job.called += 1
                if not job.is_dropped and is_due(job):
                    x0 = progress.x0[row].float().cpu().clamp(-1, 1)
                    self._finisher.submit(self._show, job, job.shown, progress, x0)
                    job.shown += 1

        return watch

    def _release(self, batch: list[Job], stage: str, seconds: float, failed: bool) -> None:
        """Put a batch back into the line, or on to the finisher.

        Of a batch that failed each gets another chance, alone; one alone is at fault.
        """
        with self._changed:
            self._line.charge(batch, seconds)
            self._state.batches[len(batch)] += 1
            self._state.stages[stage] += len(batch)
            self._state.seconds[stage] += seconds
            for job in batch:
                job.is_busy = False
                if failed and len(batch) == 1:
                    self._end(job, "failed", Failed(job.number, BROKEN))
                elif failed:
                    job.is_alone = True
                elif not job.drawing.ahead and not job.is_dropped:
                    job.is_busy = True
                    self._finisher.submit(self._finish, job)
            self._changed.notify_all()

    def _drop(self, jobs: Sequence[Job]) -> None:
        """A client went away."""
        with self._changed:
            for job in jobs:
                job.is_dropped = True
            self._changed.notify_all()

    def _end(self, job: Job, how: str, event: Event | None = None) -> None:
        """A job leaves the line; the lock is held."""
        self._line.remove(job)
        self._state.ends[how] += 1
        if event is not None:
            job.ticket.say(event, ends=True)

    # --- the finisher: what leaves passes the door, in another thread than the networks' ---

    def _show(self, job: Job, index: int, progress: Progress, x0: Picture) -> None:
        """A preview: checked and marked as pictures are."""
        if job.is_dropped:
            return
        try:
            image = to_pil(x0)
            if job.order.source is not None:
                image = job.order.source.finish(image)
            passed = self.imagen.door.let_out({progress.stage: image}, job.order.seed)
        except Exception:
            log.exception("a preview could not be shown")
            return
        for shown in passed.pictures.values():
            where = progress.stage, progress.call, progress.calls, progress.log_snr
            job.ticket.say(Preview(job.number, index, *where, shown))

    def _finish(self, job: Job) -> None:
        try:
            how, event = finished(self.imagen.door, job)
        except Exception:
            log.exception("a picture could not be finished")
            how, event = "failed", Failed(job.number, BROKEN)
        with self._changed:
            self._end(job, "dropped" if job.is_dropped else how, event)
            self._changed.notify_all()


def job_of(
    cascade: Cascade, order: Order, number: int, ticket: Ticket, key: str, deadline: float
) -> Job:
    """Check an order and make it ready for the line. ValueError if it is wrong."""
    if not 0 <= order.seed <= MAX_SEED:
        raise ValueError("a seed must be a whole number from 0 to 2^63 - 1")
    sampling = {"steps": order.steps, "guidance": order.guidance, "sampler": order.sampler}
    drawing = prepare(
        cascade,
        order.prompt,
        order.seed,
        size=order.size,
        overrides=sampling,
        negative=order.negative,
        source=order.source,
    )
    left = calls_ahead(cascade, drawing)
    return Job(order, number, ticket, key, drawing, left, deadline)


def is_due(job: Job) -> bool:
    """Whether a preview is due after this call; the last call's is the picture itself."""
    if job.called >= job.calls:
        return False
    wanted = min(job.order.partials, job.calls - 1)
    return job.called * wanted // (job.calls - 1) > job.shown


def finished(door: Door, job: Job) -> tuple[str, Event]:
    """How a drawing ended, and what its client is told."""
    drawing = job.drawing
    assert drawing.image is not None
    if not torch.isfinite(drawing.image).all():
        raise ValueError("the picture has numbers that are not finite")
    last, picture = [*drawing.pictures().items()][-1]
    passed = door.let_out({last: picture}, drawing.seed, job.order.transparent)
    image = passed.pictures.get(last)
    event = Finished(job.number, image, passed.flagged, drawing.seed, passed.notes)
    return ("finished" if image is not None else "flagged"), event
