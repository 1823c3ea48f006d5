"""The line: bounded, fair, and only those who can draw together do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openimagen.drawing import Drawing
from openimagen.serve.line import Job, Line
from openimagen.serve.orders import Busy, Order, Queued
from openimagen.serve.ticket import Ticket


def job(key: str, *, steps: int = 8, stages: int = 2) -> Job:
    order = Order("fox", 0)
    drawing = Drawing("fox", 0, [*range(stages)], [{"steps": steps}] * stages)
    return Job(order, 0, Ticket(1, lambda: None), key, drawing, 2 * stages, deadline=1e12)


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


def test_who_waits_is_told_when_its_place_changes() -> None:
    jobs = [job(key, stages=1) for key in "abc"]
    line = line_of(*jobs)
    line.tell_positions()
    draw(line)
    line.tell_positions()
    line.tell_positions()
    told = [list(each.ticket._events) for each in jobs]
    assert told == [[Queued(0)], [Queued(1), Queued(0)], [Queued(2), Queued(1)]]


def test_a_client_that_left_is_forgotten() -> None:
    line = line_of(job("a", stages=1))
    draw(line)
    assert line.jobs == [] and line.served == {}
