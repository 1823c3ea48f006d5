"""Pictures that clients send: every honest kind is read, nothing too large, damaged or foreign."""

import asyncio
import io
import struct
import zlib
from typing import Any

import pytest
from fake_engine import PLAIN, FakeEngine
from PIL import Image
from servers import MakeClient, exchange
from starlette.testclient import TestClient
from starlette.types import Message

from openimagen.door import Door, Safety
from openimagen.serve.errors import Refusal
from openimagen.serve.uploads import fitting, mask_of, picture_of

EDITS = "/v1/images/edits"
PIXELS = 4096 * 4096


def written(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:  # noqa: ANN401
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def halves(mode: str = "RGB") -> Image.Image:
    """32 x 16: black on the left, white on the right."""
    image = Image.new("L", (32, 16), 0)
    image.paste(255, (16, 0, 32, 16))
    return image.convert(mode)


PICTURE = written(halves())


def bomb(width: int, height: int) -> bytes:
    """A small PNG that says it is large."""
    kind = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", kind), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    parts = (
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


# --- decoding -------------------------------------------------------------------------------------


def rotated() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by a quarter
    return written(halves(), "JPEG", quality=95, exif=exif)


def sixteen_bits() -> bytes:
    grey = Image.new("I;16", (32, 16), 0)
    grey.paste(65535, (16, 0, 32, 16))
    return written(grey)


@pytest.mark.parametrize(
    "data",
    [
        written(halves()),
        written(halves("L")),
        written(halves("1")),
        written(halves("P")),
        written(halves("CMYK"), "JPEG", quality=95),
        written(halves(), "JPEG", quality=95),
        written(halves(), "WEBP", lossless=True),
        written(halves(), "GIF"),
        written(halves(), "GIF", save_all=True, append_images=[Image.new("RGB", (32, 16), "red")]),
        written(halves(), "WEBP", lossless=True, save_all=True, append_images=[halves()]),
        sixteen_bits(),
    ],
    ids=["rgb", "grey", "bits", "palette", "cmyk", "jpeg", "webp", "gif", "gifs", "webps", "16bit"],
)
def test_honest_pictures_are_read_as_they_look(data: bytes) -> None:
    image = picture_of(data, "image", PIXELS, 1024)
    assert (image.mode, image.size) == ("RGB", (32, 16))
    dark, bright = image.getpixel((8, 8)), image.getpixel((24, 8))
    assert max(dark) < 24 and min(bright) > 231  # type: ignore[arg-type]


def test_a_camera_s_turn_is_undone() -> None:
    image = picture_of(rotated(), "image", PIXELS, 1024)
    assert image.size == (16, 32)
    assert max(image.getpixel((8, 4))) < 60 and min(image.getpixel((8, 28))) > 200  # type: ignore[arg-type]


def test_transparency_shows_white() -> None:
    clear = Image.new("RGBA", (16, 16), (255, 0, 0, 0))
    assert picture_of(written(clear), "image", PIXELS, 64).getpixel((8, 8)) == (255, 255, 255)


def test_large_pictures_shrink_to_what_is_drawn() -> None:
    image = picture_of(written(Image.new("RGB", (3000, 30), "red")), "image", PIXELS, 1024)
    assert (image.size, image.getpixel((500, 5))) == ((1024, 10), (255, 0, 0))
    assert fitting((5000, 1), 64) == (64, 1)  # a line stays a line


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "no picture of a kind"),
        (b"GIF8", "damaged"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "no picture of a kind"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "no picture of a kind"),
        (written(halves(), "TIFF"), "no picture of a kind"),
        (written(halves(), "BMP"), "no picture of a kind"),
        (b"\x89PNG\r\n\x1a\n", "damaged"),
        (PICTURE[:60], "truncated"),
        (rotated()[:-200], "image"),
        (bomb(100_000, 100_000), "more than 16777216 pixels"),
        (bomb(4097, 4096), "more than 16777216 pixels"),
        (bomb(65536, 1024), "more than 16777216 pixels"),
    ],
)
def test_what_is_no_picture_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(Refusal, match=why) as refused:
        picture_of(data, "image", PIXELS, 1024)
    assert (refused.value.status_code, refused.value.param) == (400, "image")
    assert "\n" not in refused.value.detail


def test_a_bomb_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def loaded(*_: object) -> None:
        raise AssertionError("it was decoded")

    monkeypatch.setattr(Image.Image, "load", loaded)
    with pytest.raises(Refusal, match="pixels"):
        picture_of(bomb(8192, 8192), "image", PIXELS, 1024)


# --- masks ----------------------------------------------------------------------------------------


def with_hole() -> Image.Image:
    image = Image.new("RGBA", (32, 16), (0, 0, 0, 255))
    image.paste((0, 0, 0, 0), (0, 0, 8, 16))
    return image


@pytest.mark.parametrize(
    ("data", "edge"),
    [(written(with_hole()), 8), (PICTURE, 16), (written(halves("RGBA")), 16), (sixteen_bits(), 16)],
    ids=["transparent", "black", "opaque", "16bit"],
)
def test_a_mask_is_white_where_openai_s_is_clear_or_black(data: bytes, edge: int) -> None:
    mask = mask_of(data, PIXELS, 1024)
    assert (mask.mode, mask.size) == ("L", (32, 16))
    assert [mask.getpixel((x, 8)) for x in (0, edge - 1, edge, 31)] == [255, 255, 0, 0]


def test_a_shrunk_mask_keeps_its_thin_lines() -> None:
    line = Image.new("L", (640, 640), 255)
    line.paste(0, (320, 0, 321, 640))
    mask = mask_of(written(line), PIXELS, 64)
    assert mask.size == (64, 64) and set(mask.tobytes()) == {0, 255}
    assert mask.getpixel((32, 10)) == 255


# --- requests -------------------------------------------------------------------------------------


def test_an_edit_s_picture_and_mask_reach_the_engine(
    client: TestClient, engine: FakeEngine
) -> None:
    data = {"prompt": "a red hat", "n": "2", "size": "64x64", "seed": "3", "steps": "8,1,1"}
    files = {"image": ("../../etc/passwd", PICTURE), "mask": ("m", written(with_hole()))}
    answer = client.post(EDITS, data=data | {"strength": "0.5"}, files=files)
    assert answer.status_code == 200, answer.text
    first, second = engine.orders
    assert (first.seed, second.seed, first.steps) == (3, 4, (8, 1, 1))
    assert first.source is not None and first.source.mask is not None
    assert first.source.strength == 0.5 and first.source.task == "edit"
    assert first.source.picture.tobytes() == halves().tobytes()
    assert first.source.mask.getpixel((0, 0)) == 255


@pytest.mark.parametrize("name", ["image", "image[]"])
def test_several_images_give_n_pictures_each(
    client: TestClient, engine: FakeEngine, name: str
) -> None:
    files = [(name, PICTURE), (name, written(halves("L")))]
    answer = client.post(EDITS, data={"n": "2", "size": "64x64", "seed": "1"}, files=files)
    assert [one["seed"] for one in answer.json()["data"]] == [1, 2, 1, 2]
    assert all(order.prompt == "" for order in engine.orders)


@pytest.mark.parametrize(
    ("path", "strength", "task"),
    [("edits", None, "edit"), ("variations", 0.65, "edit"), ("upscales", None, "upscale")],
)
def test_strength_is_the_task_s_own_unless_told(
    client: TestClient, engine: FakeEngine, path: str, strength: float | None, task: str
) -> None:
    answer = client.post(f"/v1/images/{path}", files={"image": PICTURE}, data={"stream": "true"})
    assert "event: image_edit.completed" in answer.text
    (order,) = engine.orders
    assert order.source is not None
    assert (order.source.strength, order.source.task) == (strength, task)


HEAD = b'--b\r\ncontent-disposition: form-data; name="image"; filename="x"\r\n\r\n'
FORM = "multipart/form-data; boundary=b"


def form(data: dict[str, str], files: dict[str, bytes]) -> bytes:
    """A multipart body, also of nothing."""
    parts = [(f'name="{name}"', text.encode()) for name, text in data.items()]
    parts += [(f'name="{name}"; filename="x"', content) for name, content in files.items()]
    start = "--b\r\ncontent-disposition: form-data; "
    written = [f"{start}{head}\r\n\r\n".encode() + body + b"\r\n" for head, body in parts]
    return b"".join(written) + b"--b--\r\n"


@pytest.mark.parametrize(
    ("path", "data", "files", "param"),
    [
        ("edits", {}, {}, "image"),
        ("edits", {"image": "http://169.254.169.254/latest/meta-data"}, {}, "image"),
        ("edits", {"image[]": "file:///etc/passwd"}, {}, "image[]"),
        ("edits", {"mask": "data:image/png;base64,AAAA"}, {"image": PICTURE}, "mask"),
        ("edits", {"image_url": "http://localhost"}, {"image": PICTURE}, "image_url"),
        ("edits", {}, {"image": b"GIF89a"}, "image"),
        ("edits", {}, {"image": PICTURE, "markup": PICTURE}, "markup"),
        ("edits", {}, {"image": PICTURE, "mask": PICTURE}, "prompt"),
        ("edits", {"prompt": "x"}, {"image": PICTURE, "mask": written(with_hole())[:50]}, "mask"),
        ("edits", {"prompt": "x"}, {"image": PICTURE, "mask": bomb(9000, 9000)}, "mask"),
        ("edits", {"strength": "0"}, {"image": PICTURE}, "strength"),
        ("edits", {"strength": "nan"}, {"image": PICTURE}, "strength"),
        ("edits", {"steps": "8,x"}, {"image": PICTURE}, "steps"),
        ("edits", {"n": "2.5"}, {"image": PICTURE}, "n"),
        ("variations", {"prompt": "a fox"}, {"image": PICTURE}, "prompt"),
        ("variations", {}, {"image": PICTURE, "mask": PICTURE}, "mask"),
        ("upscales", {"strength": "0.5"}, {"image": PICTURE}, "strength"),
        ("verify", {"prompt": "a fox"}, {"image": PICTURE}, "prompt"),
        ("verify", {}, {}, "image"),
        ("verify", {}, {"image": bomb(9000, 9000)}, "image"),
    ],
)
def test_a_wrong_form_is_refused_by_name(
    client: TestClient,
    engine: FakeEngine,
    path: str,
    data: dict[str, str],
    files: dict[str, bytes],
    param: str,
) -> None:
    answer = client.post(
        f"/v1/images/{path}", content=form(data, files), headers={"content-type": FORM}
    )
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == param
    assert not engine.orders


def test_a_mask_of_nothing_is_told_which_colour_is_drawn_anew(client: TestClient) -> None:
    for mode, colour in (("L", 255), ("RGB", "white"), ("RGBA", (255, 255, 255, 255))):
        mask = written(Image.new(mode, (32, 16), colour))  # type: ignore[arg-type]
        answer = client.post(EDITS, data={"prompt": "x"}, files={"image": PICTURE, "mask": mask})
        error = answer.json()["error"]
        assert (answer.status_code, error["param"]) == (400, "mask")
        assert "transparent" in error["message"] and "black" in error["message"]


def test_a_mask_of_blank_words_needs_others(client: TestClient) -> None:
    files = {"image": PICTURE, "mask": written(with_hole())}
    answer = client.post(EDITS, data={"prompt": "\u200b"}, files=files)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "prompt")


def test_a_mask_must_fit(client: TestClient) -> None:
    files = {"image": PICTURE, "mask": written(with_hole().resize((16, 16)))}
    answer = client.post(EDITS, data={"prompt": "x"}, files=files)
    assert answer.status_code == 400 and "the mask is 16x16" in answer.json()["error"]["message"]
    several = [("image", PICTURE), ("image", PICTURE), ("mask", PICTURE)]
    answer = client.post(EDITS, data={"prompt": "x"}, files=several)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "mask")


def test_at_most_four_images(client: TestClient) -> None:
    for count in (5, 9):
        answer = client.post(EDITS, files=[("image", PICTURE)] * count)
        assert answer.status_code == 400


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=b", b""),
        ("multipart/form-data; boundary=b", b"--b\r\nnonsense"),
        (
            "multipart/form-data; boundary=b",
            b"--b\r\ncontent-disposition: form-data\r\n\r\nx\r\n--b--",
        ),
        (
            "multipart/form-data; boundary=b; charset=idna",
            b'--b\r\ncontent-disposition: form-data; name="n"\r\n\r\nxn--\xff\r\n--b--\r\n',
        ),
        ("application/x-www-form-urlencoded", b"prompt=x"),
        ("application/json", b'{"image": "http://localhost"}'),
        ("", b""),
    ],
)
def test_a_broken_body_is_refused(client: TestClient, kind: str, body: bytes) -> None:
    answer = client.post(EDITS, content=body, headers={"content-type": kind})
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")


def test_bytes_are_counted_as_they_stream_in(client_of: MakeClient) -> None:
    client = client_of(limits={"upload_bytes": 5000, "json_bytes": 500})
    given = 0

    async def receive() -> Message:  # without a length, and without an end
        nonlocal given
        given += 1000
        return {
            "type": "http.request",
            "body": HEAD if given == 1000 else bytes(1000),
            "more_body": True,
        }

    start, body = exchange(client, EDITS, FORM, receive)
    assert start["status"] == 413 and b'"code":"too_large"' in body["body"]
    assert given <= 7000
    told = client.post(EDITS, content=b"", headers={"content-type": FORM, "content-length": "5001"})
    assert told.status_code == 413
    long = client.post("/v1/images/generations", json={"prompt": "x" * 600})
    assert long.status_code == 413


def test_a_body_that_drips_is_given_up(client_of: MakeClient) -> None:
    client = client_of(limits={"upload_seconds": 0.1})

    for path, kind in ((EDITS, FORM), ("/v1/images/generations", "application/json")):
        parts = [HEAD]

        async def receive(parts: list[bytes] = parts) -> Message:
            await asyncio.sleep(0.02)
            return {
                "type": "http.request",
                "body": parts.pop() if parts else b"x",
                "more_body": True,
            }

        start, body = exchange(client, path, kind, receive)
        assert start["status"] == 408 and b'"code":"too_slow"' in body["body"]


def test_uploads_have_a_number(client_of: MakeClient) -> None:
    client = client_of(limits={"uploads": 1})
    service = client.app.state.service  # type: ignore[attr-defined]
    assert client.post(EDITS, files={"image": PICTURE}).status_code == 200
    with service.uploads.take("somebody"):
        answer = client.post(EDITS, files={"image": PICTURE})
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "uploads_full")


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_a_signed_picture_that_is_damaged_was_tampered_with(client: TestClient, kind: str) -> None:
    door = Door("fake", Safety(picture_filter=False))
    signed = door.encode(Image.effect_noise((300, 300), 80).convert("RGB"), kind)
    cut = signed[: len(signed) // 2]
    for data in (flipped(signed), *([] if kind == "webp" else [cut])):  # a WebP's note is its end
        answer = client.post("/v1/images/verify", files={"image": data})
        assert answer.status_code == 200, answer.text
        assert answer.json()["credentials"]["status"] == "tampered"
    plain = Door("fake", PLAIN).encode(Image.open(io.BytesIO(signed)), kind)
    answer = client.post("/v1/images/verify", files={"image": plain[:900]})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_image")


def flipped(data: bytes) -> bytes:
    """One bit of the picture's own data changed."""
    changed = bytearray(data)
    changed[len(data) // 2] ^= 1
    return bytes(changed)


def test_verify_knows_the_mark_of_the_model_that_it_serves(client: TestClient) -> None:
    door = Door("fake", Safety(picture_filter=False))
    data = door.encode(door.mark(Image.radial_gradient("L").convert("RGB"), 7), "png")
    answer = client.post("/v1/images/verify", files={"image": data})
    assert answer.json()["watermark"]["model"] == "fake"


def test_verify_tells_what_a_picture_says(client: TestClient) -> None:
    answer = client.post("/v1/images/verify", files={"image": PICTURE})
    assert answer.status_code == 200, answer.text
    assert answer.json()["watermark"] is None
    assert answer.json()["credentials"]["status"] == "none"
