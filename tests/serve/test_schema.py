"""Schemathesis reads our description and tries to break us: nothing it finds is a fault of ours.

Every operation is tried with what the description allows, and with what it does not.
"""

from collections.abc import Iterator

import hypothesis
import pytest
import schemathesis
from fake_engine import FakeEngine
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st
from PIL import Image
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance
from servers import RealServer, listening
from test_uploads import written

from openimagen import model_folder
from openimagen.config import ModelConfig
from openimagen.serve.api import build
from openimagen.serve.config import ServeConfig
from openimagen.serve.service import Service

EXAMPLES = 25  # of each operation
DRAWN = 8  # of each that draws, with the model that ships
PICTURES = [written(Image.new("RGB", (8, 8), "red"), form) for form in ("PNG", "JPEG", "WEBP")]


def picture_or_not() -> st.SearchStrategy[bytes]:
    """Files as they come: pictures, cut pictures, anything."""
    pictures = st.sampled_from(PICTURES)
    cut = st.builds(lambda data, end: data[:end], pictures, st.integers(0, 60))
    return st.one_of(pictures, cut, st.binary(max_size=100))


schemathesis.openapi.format("binary", picture_or_not())


model = model_folder.read_model_file(model_folder.find_model("emoji")).model
schema = schemathesis.openapi.from_dict(
    build(Service.of(ServeConfig(), model), FakeEngine).openapi()
)


@pytest.fixture(scope="module")
def address(emoji: ModelConfig) -> Iterator[str]:
    with listening(Service.of(ServeConfig(), emoji), FakeEngine) as address:
        yield address


def tried(examples: int) -> hypothesis.settings:
    """The same ones each time."""
    return hypothesis.settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


@schema.parametrize()
@tried(EXAMPLES)
def test_nothing_that_is_sent_breaks_the_server(case: schemathesis.Case, address: str) -> None:
    # not checked is what no description says: which files are pictures, that JPEG and
    # transparency exclude each other; nor forms for types, which are text all
    unsaid = [positive_data_acceptance]
    if case.media_type == "multipart/form-data":
        unsaid.append(negative_data_rejection)
    case.call_and_validate(address, excluded_checks=unsaid)


@pytest.mark.parametrize("route", ["generations", "edits", "variations", "upscales"])
@tried(DRAWN)
@hypothesis.given(data=st.data())
def test_nor_does_it_break_the_engine_and_the_door(
    route: str, data: st.DataObject, real: RealServer
) -> None:
    """What the description allows, made small: drawn, checked, marked, signed."""
    case = data.draw(schema[f"/v1/images/{route}"]["POST"].as_strategy())
    side = 256 if route == "upscales" else 64
    case.body = case.body | {"size": f"{side}x{side}", "steps": 1, "n": 1, "model": "emoji"}
    case.headers = {"authorization": f"Bearer {real.key}"}
    answer = case.call(base_url=real.address)
    assert answer.status_code in (200, 400), answer.text
    assert b"server_error" not in answer.content  # in a stream
