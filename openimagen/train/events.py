"""A stage's figures as TensorBoard reads them."""

import os
import socket
import time
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter


class Events:
    """Writes points to a file of its own; those of other files beyond `images` count no more.

    Each is on disk when it is written, and a disk that is full is an OSError here and now. Torch's
    own writer has a thread, which says so with a traceback.
    """

    def __init__(self, folder: Path, images: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{time.time():.0f}.{socket.gethostname()}.{os.getpid()}"
        self.records = RecordWriter((folder / name).open("ab"))
        self._write(Event(file_version="brain.Event:2"))
        start = SessionLog(status=SessionLog.START)
        self._write(Event(step=images + 1, session_log=start))

    def add(self, images: int, values: dict[str, float]) -> None:
        """A point of each of these curves."""
        points = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._write(Event(step=images, summary=Summary(value=points)))

    def close(self) -> None:
        """No more will come."""
        self.records.close()

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        self.records.write(event.SerializeToString())
        self.records.flush()
