"""The line: bounded, fair, and only those who can draw together do."""

import contextlib
import math
import time
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openimagen.drawing import Drawing
from openimagen.serve import line as line_module
from openimagen.serve.line import Job, Line
from openimagen.serve.orders import Busy, Event, Order, Queued
from openimagen.serve.ticket import Ticket


def job(key: str, *, steps: int = 8, stages: int = 2, ticket: Ticket | None = None) -> Job:
    order = Order("fox", 0)
    drawing = Drawing("fox", 0, [*range(stages)], [{"steps": steps}] * stages)
    left = dict.fromkeys(range(stages), steps)
    ticket = ticket or Ticket(1, lambda: None)
    return Job(order, 0, ticket, key, drawing, left, deadline=1e12)


def line_of(*jobs: Job, limit: int = 100) -> Line:
    line = Line(limit)
    line.add(jobs)
    return line


def draw(line: Line, seconds: float = 1.0, most: int = 1) -> list[Job]:
    """Let a worker take a batch through its next stage."""
    batch = line.take(most)
    line.charge(batch, seconds)
    for each in batch:
        each.is_busy, each.called = False, each.called + 1
        each.drawing.ahead.pop(0)
        if not each.drawing.ahead:
            line.remove(each)
    return batch


def test_a_picture_that_was_begun_is_finished_first() -> None:
    first, second = job("a", stages=3), job("b", stages=3)
    line = line_of(first, second)
    assert [draw(line)[0] for _ in range(6)] == [first] * 3 + [second] * 3
    assert line.take(1) == []


def test_one_who_asks_for_much_does_not_keep_others_waiting() -> None:
    many, one = [job("greedy", stages=1) for _ in range(20)], job("modest", stages=1)
    line = line_of(*many, one)
    order = [draw(line)[0] for _ in range(21)]
    assert order.index(one) <= 1


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0.1, 2.0)), min_size=3, max_size=60))
def test_clients_who_all_wait_are_served_alike(costs: list[tuple[str, float]]) -> None:
    """While each has a picture waiting, none is ahead of another by more than one picture."""
    line = Line(1000)
    seconds = {}
    for key, cost in costs:
        each = job(key, stages=1)
        seconds[each] = cost
        line.add([each])
    total = dict.fromkeys("abc", 0.0)
    while {each.key for each in line.jobs} == {key for key, _ in costs}:
        (next_up,) = line.take(1)
        next_up.is_busy = False
        total[next_up.key] += seconds[next_up]
        line.charge([next_up], seconds[next_up])
        line.jobs.remove(next_up)  # the client stays known, as if it had more
        waiting = [total[key] for key, _ in costs]
        assert max(waiting) - min(waiting) <= 2.0 + 1e-9


def test_nobody_saves_up_turns() -> None:
    line = line_of(*[job("old", stages=1) for _ in range(6)])
    for _ in range(3):
        draw(line, seconds=10.0)
    line.add([job("new", stages=1) for _ in range(5)])
    keys = [draw(line, seconds=10.0)[0].key for _ in range(6)]
    assert sorted(keys[:2]) == ["new", "old"] and keys.count("old") == 3


def test_company_draws_together_up_to_the_batch() -> None:
    jobs = [job("a"), job("b"), job("a", steps=4), job("c"), job("b")]
    line = line_of(*jobs)
    assert line.take(3) == [jobs[0], jobs[1], jobs[3]]
    assert line.take(3) == [jobs[2]]
    assert line.take(3) == [jobs[4]]


def test_a_busy_or_dropped_job_is_not_taken_and_one_at_fault_goes_alone() -> None:
    jobs = [job("a") for _ in range(4)]
    line = line_of(*jobs)
    assert line.take(1) == [jobs[0]]
    jobs[1].is_dropped = True
    jobs[2].is_alone = True
    assert line.take(8) == [jobs[2]]
    assert line.take(8) == [jobs[3]]
    assert line.take(8) == []


def test_the_line_is_bounded_and_takes_all_of_a_request_or_none() -> None:
    line = line_of(*[job("a") for _ in range(6)], limit=8)
    with pytest.raises(Busy, match="6 pictures are waiting, 8 may") as refusal:
        line.add([job("b") for _ in range(3)])
    assert refusal.value.retry_after >= 1 and len(line.jobs) == 6
    line.add([job("b") for _ in range(2)])
    assert len(line.jobs) == 8
    with pytest.raises(ValueError, match="9 pictures at once: this server takes 8"):
        line.add([job("c") for _ in range(9)])


# --- room for others ------------------------------------------------------------------------------


def fill(line: Line, key: str, at_once: int) -> int:
    """Have a client ask until it is refused; how many of its pictures are in the line then."""
    try:
        while True:
            line.add([job(key) for _ in range(at_once)])
    except Busy:
        return sum(each.key == key for each in line.jobs)


def test_who_comes_anew_finds_room_though_others_took_all_they_could() -> None:
    line = Line(64, shares=True)
    assert fill(line, "ann", 10) == 30 and fill(line, "ann", 1) == 32
    assert [fill(line, key, 1) for key in ("bob", "cat", "dan", "eve")] == [16, 8, 4, 2]
    line.add([job("fay")])
    with pytest.raises(Busy, match="32 of your pictures are waiting, others need the last places"):
        line.add([job("ann")])
    with pytest.raises(ValueError, match="33 pictures at once: this server takes 32"):
        line.add([job("gus") for _ in range(33)])


@given(st.integers(1, 70), st.lists(st.tuples(st.integers(0, 9), st.integers(1, 12)), max_size=60))
def test_a_picture_of_a_newcomer_is_refused_only_by_a_full_line(
    limit: int, asked: list[tuple[int, int]]
) -> None:
    line = Line(limit, shares=True)
    for key, count in asked:
        with contextlib.suppress(Busy, ValueError):
            line.add([job(str(key)) for _ in range(count)])
    assert len(line.jobs) <= limit
    if len(line.jobs) < limit:
        line.add([job("newcomer")])


@pytest.mark.parametrize("shares", [False, True])
@pytest.mark.parametrize(("workers", "at_once"), [(1, 1), (1, 5), (2, 3)])
def test_who_is_refused_is_told_when_there_will_be_room(
    shares: bool, workers: int, at_once: int
) -> None:
    """With the pace known, the work in the line is what one waits for: the clock is the oracle."""
    line = Line(12, workers, shares)
    for count in (3, 3):
        line.add([job("ann", steps=50 * count) for _ in range(count)])
    if not shares:
        line.add([job("bob", steps=10) for _ in range(6)])
    line.pace = {0: 0.5, 1: 2.0}
    with pytest.raises(Busy) as refusal:
        line.add([job("ann") for _ in range(at_once)])
    clock = 0.0
    while not line._has_room(Counter(each.key for each in line.jobs), "ann", at_once):
        (drawn,) = line.take(1)
        clock += line.seconds(drawn) / workers
        line.charge([drawn], line.seconds(drawn))
        line.remove(drawn)
    assert refusal.value.retry_after == math.ceil(clock)


def test_nobody_waits_longer_than_until_all_before_are_late() -> None:
    line = line_of(*[job("a", steps=256) for _ in range(4)], limit=4)
    for each in line.jobs:
        each.deadline = time.monotonic() + 20
    line.pace = {0: 1.0, 1: 1.0}
    assert line.wait("b", 1) in (19, 20)
    for each in line.jobs:
        each.is_dropped = True
    assert line.wait("b", 4) == 1


def test_the_pace_is_learnt_from_calls() -> None:
    line = line_of(*[job("a", steps=10) for _ in range(2)])
    assert line.length() == math.ceil(2 * 20 * line_module.UNKNOWN)
    batch = line.take(2)
    for _ in range(5):
        line.learn(batch, 6.0)
    assert line.pace == {0: pytest.approx(3.0)}  # for each of two
    assert line.seconds(batch[0]) == pytest.approx((5 + 10) * 3.0)


# --- what is told ---------------------------------------------------------------------------------


class Told(Ticket):
    """A ticket that remembers what it was told, read or not."""

    def __init__(self, count: int = 1) -> None:
        super().__init__(count, lambda: None)
        self.places: list[int] = []

    def say(self, event: Event, ends: bool = False) -> None:
        assert isinstance(event, Queued)
        self.places.append(event.position)


def places_of(*tickets: tuple[str, int]) -> list[list[int]]:
    """What tickets of so many pictures are told until all is drawn by one worker."""
    told = [Told(count) for _, count in tickets]
    line = Line(100)
    for ticket, (key, count) in zip(told, tickets, strict=True):
        line.add([job(key, ticket=ticket) for _ in range(count)])
        line.tell_positions()
    while line.jobs:
        line.tell_positions()
        draw(line)
    return [ticket.places for ticket in told]


def test_who_waits_is_told_when_its_place_changes() -> None:
    assert places_of(("a", 1), ("b", 1), ("c", 1)) == [[0], [1, 0], [2, 1, 0]]


def test_ones_own_pictures_are_not_before_one() -> None:
    assert places_of(("a", 3)) == [[0]]
    assert places_of(("a", 4), ("b", 2)) == [[0], [1, 0]]  # b's turn comes after a's first
    assert places_of(("a", 2), ("a", 2)) == [[0], [2, 1, 0]]


def test_who_is_drawn_has_the_others_before_its_next() -> None:
    drawn, second, other = (job(key, ticket=Told()) for key in "aab")
    line = line_of(drawn)
    line.take(1)
    line.add([second])
    line.add([other])
    line.tell_positions()
    assert isinstance(second.ticket, Told) and second.ticket.places == [2]
    assert isinstance(other.ticket, Told) and other.ticket.places == [1]


def test_what_only_has_to_be_marked_is_before_nobody() -> None:
    first, second = job("a", stages=1, ticket=Told()), job("b", ticket=Told())
    line = line_of(first, second)
    line.take(1)
    first.drawing.ahead.pop()
    line.tell_positions()
    assert isinstance(second.ticket, Told) and second.ticket.places == [0]


def test_a_client_that_left_is_forgotten() -> None:
    line = line_of(job("a", stages=1))
    draw(line)
    assert line.jobs == [] and line.served == {}
