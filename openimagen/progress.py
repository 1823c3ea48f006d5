"""Progress bars on stderr, with rate and time left; where that is no terminal, a line a minute."""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

EVERY = 60.0  # seconds between lines

Advance = Callable[[int, int], None]  # done, total
Watch = Callable[[str, str], AbstractContextManager[Advance]]  # a bar: title and unit


class Rate(ProgressColumn):
    """How many of them a second."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        """The speed of a task in words."""
        return Text(f"{task.speed or 0:.1f} {self.unit}/s")


class Bars(Progress):
    """Bars that count in a unit; off a terminal, what they would show as a line now and then.

    Fields of a task are texts that stand behind its count; an empty one is not told.
    """

    def __init__(self, unit: str, *columns: ProgressColumn) -> None:
        console = Console(stderr=True)
        super().__init__(*columns, console=console, disable=not sys.stderr.isatty())
        self.unit, self.told = unit, self.get_time()

    def update(self, task_id: TaskID, **changes: Any) -> None:  # noqa: ANN401  (rich's)
        """Move a bar."""
        super().update(task_id, **changes)
        if self.disable and self.get_time() - self.told >= EVERY:
            self.told = self.get_time()
            line = self.line(self.tasks[task_id])
            self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def line(self, task: Task) -> str:
        """How far a task is, in words."""
        total = "" if task.total is None else f" of {task.total:.0f}"
        fields = "".join(f", {said}" for said in task.fields.values() if said)
        seconds = task.time_remaining
        left = "" if seconds is None else f", {timedelta(seconds=round(seconds))} left"
        return f"{task.description}: {task.completed:.0f}{total} {self.unit}{fields}{left}"


def progress_bars(unit: str, *more: ProgressColumn) -> Bars:
    """Bars that count in a unit; `more` columns come last."""
    return Bars(
        unit,
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(unit),
        TimeRemainingColumn(),
        *more,
    )


@contextmanager
def progress_bar(title: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    """One bar; call what it yields with (done, total)."""
    with progress_bars(unit) as bars:
        task = bars.add_task(title, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


def unwatched(title: str, unit: str) -> AbstractContextManager[Advance]:
    """No bar at all."""
    return nullcontext(lambda done, total: None)
