"""`openimagen serve --ray`: what it says, and that stopping it loses nothing."""

import json
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any

import pytest
import ray
from ray import serve
from ray.exceptions import RayError
from test_serve_run import events, run, served, wait_until

from openimagen.serve import on_ray
from openimagen.web import listen


def test_sigterm_loses_no_accepted_request() -> None:
    body = {"prompt": "red zebra", "size": "256x256", "n": 8}
    with served("--ray", "--replicas", 1) as server, ThreadPoolExecutor() as pool:
        stream = server.ask(**body, stream=True, partial_images=1)
        told = events(stream)
        first = next(told)  # its pictures are being drawn
        plain = pool.submit(lambda: data_of(server.ask(**body)))
        wait_until(lambda: server.in_line() > 8)  # both are accepted
        server.process.send_signal(signal.SIGTERM)
        kinds = [event["type"] for event in [first, *told]]
        assert kinds.count("image_generation.completed") == 8 and "error" not in kinds
        assert len(plain.result(60)) == 8
        _, log = server.process.communicate(timeout=60)
        assert server.process.returncode == 0, log
    lines = [json.loads(line) for line in log.splitlines()]  # all of it, of the replica too
    names = [line["event"] for line in lines if line["level"] == "info"]
    assert [name for name in names if name != "request"] == ["ready", "draining"]
    asked = {line["id"]: line["status"] for line in lines if line.get("pictures") == 8}
    assert [*asked.values()] == [200, 200] and stream.headers.get_all("x-request-id")[0] in asked
    assert "zebra" not in log


def test_ray_is_shut_down_once_nobody_asks_it_for_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It would end the process with status 1; by then every line is printed."""
    lines, asking = SimpleQueue[str](), list[bool]()

    def alive() -> bool:
        return any(thread.name.endswith("(relay)") for thread in threading.enumerate())

    monkeypatch.setattr(ray, "init", lambda **_: None)
    monkeypatch.setattr(ray, "shutdown", lambda: asking.append(alive()))
    monkeypatch.setattr("ray.util.queue.Queue", lambda **_: lines)
    monkeypatch.setattr(serve, "start", lambda **_: asking.append(alive()))
    monkeypatch.setattr(serve, "run", lambda *_, **__: None)
    monkeypatch.setattr(on_ray, "application", lambda *_, **__: None)
    monkeypatch.setattr(on_ray, "log_as_json", lambda: None)
    monkeypatch.setattr(on_ray, "wait_and_end", lambda: [lines.put(f"line {n}") for n in range(9)])
    usual = signal.getsignal(signal.SIGTERM)
    try:
        result = run("--ray", "--port", 0)
    finally:
        signal.signal(signal.SIGTERM, usual)
    assert result.exit_code == 0 and asking == [True, False]
    assert "line 8" in result.stderr + capsys.readouterr().err


def data_of(answer: Any) -> list[dict[str, Any]]:  # noqa: ANN401
    return json.load(answer)["data"]


def test_a_port_that_is_taken_is_one_line() -> None:
    with listen("127.0.0.1", 0) as door:
        result = run("--ray", "--port", door.getsockname()[1])
    assert result.exit_code == 1
    assert "choose another --port" in result.stderr and result.stderr.count("\n") == 1


def test_a_proxy_that_does_not_come_up_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def died(**options: object) -> None:
        raise RayError("The actor died.\n\tclass_name: ProxyActor\nIt never ran.")

    for name in ("init", "shutdown"):
        monkeypatch.setattr(ray, name, lambda *_, **__: None)
    monkeypatch.setattr("ray.util.queue.Queue", lambda **_: SimpleQueue())
    monkeypatch.setattr(on_ray, "log_as_json", lambda: None)
    monkeypatch.setattr(serve, "start", died)
    result = run("--ray", "--port", 0)
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1 and "Ray did not come up" in result.stderr
