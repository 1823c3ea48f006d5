"""Clients that vanish, as sockets do it: the real engine has nothing left to draw for them."""

import json
import socket
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest
from servers import RealServer

MANY = 50


def begun(server: RealServer, stream: bool) -> socket.socket:
    """A connection whose request was sent, nothing of whose answer was read."""
    asked = {"prompt": "red apple", "n": 1, "stream": stream, "partial_images": 8}
    body = json.dumps(asked).encode()
    where = urlsplit(server.address)
    assert where.hostname and where.port
    connection = socket.create_connection((where.hostname, where.port), timeout=20)
    head = (
        f"POST /v1/images/generations HTTP/1.1\r\nhost: {where.netloc}\r\n"
        f"authorization: Bearer {server.key}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    connection.sendall(head.encode() + body)
    return connection


def came(server: RealServer) -> int:
    """Pictures that were ever in the line."""
    state = server.engine.state()
    return state.waiting + state.running + sum(state.ends.values())


def at_work(server: RealServer) -> int:
    """Pictures that are in the line now."""
    state = server.engine.state()
    return state.waiting + state.running


def seconds_until(condition: Callable[[], bool]) -> float:
    """How long that takes; it must come."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < 30
        time.sleep(0.005)
    return time.monotonic() - began


@pytest.mark.parametrize("stream", [True, False])
def test_clients_that_vanish_leave_no_work_behind(real: RealServer, stream: bool) -> None:
    seconds_until(lambda: at_work(real) == 0)
    before, all_of_them = real.engine.state().ends, came(real) + MANY
    clients = [begun(real, stream) for _ in range(MANY)]
    seconds_until(lambda: came(real) == all_of_them)
    for client in clients:
        client.close()
    assert seconds_until(lambda: at_work(real) == 0) < 3.0
    ends = real.engine.state().ends - before
    assert sum(ends.values()) == MANY and ends["dropped"] > MANY / 2
