"""Studies whose pictures say, in their colour, whose they are; raters who go by what they see."""

import io
import random
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from httpx2 import Response
from PIL import Image
from starlette.testclient import TestClient

from openimagen.evaluate.study.booth import Booth
from openimagen.evaluate.study.design import Kind, Study, load_study
from openimagen.evaluate.study.folder import Entry, write_study
from openimagen.evaluate.study.server import build
from openimagen.evaluate.study.votes import Votes

MODELS = ("ours", "theirs")
STEP = 12  # of green, from one text to the next


def picture(model: int, text: int, number: int = 0, side: int = 16) -> Image.Image:
    """Red is the first model's, blue the second's; green is the text."""
    green = STEP * (text + 1)
    colour = (220, green, 10 + number) if model == 0 else (10 + number, green, 220)
    return Image.new("RGB", (side, side), colour)


def entries(texts: int, samples: int = 2) -> Iterator[Entry]:
    for text in range(texts):
        first, second = ([picture(m, text, n) for n in range(samples)] for m in (0, 1))
        yield Entry(f"text {text}", ("Colors", "Counting")[text % 2], first, second)


def make_study(folder: Path, kind: Kind = "drawbench", texts: int = 4, **settings: object) -> Study:
    samples = 1 if kind == "realism" else 2
    write_study(folder, kind, MODELS, entries(texts, samples), **{"controls": 2} | settings)
    return load_study(folder)


def open_booth(folder: Path) -> Booth:
    study = load_study(folder)
    return Booth(folder, study, Votes(folder, study))


class Visitor:
    """A rater's browser."""

    def __init__(self, booth: Booth, name: str) -> None:
        self.client = TestClient(build(booth))
        self.client.headers["authorization"] = f"Bearer {booth.votes.invite(name)}"

    def get(self, path: str) -> dict[str, Any]:
        answer = self.client.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def vote(self, key: str, question: str, answer: str) -> Response:
        return self.client.put(f"/api/pages/{key}/{question}", json={"answer": answer})

    def pages(self) -> list[dict[str, Any]]:
        return self.get("/api/session")["pages"]

    def looks(self, key: str) -> list[tuple[int, int]]:
        """(model, text) of each side, by the colours; the page itself does not tell."""
        return [seen(self.client.get(f"/{side[0]}").content) for side in self.page(key)["sets"]]

    def addresses(self, key: str) -> list[str]:
        """Of all the pictures of a page."""
        return [address for side in self.page(key)["sets"] for address in side]

    def page(self, key: str) -> dict[str, Any]:
        return self.get(f"/api/pages/{key}")


def seen(file: bytes) -> tuple[int, int]:
    """(model, text) of a picture."""
    with Image.open(io.BytesIO(file)) as image:
        red, green, blue = image.convert("RGB").getpixel((8, 8))
    return int(blue > red), round(green / STEP) - 1


def judge(visitor: Visitor, likes: Sequence[float], rng: random.Random) -> None:
    """Answer all: model 0, indifferent or model 1 with the chances `likes`; an alien text loses."""
    for page in visitor.pages():
        key = page["key"]
        text = int(re.findall(r"\d+", visitor.page(key)["text"])[0])
        looks = visitor.looks(key)
        for question in page["answers"]:
            wrong = [side for side, (_, drawn) in enumerate(looks) if drawn != text]
            (preferred,) = rng.choices([0, None, 1], likes)
            if question == "alignment" and wrong:
                answer = "right" if wrong == [0] else "left"
            elif preferred is None:
                answer = "indifferent"
            else:  # both sides of a control are one model's
                answer = "left" if looks[0][0] == preferred else "right"
            assert visitor.vote(key, question, answer).status_code == 200
