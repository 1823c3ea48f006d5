"""Whatever is wrong is answered in one shape and one line, under the headers of every answer."""

import json
import logging
from pathlib import Path

import pytest
from fake_engine import FakeEngine
from servers import MakeClient
from starlette.testclient import TestClient

from openimagen.serve import studio
from openimagen.serve.api import POLICY
from openimagen.serve.watch import JsonLines

GENERATIONS = "/v1/images/generations"
FOX = {"prompt": "a fox"}


def error_of(answer: object, status: int) -> dict[str, str | None]:
    assert answer.status_code == status, answer.text  # type: ignore[attr-defined]
    body = answer.json()  # type: ignore[attr-defined]
    assert set(body) == {"error"} and set(body["error"]) == {"message", "type", "param", "code"}
    assert body["error"]["message"] and "\n" not in body["error"]["message"]
    return body["error"]


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({}, "prompt", "missing_required_parameter"),
        ({"prompt": ""}, "prompt", "invalid_value"),
        ({"prompt": " \t\n"}, "prompt", "invalid_value"),
        ({"prompt": "\u200b"}, "prompt", "invalid_value"),
        ({"prompt": " \x00\ufeff\u3164\ufe0f\u0301 \u2028"}, "prompt", "invalid_value"),
        ({"prompt": "x" * 1001}, "prompt", "invalid_value"),
        ({"prompt": 3}, "prompt", "invalid_value"),
        ({"prompt": None}, "prompt", "invalid_value"),
        (FOX | {"n": 0}, "n", "invalid_value"),
        (FOX | {"n": 11}, "n", "invalid_value"),
        (FOX | {"n": "2"}, "n", "invalid_value"),
        (FOX | {"n": 2.0}, "n", "invalid_value"),
        (FOX | {"n": True}, "n", "invalid_value"),
        (FOX | {"size": "512x512"}, "size", "invalid_value"),
        (FOX | {"size": "64x64\n"}, "size", "invalid_value"),
        (FOX | {"size": 64}, "size", "invalid_value"),
        (FOX | {"response_format": "file"}, "response_format", "invalid_value"),
        (FOX | {"output_format": "gif"}, "output_format", "invalid_value"),
        (FOX | {"output_compression": 101}, "output_compression", "invalid_value"),
        (
            FOX | {"background": "transparent", "output_format": "jpeg"},
            "background",
            "invalid_value",
        ),
        (FOX | {"partial_images": 17, "stream": True}, "partial_images", "invalid_value"),
        (FOX | {"seed": -1}, "seed", "invalid_value"),
        (FOX | {"seed": 2**63}, "seed", "invalid_value"),
        (FOX | {"steps": []}, "steps", "invalid_value"),
        (FOX | {"steps": [8, 0, 1]}, "steps", "invalid_value"),
        (FOX | {"steps": 257}, "steps", "invalid_value"),
        (FOX | {"steps": [[8]]}, "steps", "invalid_value"),
        (FOX | {"guidance": "high"}, "guidance", "invalid_value"),
        (FOX | {"guidance": -1}, "guidance", "invalid_value"),
        (FOX | {"sampler": "euler"}, "sampler", "invalid_value"),
        (FOX | {"model": "dall-e-3"}, "model", "model_not_found"),
        (FOX | {"colour": "red"}, "colour", "unknown_parameter"),
        (FOX | {"n": 0, "promt": "a fox"}, "promt", "unknown_parameter"),
        (FOX | {"image": "http://127.0.0.1/"}, "image", "unknown_parameter"),
    ],
)
def test_a_wrong_parameter_is_named(
    client: TestClient, engine: FakeEngine, body: dict[str, object], param: str, code: str
) -> None:
    answer = client.post(GENERATIONS, json=body)
    error = error_of(answer, 404 if code == "model_not_found" else 400)
    assert (error["param"], error["code"]) == (param, code)
    assert param in str(error["message"]) and not engine.orders


def test_a_stranger_is_told_its_neighbour(client: TestClient) -> None:
    error = error_of(client.post(GENERATIONS, json=FOX | {"promt": "x"}), 400)
    assert error["message"] == "unknown parameter promt: did you mean prompt?"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"a fox"',
        b"null",
        b"\xff\xfe",
        b'{"prompt": "\xff"}',
        b'{"prompt": "\\ud800"}',
        b'{"prompt": "a fox", "guidance": NaN}',
        b'{"prompt": "a fox", "guidance": 1e999}',
        b'{"prompt": "a fox", "seed": 1e30}',
        b'{"prompt": ' + b"[" * 20_000,
        b'{"prompt": "a fox"} {"prompt": "a cat"}',
    ],
)
def test_what_is_not_json_is_refused(client: TestClient, engine: FakeEngine, body: bytes) -> None:
    answer = client.post(GENERATIONS, content=body, headers={"content-type": "application/json"})
    error_of(answer, 400)
    assert not engine.orders


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_a_form_of_another_site_s_page_cannot_pose_as_json(client: TestClient, kind: str) -> None:
    content = json.dumps(FOX).encode()
    error_of(client.post(GENERATIONS, content=content, headers={"content-type": kind}), 400)


# --- nowhere --------------------------------------------------------------------------------------

LOST = [
    "/nowhere",
    "/v1",
    "/v1/images",
    "/v1/chat/completions",
    "/v1/models/",
    "/v1/images/generations/",
    "/docs",
    "/redoc",
    "/favicon.ico",
    "/pictures/",
    "/pictures/x",
    "/pictures/../keys",
    "/page/",
    "/page/../run.py",
    "/page/%2e%2e%2frun.py",
    "/page/..%2f..%2fapi.py",
    "/page/%2fetc%2fpasswd",
    "/page/....//....//etc/passwd",
    "/page/run.py",
    "/page/index.html%00.js",
]


@pytest.mark.parametrize("path", LOST)
def test_there_is_nothing_else(client: TestClient, path: str) -> None:
    error = error_of(client.get(path), 404)
    assert "etc" not in str(error["message"])


@pytest.mark.parametrize("path", [GENERATIONS, "/v1/images/edits"])
def test_a_wrong_method_is_told_the_right_one(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert "use POST" in str(error_of(answer, 405)["message"])
    assert answer.headers["allow"] == "POST"


def test_the_page_s_files_are_served_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, client_of: MakeClient
) -> None:
    for name in ("index.html", "studio.js", "secret.py", "frame.css"):
        (tmp_path / name).write_text(f"this is {name}")
    monkeypatch.setattr(studio, "PAGE", tmp_path)
    client = client_of()
    assert client.get("/").text == "this is index.html"
    script = client.get("/page/studio.js")
    assert script.headers["content-type"] == "text/javascript; charset=utf-8"
    assert script.headers["cache-control"] == "no-cache"
    assert client.head("/page/frame.css").status_code == 200
    for name in ("secret.py", "../x"):
        assert client.get(f"/page/{name}").status_code == 404


# --- what every answer has ------------------------------------------------------------------------


def test_every_answer_is_under_the_policy_and_has_an_id(client: TestClient) -> None:
    answers = [client.get(path) for path in ("/", "/nowhere", "/v1/models", "/metrics", "/healthz")]
    answers += [client.post(GENERATIONS, json=body) for body in (FOX, {}, FOX | {"stream": True})]
    answers.append(client.get("/healthz", headers={"host": "evil.example"}))
    for answer in answers:
        assert answer.headers["content-security-policy"] == POLICY
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert answer.headers["x-request-id"].startswith("req_")
        assert not {"server", "access-control-allow-origin"} & set(answer.headers)
    assert "default-src 'none'" in POLICY and "unsafe" not in POLICY and "http" not in POLICY


@pytest.mark.parametrize(
    ("given", "kept"),
    [("my-request-1", True), ("x" * 129, False), ("short", False), ("a b c d e f", False)],
)
def test_a_sane_id_is_kept(client: TestClient, given: str, kept: bool) -> None:
    answer = client.get("/healthz", headers={"x-request-id": given})
    assert (answer.headers["x-request-id"] == given) == kept


def test_a_fault_of_ours_says_nothing_of_itself(
    client: TestClient, engine: FakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    engine.refusal = KeyError("secret detail")
    answer = client.post(GENERATIONS, json=FOX)
    error = error_of(answer, 500)
    assert "secret" not in answer.text and answer.headers["x-request-id"] in str(error["message"])
    assert answer.headers["content-security-policy"] == POLICY
    assert "secret detail" in caplog.text  # whoever runs it is told


def test_the_log_has_no_prompts(
    client_of: MakeClient, caplog: pytest.LogCaptureFixture, engine: FakeEngine
) -> None:
    caplog.set_level(logging.DEBUG)
    body = {"prompt": "zebra", "negative_prompt": "giraffe", "response_format": "url", "n": 2}
    for settings in ({}, {"log_prompts": True}):
        client = client_of(**settings)
        caplog.clear()
        (picture, _) = client.post(GENERATIONS, json=body).json()["data"]
        client.get(picture["url"])
        client.post(GENERATIONS, json=body | {"promt": "okapi"})
        ours = [record for record in caplog.records if record.name.startswith("openimagen")]
        told = "".join(map(JsonLines().format, ours))
        assert ("zebra" in told) == bool(settings)
        assert not any(word in told for word in ("giraffe", "okapi", "127.0.0.1", "testclient"))
        assert picture["url"].rpartition("/")[2] not in told  # whoever has it, has the picture
        assert '"status": 200' in told and '"pictures": 2' in told


# --- other sites ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"sec-fetch-site": "same-origin", "origin": "http://127.0.0.1:8000"}, 200),
        ({"origin": "http://127.0.0.1:8000"}, 200),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://[::1"}, 403),
        ({"host": "evil.example:8000"}, 400),
        ({"host": "localhost.evil.example"}, 400),
        ({"host": "localhost:9"}, 200),
        ({"host": "[::1]:8000"}, 200),
        ({"host": ""}, 400),
        ({"host": "["}, 400),
    ],
)
def test_other_sites_pages_cannot_draw(
    client: TestClient, headers: dict[str, str], status: int
) -> None:
    answer = client.post(GENERATIONS, json=FOX, headers=headers)
    assert answer.status_code == status, answer.text
    if status != 200:
        error_of(answer, status)


def test_a_server_for_others_has_many_names(client_of: MakeClient) -> None:
    client = client_of(host="0.0.0.0", open=True)
    there = {"host": "pictures.example", "origin": "https://pictures.example"}
    assert client.post(GENERATIONS, json=FOX, headers=there).status_code == 200
    there["origin"] = "https://evil.example"
    error_of(client.post(GENERATIONS, json=FOX, headers=there), 403)


# --- coming and going -----------------------------------------------------------------------------


def test_it_is_ready_between_loading_and_draining(client: TestClient, engine: FakeEngine) -> None:
    assert client.get("/readyz").json() == {"status": "ready"}
    service = client.app.state.service  # type: ignore[attr-defined]
    service.draining = True
    for answer in (client.get("/readyz"), client.post(GENERATIONS, json=FOX)):
        assert error_of(answer, 503)["code"] == "draining"
        assert int(answer.headers["retry-after"]) > 0
    service.draining, engine.is_ready = False, False
    assert error_of(client.get("/readyz"), 503)["code"] == "loading"
    assert client.get("/healthz").json() == {"status": "ok"}


def test_metrics_tell_how_it_goes(client_of: MakeClient) -> None:
    client = client_of()
    client.post(GENERATIONS, json=FOX)
    client.get("/nowhere/of/many")
    client.get("/openapi.json")
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    for line in (
        'openimagen_requests_total{method="POST",route="/v1/images/generations",status="200"} 1.0',
        'openimagen_requests_total{method="GET",route="none",status="404"} 1.0',
        'openimagen_requests_total{method="GET",route="/openapi.json",status="200"} 1.0',
        "openimagen_engine_waiting 3.0",
        "openimagen_engine_running 1.0",
    ):
        assert line in answer.text
    assert "nowhere" not in answer.text and "fox" not in answer.text
