"""Pictures from words, over HTTP."""

import base64
import io
import threading
from typing import Any

import pytest
from fake_engine import FakeEngine, FakeTicket
from PIL import Image
from servers import MakeClient
from starlette.testclient import TestClient

from openimagen.door import Refused
from openimagen.safety.prompts import Finding
from openimagen.serve.orders import Busy, Order

GENERATIONS = "/v1/images/generations"


def opened(b64: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(b64)))


def test_pictures_come_in_openai_s_shape(client: TestClient, engine: FakeEngine) -> None:
    body = {"prompt": "a fox", "n": 2, "size": "64x64", "seed": 7, "quality": "high", "user": None}
    answer = client.post(GENERATIONS, json=body)
    assert answer.status_code == 200, answer.text
    said = answer.json()
    assert set(said) == {"created", "data", "output_format", "size", "background", "notes"}
    assert [set(one) for one in said["data"]] == [{"b64_json", "seed", "flagged"}] * 2
    assert [one["seed"] for one in said["data"]] == [7, 8]
    assert [opened(one["b64_json"]).size for one in said["data"]] == [(64, 64)] * 2
    assert (said["size"], said["output_format"], said["background"]) == ("64x64", "png", "opaque")
    assert said["notes"] == ["quality is ignored", "a note"]
    assert [order.seed for order in engine.orders] == [7, 8]


def test_every_option_reaches_the_engine(client: TestClient, engine: FakeEngine) -> None:
    body = {
        "prompt": "a fox",
        "model": "emoji",
        "size": "256x256",
        "seed": 2**53 + 1,
        "steps": [9, 2, 1],
        "guidance": 2,
        "negative_prompt": "grey",
        "sampler": "heun",
        "background": "transparent",
        "stream": True,
        "partial_images": 3,
    }
    assert client.post(GENERATIONS, json=body).status_code == 200
    assert engine.orders == [
        Order("a fox", 2**53 + 1, 256, (9, 2, 1), (2.0,), "grey", "heun", True, 3, None)
    ]
    assert engine.keys == ["testclient"]


def test_without_options_it_is_the_model_s_own(client: TestClient, engine: FakeEngine) -> None:
    one, two = (client.post(GENERATIONS, json={"prompt": "a fox"}).json() for _ in range(2))
    assert one["data"][0]["seed"] != two["data"][0]["seed"]  # by chance, 1 in 2^31
    for order, said in zip(engine.orders, (one, two), strict=True):
        assert order == Order("a fox", said["data"][0]["seed"])
    nulls = dict.fromkeys(("n", "size", "seed", "steps", "guidance", "response_format", "stream"))
    assert client.post(GENERATIONS, json={"prompt": "a fox", **nulls}).status_code == 200


def test_orders_are_made_ready_beside_the_server_s_own_thread(
    client: TestClient, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit, threads = engine.submit, set[int]()

    def submitted(*orders: Any) -> FakeTicket:  # noqa: ANN401
        threads.add(threading.get_ident())
        return submit(*orders)

    monkeypatch.setattr(engine, "submit", submitted)
    for stream in (False, True):
        assert client.post(GENERATIONS, json={"prompt": "a fox", "stream": stream}).is_success
    assert client.portal is not None
    assert len(engine.orders) == 2 and client.portal.call(threading.get_ident) not in threads


@pytest.mark.parametrize("form", ["png", "jpeg", "webp"])
def test_formats_are_what_is_asked_for(client: TestClient, form: str) -> None:
    body = {"prompt": "a fox", "output_format": form, "output_compression": 0, "size": "64x64"}
    said = client.post(GENERATIONS, json=body).json()
    assert opened(said["data"][0]["b64_json"]).format == form.upper()
    assert ("output_compression is ignored: PNG keeps all" in said["notes"]) == (form == "png")


def test_a_link_holds_the_picture_for_its_time(client_of: MakeClient) -> None:
    client = client_of(url="https://pictures.example/")
    body = {"prompt": "a fox", "size": "64x64", "response_format": "url", "output_format": "webp"}
    (one,) = client.post(GENERATIONS, json=body).json()["data"]
    assert set(one) == {"url", "seed", "flagged"}
    assert one["url"].startswith("https://pictures.example/pictures/")
    token = one["url"].rpartition("/")[2]
    picture = client.get(f"/pictures/{token}")
    assert picture.headers["content-type"] == "image/webp"
    kept_for = client.app.state.service.links.seconds  # type: ignore[attr-defined]
    age = int(picture.headers["cache-control"].rpartition("=")[2])
    assert kept_for - 60 < age <= kept_for
    assert Image.open(io.BytesIO(picture.content)).size == (64, 64)
    client.app.state.service.links.clock = lambda: 1e12  # type: ignore[attr-defined]
    assert client.get(f"/pictures/{token}").status_code == 404


def test_without_a_url_of_its_own_links_lead_where_the_client_came(client: TestClient) -> None:
    body = {"prompt": "a fox", "size": "64x64", "response_format": "url"}
    (one,) = client.post(GENERATIONS, json=body).json()["data"]
    assert one["url"].startswith("http://127.0.0.1:8000/pictures/")


def test_a_withheld_picture_says_why(client: TestClient, engine: FakeEngine) -> None:
    engine.withheld = {1}
    body = {"prompt": "a fox", "n": 3, "size": "64x64", "seed": 1}
    said = client.post(GENERATIONS, json=body).json()["data"]
    assert [one["flagged"] for one in said] == [None, "indecent", None]
    assert said[1] == {"b64_json": None, "seed": 2, "flagged": "indecent"}


def test_if_all_are_withheld_the_request_is_refused(client: TestClient, engine: FakeEngine) -> None:
    engine.withheld = {0, 1}
    answer = client.post(GENERATIONS, json={"prompt": "a fox", "n": 2, "size": "64x64"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "content_policy_violation")


@pytest.mark.parametrize(
    ("refusal", "status", "code", "param"),
    [
        (Refused(Finding("hate", "that is hateful")), 400, "content_policy_violation", "prompt"),
        (
            Refused(Finding("hate", "that is hateful", "negative_prompt")),
            400,
            "content_policy_violation",
            "negative_prompt",
        ),
        (ValueError("steps: 4 values\nfor 3 stages"), 400, "invalid_value", None),
        (Busy("the server is busy", 3), 429, "queue_full", None),
    ],
)
def test_what_the_engine_refuses(
    client: TestClient,
    engine: FakeEngine,
    refusal: Exception,
    status: int,
    code: str,
    param: str | None,
) -> None:
    engine.refusal = refusal
    for stream in (False, True):
        answer = client.post(GENERATIONS, json={"prompt": "a fox", "stream": stream})
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["param"]) == (status, code, param)
        assert "\n" not in error["message"]
        waits = answer.headers.get("retry-after"), answer.headers.get("retry-after-ms")
        assert waits == (("3", "3000") if status == 429 else (None, None))


def test_a_picture_that_fails_is_an_error_of_the_server(
    client: TestClient, engine: FakeEngine
) -> None:
    engine.failing = {1}
    answer = client.post(GENERATIONS, json={"prompt": "a fox", "n": 2, "size": "64x64"})
    error = answer.json()["error"]
    assert (answer.status_code, error["type"]) == (500, "server_error")
    assert error["message"] == "it could not be drawn"
    assert engine.tickets[0].is_cancelled  # the other picture is not waited for


def test_a_picture_whose_time_is_up_says_when_to_come_again(
    client: TestClient, engine: FakeEngine
) -> None:
    engine.failing, engine.retry_after = {0}, 40
    answer = client.post(GENERATIONS, json={"prompt": "a fox", "size": "64x64"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "too_late")
    assert answer.headers["retry-after"] == "40"


def test_other_names_of_the_model(client_of: MakeClient) -> None:
    client = client_of(aliases=["dall-e-2"])
    asked = {"prompt": "a fox", "size": "64x64"}
    for name, status in (("emoji", 200), ("dall-e-2", 200), ("dall-e-3", 404)):
        answer = client.post(GENERATIONS, json=asked | {"model": name})
        assert answer.status_code == status
    error = answer.json()["error"]
    assert error["code"] == "model_not_found" and "aliases" in error["message"]


@pytest.mark.parametrize("prompt", ["狐", "🦊", "a\u200b", "\u0928\u0940", "\ue000", "…"])
def test_whatever_can_be_seen_is_a_prompt(
    client: TestClient, engine: FakeEngine, prompt: str
) -> None:
    assert client.post(GENERATIONS, json={"prompt": prompt, "size": "64x64"}).status_code == 200
    assert engine.orders[0].prompt == prompt


def test_models_are_listed(client: TestClient) -> None:
    (card,) = client.get("/v1/models").json()["data"]
    assert client.get("/v1/models/emoji").json() == card
    assert (card["id"], card["sizes"]) == ("emoji", ["64x64", "256x256", "1024x1024"])
    assert [stage["side"] for stage in card["stages"]] == [64, 256, 1024]
    assert {"name": "noto", "words": "noto style"} in card["styles"]
    lost = client.get("/v1/models/gpt-9")
    assert (lost.status_code, lost.json()["error"]["code"]) == (404, "model_not_found")
