"""The command itself, in a process of its own, that can be killed."""

import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from openimagen.evaluate.study.design import load_study
from openimagen.evaluate.study.votes import Votes

COMMAND = [sys.executable, "-m", "openimagen", "evaluate", "rate"]


def invite(folder: Path, name: str) -> str:
    """A token."""
    with closing(Votes(folder, load_study(folder))) as votes:
        return votes.invite(name)


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as door:
        return door.getsockname()[1]


def _heeds_ctrl_c() -> None:
    """A background shell has its children ignore SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Served:
    """A study being served."""

    def __init__(self, folder: Path, port: int) -> None:
        words = [*COMMAND, str(folder), "--port", str(port)]
        self.process = subprocess.Popen(
            words,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=_heeds_ctrl_c,
        )
        assert self.process.stdout is not None
        self.said = ""
        for line in self.process.stdout:
            self.said += line
            if found := re.search(r"serving at (\S+)", line):
                self.address = found[1]
                break
        else:
            raise AssertionError(f"it did not start: {self.said}")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def interrupt(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(20)


@contextmanager
def served(folder: Path, port: int = 0) -> Iterator[Served]:
    server = Served(folder, port)
    try:
        yield server
    finally:
        server.kill()
        assert server.process.stdout is not None
        server.process.stdout.close()


def ask(address: str, token: str, path: str, body: object = None) -> dict[str, Any]:
    data = None if body is None else json.dumps(body).encode()
    headers = {"authorization": f"Bearer {token}"}
    request = Request(address + path, data, headers, method="PUT" if data else "GET")
    with urlopen(request, timeout=20) as answer:
        return json.load(answer)
