"""A full disk, in words."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def telling_of_no_room(run: Path) -> Iterator[None]:
    """Have the system's error name what it is about, and the way on. OSError as before."""
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        go_on = "go on with --resume" if (run / "config.json").exists() else "start again"
        raise OSError(
            f"{error.filename or run} could not be written: {error.strerror}. Make room and {go_on}"
        ) from error
