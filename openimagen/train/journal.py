"""What a run says of itself: `log.jsonl`, TensorBoard events, a progress bar."""

import json
import os
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.progress import TextColumn

from openimagen.files import write_whole
from openimagen.progress import progress_bars


class Journal:
    """Takes down figures and notes of a stage, by images seen; what it knew beyond is forgotten.

    So the log of a run that went back to its last checkpoint is that of one that never stopped.
    All ranks of a run have one; only that of the first writes.
    """

    def __init__(self, out: Path, stage: str, images: int, total: int, writes: bool = True) -> None:
        self.stage, log = stage, out / "log.jsonl"
        if writes:
            out.mkdir(parents=True, exist_ok=True)
            forget(log, stage, images)
        self.file = (log if writes else Path(os.devnull)).open("a", encoding="utf-8")
        self.events = _events(out / "events" / stage, images) if writes else None
        self.bars = progress_bars("images", TextColumn("{task.fields[figure]}"))
        self.bars.disable |= not writes
        self.bars.console.quiet = not writes
        self.bar = self.bars.add_task(stage, total=total, completed=images, figure="")
        self.total, self.clock = total, (time.monotonic(), images)

    def __enter__(self) -> "Journal":
        self.bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.bars.stop()
        with suppress(OSError):  # what could not be written has been said
            self.file.close()
            if self.events is not None:
                self.events.close()

    def advance(self, images: int) -> None:
        """Move the bar."""
        self.bars.update(self.bar, completed=images)

    def record(self, images: int, **values: float) -> None:
        """Log figures, with the rate since the last entry and the time left at that."""
        now, (then, before) = time.monotonic(), self.clock
        self.clock = (now, images)
        rate = (images - before) / max(now - then, 1e-9)
        left = (self.total - images) / rate if rate else 0.0
        values |= {"images_per_second": round(rate, 2), "seconds_left": round(left, 1)}
        self._write(images, **values)
        if self.events is not None:
            points = {f"{self.stage}/{name}": value for name, value in values.items()}
            self.events.add(images, points)
        if "loss" in values:
            self.bars.update(self.bar, figure=f"loss {values['loss']:.4f}")

    def note(self, images: int, message: str) -> None:
        """Say something worth reading, to the log and to whoever watches."""
        self._write(images, note=message)
        text = f"{self.stage} at {images} images: {message}"
        self.bars.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _write(self, images: int, **values: float | str) -> None:
        line = {"stage": self.stage, "images": images, **values, "time": round(time.time(), 1)}
        self.file.write(json.dumps(line) + "\n")
        self.file.flush()


def forget(log: Path, stage: str, images: int) -> None:
    """Drop a stage's lines of beyond `images` images, and a line that was cut off."""

    def stays(line: str) -> bool:
        try:
            entry = json.loads(line)
            is_known = entry["stage"] != stage or entry["images"] <= images
            return bool(is_known and line.endswith("\n"))
        except (ValueError, KeyError):
            return False

    lines = log.read_text("utf-8").splitlines(keepends=True) if log.exists() else []
    if not all(map(stays, lines)):
        write_whole(log, "".join(filter(stays, lines)))


def _events(folder: Path, images: int) -> Any:  # noqa: ANN401  (Events, or None without the extra)
    try:
        from openimagen.train.events import Events
    except ImportError:
        return None
    return Events(folder, images)
