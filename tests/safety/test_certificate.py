"""One's own certificate is checked before it signs; the self-made one is private and lasts."""

import base64
import datetime as dt
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from certificates import ROOT, ROOT_KEY, Key, issue, new_key, write_chain, write_key
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from openimagen.safety import certificate
from openimagen.safety.certificate import (
    find_chain,
    local_identity,
    read_certificates,
    read_identity,
)


def pair(folder: Path, key: Key, *, form: PrivateFormat = PrivateFormat.PKCS8) -> tuple[Path, Path]:
    chain = write_chain(folder / "chain.pem", issue("signer", key, "root", ROOT_KEY), ROOT)
    return chain, write_key(folder / "key.pem", key, form)


KEYS = {
    "es256": new_key,
    "es384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "es512": lambda: ec.generate_private_key(ec.SECP521R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
    "ps256": lambda: rsa.generate_private_key(65537, 2048),
}


@pytest.mark.parametrize("algorithm", KEYS)
def test_an_operators_own_is_read_as_it_was_written(algorithm: str, tmp_path: Path) -> None:
    key = KEYS[algorithm]()
    found = read_identity(*pair(tmp_path, key))
    assert found.algorithm == algorithm
    assert found.key.public_key() == key.public_key()
    assert found.chain_pem == (tmp_path / "chain.pem").read_bytes()
    assert found.key_pem == (tmp_path / "key.pem").read_bytes()


def test_a_key_in_the_older_form_is_written_in_the_newer(tmp_path: Path) -> None:
    found = read_identity(*pair(tmp_path, new_key(), form=PrivateFormat.TraditionalOpenSSL))
    assert b"BEGIN EC PRIVATE KEY" in (tmp_path / "key.pem").read_bytes()
    assert found.key_pem.startswith(b"-----BEGIN PRIVATE KEY-----")


def faulty(folder: Path, fault: str) -> tuple[Path, Path]:
    key = new_key()
    chain, key_file = pair(folder, key)
    leaf = issue("signer", key, "root", ROOT_KEY)
    if fault == "another's key":
        write_key(key_file, new_key())
    elif fault == "wrong order":
        write_chain(chain, ROOT, leaf)
    elif fault == "strange root":
        other = new_key()
        write_chain(chain, leaf, issue("root", other, "root", other, is_root=True))
    elif fault == "past":
        write_chain(chain, issue("signer", key, "root", ROOT_KEY, begins=-9, ends=-1), ROOT)
    elif fault == "to come":
        write_chain(chain, issue("signer", key, "root", ROOT_KEY, begins=2), ROOT)
    elif fault == "encrypted":
        write_key(key_file, key, password=b"secret")
    elif fault == "swapped":
        return key_file, chain
    elif fault == "damaged":
        chain.write_bytes(chain.read_bytes().replace(b"M", b"A", 9))
    elif fault == "no key":
        key_file.write_text("hello")
    elif fault == "no certificate":
        chain.write_bytes(b"\x00\xff" * 99)
    elif fault == "missing":
        chain.unlink()
    elif fault == "folder":
        return folder, key_file
    elif fault == "weak":
        write_key(key_file, rsa.generate_private_key(65537, 1024))
    elif fault == "another kind":
        write_key(key_file, dsa.generate_private_key(1024))
    elif fault == "another curve":
        write_key(key_file, ec.generate_private_key(ec.SECP256K1()))
    return chain, key_file


FAULTS = {
    "another's key": "does not belong to the certificate",
    "wrong order": "put that one first",
    "strange root": "did not issue certificate 1",
    "past": "renew it",
    "to come": "set the clock, or wait",
    "encrypted": "openssl pkey",
    "swapped": "swapped",
    "damaged": "damaged certificate",
    "no key": "holds no PEM private key",
    "no certificate": "holds no PEM certificate",
    "missing": "No such file",
    "folder": "Is a directory",
    "weak": "2048 bits",
    "another kind": "give an EC key",
    "another curve": "give an EC key",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_wrong_files_are_refused_in_one_line_with_the_fix(fault: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=FAULTS[fault]) as caught:
        read_identity(*faulty(tmp_path, fault))
    assert "\n" not in str(caught.value)


def test_the_self_made_one_is_the_users_alone(home: Path) -> None:
    local_identity()
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert {path.name for path in home.iterdir()} == {"signing.pem", "root.pem"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in home.iterdir()} == {0o600}
    (home / "signing.pem").chmod(0o644)
    home.chmod(0o755)
    local_identity()
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert stat.S_IMODE((home / "signing.pem").stat().st_mode) == 0o600


def test_the_self_made_one_is_as_c2pa_asks_and_names_nobody(home: Path) -> None:
    leaf, root = local_identity().chain
    for each, is_root in ((leaf, False), (root, True)):
        usage = each.extensions.get_extension_for_class(x509.KeyUsage)
        assert usage.critical
        assert usage.value.digital_signature is not is_root
        assert usage.value.key_cert_sign is is_root
        assert each.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is is_root
        each.verify_directly_issued_by(root)
    purposes = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purposes) == [ExtendedKeyUsageOID.EMAIL_PROTECTION]
    assert x509.load_pem_x509_certificate((home / "root.pem").read_bytes()) == root
    own = r",O=openimagen \(self-made\)"
    assert re.fullmatch(f"CN=local signer{own}", leaf.subject.rfc4514_string())
    assert re.fullmatch(f"CN=local root [0-9a-f]{{8}}{own}", root.subject.rfc4514_string())
    assert local_identity().chain == (leaf, root)  # the second time, the same


def ahead(monkeypatch: pytest.MonkeyPatch, years: float) -> None:
    """Let so much time pass."""

    class Later(dt.datetime):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> "Later":
            later = dt.datetime.now(tz) + dt.timedelta(days=365 * years)
            return cls.fromtimestamp(later.timestamp(), tz)

    class Clock:
        UTC, timedelta, datetime = dt.UTC, dt.timedelta, Later

    monkeypatch.setattr(certificate, "dt", Clock)


@pytest.mark.parametrize(
    ("years", "same_leaf", "same_root"), [(4.9, True, True), (5.1, False, True), (31, False, False)]
)
def test_it_is_renewed_in_time(
    years: float, same_leaf: bool, same_root: bool, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    leaf, root = local_identity().chain
    ahead(monkeypatch, years)
    later = local_identity()
    assert (later.chain[0] == leaf) is same_leaf
    assert (later.chain[1] == root) is same_root
    assert later.chain[0].public_key() == later.key.public_key()
    left = later.chain[0].not_valid_after_utc - certificate.dt.datetime.now(dt.UTC)
    assert left > dt.timedelta(days=365 * 5)
    assert x509.load_pem_x509_certificate((home / "root.pem").read_bytes()) == later.chain[1]
    assert local_identity().chain == later.chain


def test_of_two_that_write_at_once_the_first_stays(tmp_path: Path) -> None:
    path = tmp_path / "signing.pem"
    certificate.create(path, b"first")
    certificate.create(path, b"second")
    assert path.read_bytes() == b"first"
    certificate.replace(path, b"third")
    assert path.read_bytes() == b"third"
    assert [*tmp_path.iterdir()] == [path]


def test_processes_that_start_at_once_agree_on_one(home: Path) -> None:
    program = (
        "import sys; from openimagen.safety.certificate import local_identity; "
        "print('ready', flush=True); sys.stdin.readline(); "
        "print(hash(local_identity().chain_pem))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for _ in range(4)
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    answers = {racer.communicate("go\n")[0] for racer in racers}
    assert [racer.returncode for racer in racers] == [0] * 4
    assert len(answers) == 1
    assert {path.name for path in home.iterdir()} == {"signing.pem", "root.pem"}


@pytest.mark.parametrize("damage", ["cut", "foreign key", "empty", "garbage"])
def test_a_damaged_one_is_told_not_replaced(damage: str, home: Path) -> None:
    local_identity()
    path = home / "signing.pem"
    whole = path.read_bytes()
    other = write_key(home.parent / "other.pem", new_key()).read_bytes()
    start = whole.index(b"-----BEGIN PRIVATE KEY-----")
    contents = {
        "cut": whole[:-40],
        "foreign key": whole[:start] + other + whole[start + len(other) :],
        "empty": b"",
        "garbage": b"\xff\xfe" * 500,
    }[damage]
    path.write_bytes(contents)
    with pytest.raises(ValueError, match="damaged: delete it") as caught:
        local_identity()
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == contents
    path.unlink()
    local_identity()


def test_a_folder_that_cannot_be_is_told_with_the_ways_out(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").write_text("a file in the way")
    with pytest.raises(ValueError, match="set XDG_DATA_HOME, or turn content credentials off"):
        local_identity()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", "relative/is/ignored")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    local_identity()
    assert (tmp_path / "home/.local/share/openimagen/credentials/signing.pem").is_file()


def test_certificates_are_found_among_bytes_and_damaged_ones_passed_over() -> None:
    leaf = issue("signer", new_key(), "root", ROOT_KEY)
    der, above = (each.public_bytes(Encoding.DER) for each in (leaf, ROOT))
    serial = str(leaf.serial_number)
    signer, root = "CN=signer,O=Example Studio", "CN=root,O=Example Studio"
    assert find_chain(b"\x30\x82" * 9 + der + b"..." + above + b"...", serial) == (signer, root)
    assert find_chain(der, serial) == (signer,)
    assert find_chain(der, serial, [ROOT]) == (signer, root)
    assert find_chain(above, serial) == ()
    for at in range(len(der)):
        damaged = der[:at] + bytes([der[at] ^ 3]) + der[at + 1 :]
        assert len(find_chain(damaged + above, serial)) <= 2


def test_a_root_whose_names_are_damaged_is_no_anchor(tmp_path: Path) -> None:
    der = ROOT.public_bytes(Encoding.DER)
    at = der.index(b"Example Studio") - 2
    damaged = base64.encodebytes(der[:at] + b"\x02" + der[at + 1 :])
    pem = b"-----BEGIN CERTIFICATE-----\n" + damaged + b"-----END CERTIFICATE-----\n"
    (tmp_path / "root.pem").write_bytes(pem)
    with pytest.raises(ValueError, match="damaged certificate"):
        read_certificates(tmp_path / "root.pem")
