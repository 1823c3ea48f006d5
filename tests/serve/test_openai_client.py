"""OpenAI's own client against the server with the model that ships: it must not notice."""

import base64
import io
import urllib.request
from collections.abc import Iterator

import openai
import pytest
from fake_engine import FakeEngine
from openai import OpenAI
from openai.types import ImagesResponse
from PIL import Image
from servers import RealServer, listening

from openimagen.config import ModelConfig
from openimagen.serve.config import ServeConfig
from openimagen.serve.images import Verdict
from openimagen.serve.service import Service

SMALL = "64x64"


@pytest.fixture(scope="module")
def client(real: RealServer) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{real.address}/v1", api_key=real.key, max_retries=0) as client:
        yield client


def opened(b64: str | None) -> Image.Image:
    assert b64
    return Image.open(io.BytesIO(base64.b64decode(b64)))


def pictures(answer: ImagesResponse) -> list[Image.Image]:
    assert answer.data
    return [opened(one.b64_json) for one in answer.data]


def file_of(image: Image.Image, name: str = "x.png") -> tuple[str, bytes]:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return name, buffer.getvalue()


def test_three_pictures_are_three(client: OpenAI) -> None:
    answer = client.images.generate(
        prompt="red apple", model="emoji", n=3, size=SMALL, extra_body={"seed": 7}
    )
    drawn = pictures(answer)
    assert [image.size for image in drawn] == [(64, 64)] * 3
    assert len({image.convert("RGB").tobytes() for image in drawn}) == 3
    assert (answer.output_format, answer.background, answer.size) == ("png", "opaque", SMALL)
    again = client.images.generate(prompt="red apple", size=SMALL, extra_body={"seed": 8})
    assert pictures(again)[0].convert("RGB").tobytes() == drawn[1].convert("RGB").tobytes()


def test_what_openai_lacks_goes_in_the_extra_body(client: OpenAI) -> None:
    ours = {"steps": [2, 1, 1], "guidance": 3, "negative_prompt": "grey", "sampler": "heun"}
    plain, steered = (
        pictures(
            client.images.generate(prompt="red apple", size=SMALL, extra_body={"seed": 1, **extra})
        )
        for extra in ({}, ours)
    )
    assert plain[0].tobytes() != steered[0].tobytes()


def test_parameters_of_openai_s_alone_are_noted(client: OpenAI) -> None:
    answer = client.images.generate(
        prompt="red apple",
        size=SMALL,
        quality="high",
        moderation="low",
        user="ann",
        background="transparent",
        output_format="webp",
        output_compression=80,
    )
    (image,) = pictures(answer)
    assert (image.format, image.mode, answer.background) == ("WEBP", "RGBA", "transparent")
    notes = (answer.model_extra or {})["notes"]
    assert {"quality is ignored", "moderation is ignored", "user is ignored"} <= set(notes)


def test_a_url_can_be_fetched_without_a_key(client: OpenAI) -> None:
    answer = client.images.generate(prompt="red apple", size=SMALL, response_format="url")
    assert answer.data and answer.data[0].url and answer.data[0].b64_json is None
    with urllib.request.urlopen(answer.data[0].url, timeout=20) as picture:
        assert Image.open(io.BytesIO(picture.read())).size == (64, 64)


def test_partial_pictures_stream(client: OpenAI) -> None:
    stream = client.images.generate(
        prompt="red apple", size="256x256", stream=True, partial_images=3, extra_body={"seed": 3}
    )
    events = list(stream)
    assert [event.type for event in events] == [
        *["image_generation.partial_image"] * 3,
        "image_generation.completed",
    ]
    assert [event.partial_image_index for event in events[:3]] == [0, 1, 2]  # type: ignore[union-attr]
    assert [opened(event.b64_json).size for event in events[:2]] == [(64, 64)] * 2
    assert opened(events[-1].b64_json).size == (256, 256)
    assert events[-1].usage.total_tokens == 0  # type: ignore[union-attr]
    whole = client.images.generate(prompt="red apple", size="256x256", extra_body={"seed": 3})
    assert pictures(whole)[0].tobytes() == opened(events[-1].b64_json).tobytes()


def test_an_edit_draws_only_where_the_mask_is_clear(client: OpenAI) -> None:
    blue = Image.new("RGB", (64, 64), (20, 40, 200))
    mask = Image.new("RGBA", (64, 64), (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (0, 0, 32, 64))
    answer = client.images.edit(
        image=file_of(blue),
        mask=file_of(mask),
        prompt="red apple",
        size=SMALL,
        extra_body={"seed": 1, "steps": [4, 1, 1]},
    )
    (image,) = pictures(answer)
    drawn = image.convert("RGB")
    assert drawn.crop((32, 0, 64, 64)).tobytes() == blue.crop((32, 0, 64, 64)).tobytes()
    assert drawn.crop((0, 0, 32, 64)).tobytes() != blue.crop((0, 0, 32, 64)).tobytes()


def test_several_images_are_edited_and_streamed(client: OpenAI) -> None:
    images = [file_of(Image.new("RGB", (80, 40), colour)) for colour in ("red", "blue")]
    stream = client.images.edit(
        image=images, prompt="red apple", size=SMALL, stream=True, partial_images=1
    )
    events = list(stream)
    done = [event for event in events if event.type == "image_edit.completed"]
    assert [opened(event.b64_json).size for event in done] == [(64, 32)] * 2
    assert sum(event.type == "image_edit.partial_image" for event in events) == 2


def test_variations(client: OpenAI) -> None:
    picture = file_of(Image.new("RGB", (64, 64), "red"))
    answer = client.images.create_variation(image=picture, n=2, size="256x256")
    assert [image.size for image in pictures(answer)] == [(256, 256)] * 2


def test_models(client: OpenAI) -> None:
    (model,) = client.models.list()
    assert client.models.retrieve("emoji") == model
    assert (model.id, model.object, model.owned_by) == ("emoji", "model", "openimagen")
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-9")


def test_errors_are_the_client_s_own(client: OpenAI, real: RealServer) -> None:
    with pytest.raises(openai.BadRequestError) as wrong:
        client.images.generate(prompt="red apple", size="1792x1024")
    assert (wrong.value.param, wrong.value.code) == ("size", "invalid_value")
    assert "64x64, 256x256, 1024x1024" in wrong.value.message
    assert wrong.value.request_id and wrong.value.request_id.startswith("req_")
    with pytest.raises(openai.BadRequestError) as unknown:
        client.images.generate(prompt="red apple", extra_body={"sede": 1})
    assert unknown.value.param == "sede" and "did you mean seed" in unknown.value.message
    with pytest.raises(openai.BadRequestError, match="less noise than the model knows"):
        blue = file_of(Image.new("RGB", (64, 64), "blue"))
        client.images.edit(image=blue, prompt="x", extra_body={"strength": 1e-200})
    with pytest.raises(openai.NotFoundError) as lost:
        client.images.generate(prompt="red apple", model="dall-e-3")
    assert lost.value.code == "model_not_found"
    with pytest.raises(openai.AuthenticationError) as stranger:
        stranger_of(real.address).images.generate(prompt="red apple")
    assert stranger.value.code == "invalid_api_key"


def stranger_of(address: str) -> OpenAI:
    return OpenAI(base_url=f"{address}/v1", api_key="oi-nobody", max_retries=0)


def test_a_refused_prompt_is_a_policy_violation(client: OpenAI) -> None:
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as refused:
            client.images.generate(prompt="how to build a bomb that kills people", stream=stream)
        assert refused.value.code == "content_policy_violation"


def test_over_the_limit_one_waits_and_then_succeeds(emoji: ModelConfig) -> None:
    limits = {"rate": 120.0, "burst": 1}  # one each half second
    service = Service.of(ServeConfig.model_validate({"limits": limits}), emoji)
    with listening(service, FakeEngine) as address:
        hasty = OpenAI(base_url=f"{address}/v1", api_key="any", max_retries=0)
        hasty.images.generate(prompt="red apple", size=SMALL)
        with pytest.raises(openai.RateLimitError) as limited:
            hasty.images.generate(prompt="red apple", size=SMALL)
        assert limited.value.code == "rate_limit_exceeded"
        assert limited.value.response.headers["retry-after"] == "1"
        patient = hasty.with_options(max_retries=1)  # the client's own wait is what we told it
        assert patient.images.generate(prompt="red apple", size=SMALL).data


def test_what_took_too_long_is_not_drawn_again_and_again(emoji: ModelConfig) -> None:
    engine = FakeEngine()
    engine.failing, engine.retry_after = {0}, 1
    with listening(Service.of(ServeConfig(), emoji), lambda: engine) as address:
        client = OpenAI(base_url=f"{address}/v1", api_key="any", max_retries=2)
        with pytest.raises(openai.InternalServerError) as late:
            client.images.generate(prompt="red apple", size=SMALL)
    assert late.value.code == "too_late" and late.value.status_code == 503
    assert len(engine.tickets) == 1


def test_an_error_in_a_stream_is_raised(emoji: ModelConfig) -> None:
    engine = FakeEngine()
    engine.failing = {0}
    with listening(Service.of(ServeConfig(), emoji), lambda: engine) as address:
        client = OpenAI(base_url=f"{address}/v1", api_key="any", max_retries=0)
        stream = client.images.generate(prompt="red apple", stream=True, partial_images=1)
        with pytest.raises(openai.APIError, match="could not be drawn"):
            list(stream)


def test_every_picture_leaves_marked_and_signed(client: OpenAI) -> None:
    answer = client.images.generate(prompt="red apple", size="256x256")
    assert answer.data and answer.data[0].b64_json
    picture = base64.b64decode(answer.data[0].b64_json)
    body = client.post(
        "/images/verify",
        cast_to=object,
        files={"image": ("x.png", picture)},
        options={"headers": {"content-type": "multipart/form-data"}},
    )
    said = Verdict.model_validate(body)
    assert said.watermark is not None and said.watermark.model == "emoji"
    assert (said.credentials.status, said.credentials.model) == ("untrusted", "emoji")
