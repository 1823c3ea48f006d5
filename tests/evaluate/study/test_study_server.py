"""The server: blind, shut to strangers, and with nothing to reach but what it means to give."""

import io
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from simulated_raters import Visitor, make_study, open_booth, picture
from starlette.testclient import TestClient

from openimagen.evaluate.study.booth import Booth
from openimagen.evaluate.study.folder import Entry, write_study
from openimagen.evaluate.study.server import POLICY, build


@pytest.fixture
def booth(tmp_path: Path) -> Booth:
    make_study(tmp_path)
    return open_booth(tmp_path)


def everything(visitor: Visitor) -> dict[str, tuple[dict[str, str], bytes]]:
    """Path -> headers and body of all that a rater's browser can ask for."""
    paths = ["/", "/api/session", *(f"/page/{name}" for name in ("study.js", "view.js"))]
    for page in visitor.pages():
        paths.append(f"/api/pages/{page['key']}")
        for address in visitor.addresses(page["key"]):
            paths += [f"/{address}", f"/{address}?full=1"]
    answers = {path: visitor.client.get(path) for path in paths}
    assert {answer.status_code for answer in answers.values()} == {200}
    return {path: (dict(answer.headers), answer.content) for path, answer in answers.items()}


def test_nothing_on_the_wire_tells_the_model(booth: Booth) -> None:
    everything_seen = everything(Visitor(booth, "ann"))
    study = booth.study
    secrets = {*study.models, *study.files, *(item.category for item in study.items)}
    secrets |= {item.id for item in (*study.items, *study.controls)}
    secrets |= {file.removeprefix("pictures/").removesuffix(".png") for file in study.files}
    for path, (headers, body) in everything_seen.items():
        for secret in secrets:
            assert secret.encode() not in path.encode() + str(headers).encode() + body, path
        assert not path.startswith("/api") or b"control" not in body


def test_pages_and_pictures_look_alike_but_for_the_pixels(booth: Booth) -> None:
    visitor = Visitor(booth, "ann")
    answers = everything(visitor)
    pictures = [headers for path, (headers, _) in answers.items() if path.startswith("/pictures")]
    assert len({frozenset(headers) for headers in pictures}) == 1
    for headers in pictures:
        assert not {"etag", "last-modified", "content-disposition", "server"} & set(headers)
    pages = [visitor.page(page["key"]) for page in visitor.pages()]
    assert len({frozenset(page) for page in pages}) == 1  # controls as the others
    assert len({tuple(map(len, page["sets"])) for page in pages}) == 1


def test_pages_have_other_names_for_every_rater(booth: Booth) -> None:
    ann, bob = ({page["key"] for page in Visitor(booth, name).pages()} for name in ("ann", "bob"))
    assert len(ann) == len(bob) == 6 and not ann & bob


def test_sizes_and_formats_of_the_files_do_not_show(tmp_path: Path) -> None:
    """A folder made by hand: large PNG with remarks here, small JPEG there."""
    picture(0, 0, side=64).save(tmp_path / "x.png")
    picture(1, 0, side=16).save(tmp_path / "y.png")
    both = [Entry("text 0", "c", [tmp_path / "x.png"], [tmp_path / "y.png"])]
    study = write_study(tmp_path, "drawbench", ("ours", "theirs"), both, controls=0, side=32)
    first, second = (files[0] for files in study.items[0].sets)
    picture(0, 0, side=640).crop((0, 0, 640, 480)).save(tmp_path / first)
    exif = Image.Exif()
    exif[0x0131] = "theirs"  # software
    picture(1, 0).save(tmp_path / second, "JPEG", exif=exif)
    visitor = Visitor(open_booth(tmp_path), "ann")
    for address in visitor.addresses(visitor.pages()[0]["key"]):
        body = visitor.client.get(f"/{address}?full=1").content
        with Image.open(io.BytesIO(body)) as image:
            assert (image.format, image.size, dict(image.getexif())) == ("WEBP", (32, 32), {})
        assert b"theirs" not in body


def test_strangers_get_nothing(booth: Booth) -> None:
    visitor = Visitor(booth, "ann")
    key = visitor.pages()[0]["key"]
    for token in ("", "Bearer", "Bearer wrong", "Basic abc"):
        stranger = TestClient(build(booth), headers={"authorization": token})
        for path in ("/api/session", f"/api/pages/{key}"):
            assert stranger.get(path).status_code == 401
        said = stranger.put(f"/api/pages/{key}/quality", json={"answer": "left"})
        assert (said.status_code, booth.votes.votes()) == (401, [])
        assert "ask for a new link" in said.json()["error"]


def test_another_s_pages_are_not_one_s_own(booth: Booth) -> None:
    ann, bob = Visitor(booth, "ann"), Visitor(booth, "bob")
    key = bob.pages()[0]["key"]
    assert ann.client.get(f"/api/pages/{key}").status_code == 404
    answer = ann.vote(key, "quality", "left")
    assert answer.status_code == 404
    assert answer.json() == {"error": "no such pair among yours: open your invitation again"}
    assert [entry.event for entry in booth.votes.audit()] == [answer.json()["error"]]


def test_votes_are_heard_and_shown_again(booth: Booth) -> None:
    visitor = Visitor(booth, "ann")
    key = visitor.pages()[0]["key"]
    for answer in ("left", "right", "right"):
        assert visitor.vote(key, "quality", answer).json() == {"saved": True}
    assert visitor.pages()[0]["answers"] == {"quality": "right", "alignment": None}
    (vote,) = booth.votes.votes()
    model = visitor.looks(key)[1][0]
    assert vote.answer == ("first", "second")[model] or vote.item.startswith("c")
    assert len(booth.votes.audit()) == 2


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 422),
        (b"{", 422),
        (b'{"answer": 1}', 422),
        (b'{"answer": "left", "model": "ours"}', 422),
        (b'{"answer": "maybe"}', 422),
        (b'{"answer": "' + b"x" * 2000 + b'"}', 413),
    ],
)
def test_bad_votes_get_a_clear_error(booth: Booth, body: bytes, status: int) -> None:
    visitor = Visitor(booth, "ann")
    key = visitor.pages()[0]["key"]
    answer = visitor.client.put(f"/api/pages/{key}/quality", content=body)
    assert answer.status_code == status and answer.json()["error"]
    assert booth.votes.votes() == []


@pytest.mark.parametrize(
    "path",
    [
        "/page/../study.json",
        "/page/%2e%2e%2fserver.py",
        "/page/..%2f..%2fserver.py",
        "/page/%2fetc%2fpasswd",
        "/page/server.py",
        "/study.json",
        "/votes.sqlite",
        "/pictures/../study.json",
        "/pictures/x/0/0",
        "/pictures/KEY/0/9",
        "/pictures/KEY/2/0",
        "/pictures/KEY/-1/0",
        "/docs",
    ],
)
def test_nothing_else_can_be_reached(booth: Booth, path: str) -> None:
    visitor = Visitor(booth, "ann")
    path = path.replace("KEY", visitor.pages()[0]["key"])
    answer = visitor.client.get(path)
    assert answer.status_code == 404
    assert booth.study.models[0] not in answer.text


def test_a_lost_picture_names_no_file(booth: Booth) -> None:
    for file in booth.study.files:
        (booth.folder / file).write_bytes(b"broken")
    visitor = Visitor(booth, "ann")
    key = visitor.pages()[0]["key"]
    answer = visitor.client.get(f"/pictures/{key}/0/0")
    assert (answer.status_code, answer.json()) == (500, {"error": "this picture cannot be shown"})


def test_every_answer_is_under_the_policy(booth: Booth) -> None:
    visitor = Visitor(booth, "ann")
    for path in ("/", "/page/study.js", "/api/session", "/nowhere"):
        headers = visitor.client.get(path).headers
        assert headers["content-security-policy"] == POLICY
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
    assert "default-src 'none'" in POLICY and "unsafe" not in POLICY and "http" not in POLICY


def test_a_study_asks_about_looks_without_the_text(tmp_path: Path) -> None:
    make_study(tmp_path, "realism", controls=2)
    visitor = Visitor(open_booth(tmp_path), "ann")
    texts = [visitor.page(page["key"])["text"] for page in visitor.pages()]
    assert texts[:4] == [None] * 4 and None not in texts[4:]
    key = visitor.pages()[-1]["key"]
    assert visitor.vote(key, "caption", "left").status_code == 422  # one picture has no left
    assert visitor.vote(key, "caption", "somewhat").status_code == 200


def test_the_server_starts_without_torch() -> None:
    script = (
        "import sys; from openimagen.evaluate.study import run, booth, server; "
        "print({'torch', 'transformers', 'scipy'} & set(sys.modules))"
    )
    words = [sys.executable, "-c", script]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
