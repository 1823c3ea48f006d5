"""Pictures from words, over HTTP."""

import base64
import io

from fake_engine import FakeEngine
from PIL import Image
from starlette.testclient import TestClient


def opened(b64: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(b64)))


def test_pictures_come_in_openai_s_shape(client: TestClient, engine: FakeEngine) -> None:
    body = {"prompt": "a fox", "n": 2, "size": "64x64", "seed": 7, "quality": "high", "user": None}
    answer = client.post("/v1/images/generations", json=body)
    assert answer.status_code == 200, answer.text
    said = answer.json()
    assert [one["seed"] for one in said["data"]] == [7, 8]
    assert [opened(one["b64_json"]).size for one in said["data"]] == [(64, 64)] * 2
    assert (said["size"], said["output_format"], said["background"]) == ("64x64", "png", "opaque")
    assert said["notes"] == ["quality is ignored", "a note"]
    assert [order.seed for order in engine.orders] == [7, 8]
