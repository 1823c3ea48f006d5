"""Two replicas on a local Ray are one server that draws what `Imagen` draws."""

import base64
import io
from collections.abc import Iterator

import numpy as np
import pytest
import ray
from openai import BadRequestError, OpenAI
from PIL import Image
from ray import serve

from openimagen import Imagen
from openimagen.serve.config import ServeConfig
from openimagen.serve.on_ray import NAME, application
from openimagen.web import listen


@pytest.fixture(scope="module")
def client() -> Iterator[OpenAI]:
    with listen("127.0.0.1", 0) as door:
        port = door.getsockname()[1]
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    config = ServeConfig(ray=True, replicas=2)
    serve.run(application(config, {"num_cpus": 0.1}), name=NAME)
    yield OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0)
    serve.shutdown()
    ray.shutdown()


def test_replicas_draw_what_imagen_draws(client: OpenAI) -> None:
    imagen = Imagen.from_pretrained("emoji")
    for seed in range(4):
        answer = client.images.generate(prompt="red apple", size="64x64", extra_body={"seed": seed})
        data = base64.b64decode((answer.data or [])[0].b64_json or "")
        with Image.open(io.BytesIO(data)) as picture:
            there = np.asarray(picture).astype(int)
        here = np.asarray(imagen("red apple", seed=seed, size=64)[0]).astype(int)
        assert np.abs(there - here).max() <= 1  # a replica has fewer threads: sums round otherwise


def test_streams_come_through_the_proxy(client: OpenAI) -> None:
    events = client.images.generate(prompt="red apple", size="64x64", stream=True, partial_images=2)
    kinds = [event.type for event in events]
    assert kinds == ["image_generation.partial_image"] * 2 + ["image_generation.completed"]


def test_an_answer_has_one_id_a_clients_own_if_it_gave_one(client: OpenAI) -> None:
    for given in ({}, {"x-request-id": "one-of-mine"}):
        answer = client.models.with_raw_response.list(extra_headers=given)
        ids = answer.headers.get_list("x-request-id")
        assert len(ids) == 1 and given.get("x-request-id", ids[0]) == ids[0]


def test_links_that_could_lead_to_another_replica_are_refused(client: OpenAI) -> None:
    with pytest.raises(BadRequestError, match="links are not kept by a server of several replicas"):
        client.images.generate(prompt="red apple", size="64x64", response_format="url")


def test_both_replicas_are_there(client: OpenAI) -> None:
    deployment = serve.status().applications[NAME].deployments[NAME]
    assert deployment.replica_states == {"RUNNING": 2}
