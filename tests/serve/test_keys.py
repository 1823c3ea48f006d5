"""Keys and rates: strangers get nothing, revoked keys stop, and a fast caller is told to wait."""

import hashlib
import os
import stat
from pathlib import Path

import pytest
from fake_engine import FakeEngine
from servers import MakeClient

from openimagen.serve import keys as keys_module
from openimagen.serve.errors import Refusal
from openimagen.serve.keys import Keys, add_key, read_keys
from openimagen.serve.limits import REMEMBERED, Buckets, neighbourhood
from openimagen.serve.links import Links

GENERATIONS = "/v1/images/generations"
FOX = {"prompt": "a fox", "size": "64x64"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys"


def test_the_file_has_no_key(file: Path) -> None:
    key = add_key(file, "ann")
    assert len(key) > 40 and key not in file.read_text()
    assert file.read_text() == f"ann:{hashlib.sha256(key.encode()).hexdigest()}\n"
    assert stat.S_IMODE(os.stat(file).st_mode) == 0o600
    file.write_text("# ours\n\n" + file.read_text().rstrip())  # no newline at its end
    other = add_key(file, "ben")
    assert other != key
    keys = Keys(file)
    assert (keys.find(key), keys.find(other), keys.find(""), keys.find("oi-x")) == (
        "ann",
        "ben",
        None,
        None,
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("ann", "line 1: must be name:sha256"),
        ("# x\nann:abc", "line 2: must be name:sha256"),
        (f"ann:{'0' * 64}\nann:{'1' * 64}", "line 2: ann is there already"),
        (f"an n:{'0' * 64}", "line 1: must be name:sha256"),
        ("ann:" + "0" * 63 + "G", "line 1"),
    ],
)
def test_a_wrong_file_is_refused_by_line(file: Path, text: str, why: str) -> None:
    file.write_text(text)
    with pytest.raises(ValueError, match=why):
        read_keys(file)


def test_no_file_and_no_name(file: Path) -> None:
    with pytest.raises(ValueError, match="--add-key"):
        Keys(file)
    for name in ("", "a b", "a:b", "x" * 65, "a\n"):
        with pytest.raises(ValueError, match="no name of a key"):
            add_key(file, name)
    add_key(file, "ann")
    with pytest.raises(ValueError, match="take its line out"):
        add_key(file, "ann")


def test_every_hash_is_compared(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No early end tells where in the file a key is, nor how much of a guess was right."""
    first = add_key(file, "ann")
    for name in ("ben", "cat"):
        add_key(file, name)
    compared: list[str] = []

    def compare(given: str, known: str) -> bool:
        compared.append(known)
        return given == known

    monkeypatch.setattr(keys_module.hmac, "compare_digest", compare)
    keys = Keys(file)
    assert keys.find(first) == "ann" and len(compared) == 3


def test_a_line_taken_out_is_a_key_revoked(file: Path) -> None:
    key = add_key(file, "ann")
    keys = Keys(file)
    add_key(file, "ben")
    assert keys.find(key) == "ann" and set(keys.hashes) == {"ann", "ben"}
    file.write_text("# nobody\n")
    assert keys.find(key) is None


def line_of(name: str, key: str) -> str:
    return f"{name}:{hashlib.sha256(key.encode()).hexdigest()}\n"


@pytest.mark.parametrize(
    ("left", "who"),
    [
        (line_of("ben", "b") + "cat:mistyped\n", {"ben"}),
        ("cat:mistyped\n" + line_of("ben", "b"), {"ben"}),
        (line_of("ben", "b") + line_of("ann", "a") + line_of("ann", "c"), {"ben"}),  # whose is it?
        ("nonsense", set()),
        ("", set()),
        (b"\xff\xfe", set()),
        (None, set()),  # no file
    ],
)
def test_a_key_taken_out_is_revoked_whatever_is_left(
    file: Path, left: str | bytes | None, who: set[str], caplog: pytest.LogCaptureFixture
) -> None:
    whole = line_of("ann", "a") + line_of("ben", "b")
    file.write_text(whole)
    keys = Keys(file)
    assert (keys.find("a"), keys.find("b")) == ("ann", "ben")
    if left is None:
        file.unlink()
    else:
        file.write_bytes(left if isinstance(left, bytes) else left.encode())
    for _ in range(3):
        assert {keys.find(key) for key in "abc"} - {None} == who
    assert len(caplog.messages) == (left != "")  # said once
    file.write_text(whole)
    assert (keys.find("a"), keys.find("b")) == ("ann", "ben")


def test_a_change_is_seen_that_the_clock_does_not_tell(file: Path) -> None:
    file.write_text(line_of("ann", "a"))
    keys, when = Keys(file), file.stat()
    file.write_text(line_of("ann", "b"))
    os.utime(file, ns=(when.st_atime_ns, when.st_mtime_ns))
    assert (keys.find("a"), keys.find("b")) == (None, "ann")


def test_strangers_get_nothing(client_of: MakeClient, engine: FakeEngine, file: Path) -> None:
    key = add_key(file, "ann")
    client = client_of(keys=file)
    for given in (None, "", "Bearer", "Bearer ", "Bearer wrong", f"Basic {key}", f"Bearer {key}x"):
        headers = {} if given is None else {"authorization": given}
        for path in ("generations", "edits", "variations", "upscales", "verify"):
            answer = client.post(f"/v1/images/{path}", json=FOX, headers=headers)
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
        assert client.get("/v1/models", headers=headers).status_code == 401
    assert not engine.orders
    answer = client.post(GENERATIONS, json=FOX, headers={"authorization": f"Bearer {key}"})
    assert answer.status_code == 200 and engine.keys == ["ann"]
    assert client.get("/openapi.json").json()["paths"]["/v1/models"]["get"]["security"]
    assert client.get("/healthz").status_code == 200


# --- rates ----------------------------------------------------------------------------------------


def test_a_bucket_fills_at_its_rate() -> None:
    now = 0.0
    buckets = Buckets(60.0, 3, lambda: now)
    for _ in range(3):
        buckets.check("ann")
        buckets.pay("ann", 1)
    with pytest.raises(Refusal) as refused:
        buckets.check("ann")
    assert refused.value.status_code == 429
    assert (refused.value.headers or {})["retry-after-ms"] == "1000"
    buckets.check("ben")
    now = 1.0
    buckets.check("ann")
    buckets.pay("ann", 10)  # more than it holds: let in, and waited for afterwards
    now = 10.5
    with pytest.raises(Refusal) as refused:
        buckets.check("ann")
    assert (refused.value.headers or {})["retry-after-ms"] == "500"
    now = 11.0
    buckets.check("ann")
    now = 1e6
    buckets.check("ann")
    buckets.pay("ann", 3)
    with pytest.raises(Refusal):
        buckets.check("ann")  # it holds no more than its burst


def test_buckets_are_not_remembered_without_end() -> None:
    buckets = Buckets(60.0, 3)
    for number in range(REMEMBERED + 100):
        buckets.pay(str(number), 1)
    assert len(buckets.levels) == REMEMBERED


@pytest.mark.parametrize(
    ("address", "whose"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9%eth0", "2001:db8:1:2::/64"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("testclient", "testclient"),
    ],
)
def test_an_address_counts_as_its_owner(address: str, whose: str) -> None:
    assert neighbourhood(address) == whose


def test_a_request_pays_for_all_its_pictures(client_of: MakeClient, engine: FakeEngine) -> None:
    client = client_of(limits={"rate": 1.0, "burst": 3})
    assert client.post(GENERATIONS, json=FOX | {"n": 3}).status_code == 200
    answer = client.post(GENERATIONS, json=FOX)
    error = answer.json()["error"]
    assert (answer.status_code, error["type"]) == (429, "rate_limit_error")
    assert error["code"] == "rate_limit_exceeded" and 55 <= int(answer.headers["retry-after"]) <= 60
    assert client.get("/v1/models").status_code == 200
    assert len(engine.orders) == 3


def test_wrong_requests_count_too(client_of: MakeClient) -> None:
    client = client_of(limits={"rate": 1.0, "burst": 2})
    statuses = [client.post(GENERATIONS, json={}).status_code for _ in range(3)]
    assert statuses == [400, 400, 429]


# --- links ----------------------------------------------------------------------------------------


def test_links_are_bounded_and_end() -> None:
    now = 0.0
    links = Links(100, 60.0, lambda: now)
    tokens = [links.keep(bytes(40), "image/png") for _ in range(3)]
    assert [links.find(token) is not None for token in tokens] == [False, True, True]
    assert links.bytes == 80 and len(set(tokens)) == 3 and min(map(len, tokens)) >= 43
    now = 30.0
    late = links.keep(bytes(10), "image/png")
    now = 60.0
    assert [links.find(token) is not None for token in (*tokens, late)] == [False] * 3 + [True]
    assert links.bytes == 10
    assert links.find(links.keep(bytes(101), "image/png")) is None and links.bytes == 0
