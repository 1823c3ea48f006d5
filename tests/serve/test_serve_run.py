"""The command itself: it starts, says where, stops without losing work, and errs in one line."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from openimagen.cli import app
from openimagen.serve.keys import read_keys
from openimagen.web import listen

COMMAND = [sys.executable, "-m", "openimagen", "serve", "--port", "0"]


class Served:
    """The command in a process of its own, ready to draw."""

    def __init__(self, *words: object) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.search(r"at (http://\S+) until Ctrl-C", line)
        assert found, line + (self.process.communicate()[1] or "")
        self.address = found[1]
        while self.status("/readyz") != 200:
            time.sleep(0.05)

    def status(self, path: str) -> int:
        """Of an answer; 0 if nobody answers."""
        try:
            with urllib.request.urlopen(self.address + path, timeout=20) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def ask(self, **body: object) -> Any:  # noqa: ANN401  (an open answer)
        """Begin a request; its body is still to come."""
        headers = {"content-type": "application/json"}
        where = self.address + "/v1/images/generations"
        request = urllib.request.Request(where, json.dumps(body).encode(), headers)
        return urllib.request.urlopen(request, timeout=60)

    def in_line(self) -> int:
        """Pictures that it waits for or draws."""
        with urllib.request.urlopen(self.address + "/metrics", timeout=20) as answer:
            found = re.findall(r"engine_(?:waiting|running) (\d+)", answer.read().decode())
        return sum(map(int, found))

    def end(self, number: int = signal.SIGTERM) -> tuple[int, list[dict[str, Any]]]:
        """Stop it: its exit status and what it logged."""
        self.process.send_signal(number)
        _, log = self.process.communicate(timeout=60)
        return self.process.returncode, [json.loads(line) for line in log.splitlines()]


@contextmanager
def served(*words: object) -> Iterator[Served]:
    server = Served(*words)
    try:
        yield server
    finally:
        server.process.kill()
        server.process.communicate()


def events(answer: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401
    for line in answer:
        if line.startswith(b"data: "):
            yield json.loads(line[6:])


def test_sigterm_loses_no_accepted_request(tmp_path: Path) -> None:
    """Streams, a plain request, and a queue that is full."""
    file = tmp_path / "serve.toml"
    file.write_text("[limits]\nwaiting = 12\n")
    with served("--config", file) as server, ThreadPoolExecutor() as pool:
        body = {"prompt": "red zebra", "size": "256x256", "n": 4}
        plain = pool.submit(lambda: json.load(server.ask(**body)))
        streams = [server.ask(**body, stream=True, progress=True) for _ in range(2)]
        assert next(events(streams[0]))["type"] == "openimagen.queued"
        wait_until(lambda: server.in_line() > 8)  # all three are accepted
        with pytest.raises(urllib.error.HTTPError, match="429"):
            server.ask(**body)
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: server.status("/readyz") != 200)
        assert server.status("/readyz") == 503  # it says that it takes nothing more
        with pytest.raises(urllib.error.HTTPError, match="503"):
            server.ask(prompt="a cat", size="64x64")
        for stream in streams:
            told = [event["type"] for event in events(stream)]
            assert told.count("image_generation.completed") == 4 and "error" not in told
        assert len(plain.result(30)["data"]) == 4
        _, log = server.process.communicate(timeout=30)
        assert server.process.returncode == 0
        assert server.status("/healthz") == 0
    lines = [json.loads(line) for line in log.splitlines()]
    assert [line["event"] for line in lines if line["event"] != "request"] == ["ready", "draining"]
    asked = [(line["status"], line["method"]) for line in lines if line.get("pictures") == 4]
    assert sorted(asked) == [(200, "POST")] * 3 + [(429, "POST")]
    assert "zebra" not in log


BUSY = """
import signal, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
import uvicorn
from openimagen.serve.run import Server
server = Server(uvicorn.Config(""), None)
signal.signal(signal.SIGTERM, server.handle_exit)
ThreadPoolExecutor(1).submit(time.sleep, 30)  # as a picture that takes long to decode
print("begun", flush=True)
while not server.should_exit:
    time.sleep(0.01)
"""


def test_a_second_signal_ends_it_whatever_it_is_busy_with() -> None:
    words = [sys.executable, "-c", BUSY]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 128 + signal.SIGTERM


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_ctrl_c_is_as_good(tmp_path: Path) -> None:
    file = tmp_path / "serve.toml"
    file.write_text("log_prompts = true\n[limits]\nsteps = 9\n")
    with served("--config", file) as server:
        long = "a very long prompt " * 50
        with server.ask(prompt=long, size="64x64", steps=[2, 1, 1]) as answer:
            assert "longer than the model reads" in str(json.load(answer)["notes"])
        with pytest.raises(urllib.error.HTTPError, match="400"):
            server.ask(prompt="a fox", steps=10)
        status, log = server.end(signal.SIGINT)
    assert status == 0
    (asked,) = (line for line in log if line.get("pictures"))
    assert asked["prompt"] == long and asked["route"] == "/v1/images/generations"


# --- wrong requests -------------------------------------------------------------------------------


def run(*words: object) -> Result:
    return CliRunner().invoke(app, ["serve", *map(str, words)], prog_name="openimagen")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--host", "0.0.0.0"), "lets others draw: give --keys FILE"),
        (("--host", "::"), "lets others draw"),
        (("--model", "nowhere"), "no model nowhere"),
        (("--keys", "nowhere"), "nowhere: No such file or directory; make it with --add-key NAME"),
        (("--config", "nowhere.toml"), "nowhere.toml: No such file"),
        *(
            (
                ("--host", host, "--open"),
                f"cannot serve at {host}: it is no address of this machine",
            )
            for host in ("999.1.1.1", "a..b", "192.0.2.1", "nowhere.invalid", "x" * 64 + ".org")
        ),
        (("--port", "70000"), "invalid value for '--port'"),
        (("--device", "abacus"), "abacus"),
        (("--add-key", "ann"), "give --keys FILE"),
        (("--prot", "1"), "no such option"),
    ],
)
def test_a_wrong_request_is_one_line_and_status_2(words: tuple[str, ...], why: str) -> None:
    result = run("--port", 0, *words)
    assert result.exit_code == 2, result.output
    assert why in result.stderr and result.stderr.count("\n") == 1


def test_a_port_that_is_taken_is_work_that_failed() -> None:
    with listen("127.0.0.1", 0) as door:
        result = run("--port", door.getsockname()[1])
    assert result.exit_code == 1
    assert "choose another --port" in result.stderr and result.stderr.count("\n") == 1


def test_a_new_key_is_printed_once(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    result = run("--keys", file, "--add-key", "ann")
    assert result.exit_code == 0 and re.fullmatch(r"oi-[\w-]{43}\n", result.stdout)
    assert list(read_keys(file)) == ["ann"] and result.stdout.strip() not in file.read_text()
    again = run("--keys", file, "--add-key", "ann")
    assert again.exit_code == 2 and "ann has a key" in again.stderr
