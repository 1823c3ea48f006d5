"""Progress bars on stderr, with rate and time left; silent when stderr is no terminal."""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

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


def progress_bars(unit: str, *more: ProgressColumn) -> Progress:
    """Bars that count in a unit; `more` columns come last."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(unit),
        TimeRemainingColumn(),
        *more,
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
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
