"""What a run says of itself: `log.jsonl`, TensorBoard events, a progress bar."""

import json
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)


class Journal:
    """Writes one line per entry, and shows rate and time left when stderr is a terminal."""

    def __init__(self, out: Path, stage: str, images: int, total: int) -> None:
        self.stage = stage
        self.file = (out / "log.jsonl").open("a", encoding="utf-8")
        self.events = _tensorboard(out / "events" / stage)
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]:.1f} images/s"),
            TimeRemainingColumn(),
            TextColumn("loss {task.fields[loss]:.4f}"),
            console=Console(file=sys.stderr),
            disable=not sys.stderr.isatty(),
        )
        self.bar = self.progress.add_task(stage, total=total, completed=images, rate=0.0, loss=0.0)
        self.clock = (time.monotonic(), images)

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.stop()
        self.file.close()
        if self.events is not None:
            self.events.close()

    def record(self, images: int, **values: float) -> None:
        """Log figures at a number of images seen, with the rate since the last entry."""
        now, (then, before) = time.monotonic(), self.clock
        self.clock = (now, images)
        rate = (images - before) / max(now - then, 1e-9)
        values = {"images_per_second": round(rate, 2), **values}
        line = {"stage": self.stage, "images": images, "time": round(time.time(), 1), **values}
        self.file.write(json.dumps(line) + "\n")
        self.file.flush()
        if self.events is not None:
            for name, value in values.items():
                self.events.add_scalar(f"{self.stage}/{name}", value, images)
        self.progress.update(self.bar, completed=images, rate=rate, loss=values.get("loss", 0.0))

    def note(self, message: str) -> None:
        """Say something worth reading, to the log and to whoever watches."""
        self.file.write(json.dumps({"stage": self.stage, "note": message}) + "\n")
        self.file.flush()
        self.progress.console.print(message)


def _tensorboard(folder: Path) -> Any:  # noqa: ANN401  (SummaryWriter, or None without the extra)
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder))  # type: ignore[no-untyped-call]
