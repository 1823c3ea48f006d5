"""Who signs content credentials: a key, its certificate, and the certificates above that.

An operator brings their own. Without one, a machine makes itself a root and a certificate under
it: enough to see a changed picture by, but nobody's word for who signed, so nobody trusts it.
"""

import datetime as dt
import os
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
KINDS = "an EC key on P-256, P-384 or P-521, Ed25519, or RSA of 2048 bits or more"

OWN, ROOT = "signing.pem", "root.pem"  # all of the local identity; its root alone, to hand out
ORGANISATION = "openimagen (self-made)"
DAY = dt.timedelta(days=1)
ROOT_LIFE, LIFE = 40 * 365 * DAY, 10 * 365 * DAY
MARGIN = LIFE / 2  # whenever a picture is signed, its certificate holds for so long at least


IN_BYTES = re.compile(rb"\x30\x82(..)\x30\x82..\xa0\x03\x02\x01\x02", re.DOTALL)  # X.509 v3, DER
MOST = 16  # certificates that are looked at in a picture


@dataclass(frozen=True)
class Identity:
    """A private key and its chain: the signing certificate, then each one's issuer."""

    chain: tuple[x509.Certificate, ...]
    key: PrivateKey

    @property
    def algorithm(self) -> str:
        """COSE's name of how this key signs."""
        if isinstance(self.key, ec.EllipticCurvePrivateKey):
            return CURVES[self.key.curve.name]
        return "ed25519" if isinstance(self.key, ed25519.Ed25519PrivateKey) else "ps256"

    @property
    def chain_pem(self) -> bytes:
        """The certificates, the signing one first."""
        return b"".join(map(to_pem, self.chain))

    @property
    def key_pem(self) -> bytes:
        """The key, PKCS 8, not encrypted."""
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def read_identity(certificate: Path, key: Path) -> Identity:
    """An operator's own, from PEM files.

    Raises ValueError, one line with the fix, for files that hold something else, a key that is not
    the certificate's, a chain out of order, dates that are past or to come.
    """
    chain = read_certificates(certificate)
    found = parse_key(read_file(key), key)
    places = [number for number, each in enumerate(chain) if is_key_of(found, each)]
    if not places:
        raise ValueError(
            f"the key {key} does not belong to the certificate {certificate}: "
            "give the key that the certificate was requested with"
        )
    if places[0]:
        raise ValueError(
            f"{certificate} does not begin with the certificate of {key}: "
            "put that one first, then the one that issued it, and so on"
        )
    check_order(chain, certificate)
    check_dates(chain, certificate)
    return Identity(tuple(chain), found)


def read_certificates(path: Path) -> list[x509.Certificate]:
    """The certificates of a PEM file. ValueError if it has none or one of them is damaged."""
    blob = read_file(path)
    if b"-----BEGIN CERTIFICATE-----" not in blob:
        swapped = " but a private key: are the two files swapped?" if b"PRIVATE KEY" in blob else ""
        raise ValueError(
            f"{path} holds no PEM certificate{swapped or ' (-----BEGIN CERTIFICATE-----)'}: "
            "give the certificate's file"
        )
    try:
        found = x509.load_pem_x509_certificates(blob)
        for each in found:
            check_names(each)
        return found
    except ValueError:
        raise ValueError(f"{path} holds a damaged certificate: export it as PEM again") from None


def check_names(certificate: x509.Certificate) -> None:
    """Read what is otherwise read when first asked for. ValueError if it is damaged."""
    certificate.subject.rfc4514_string()
    certificate.issuer.rfc4514_string()


def parse_key(blob: bytes, path: Path) -> PrivateKey:
    """The private key in a PEM file. ValueError if it is encrypted, damaged or of another kind."""
    try:
        key = load_pem_private_key(blob, None)
    except TypeError:
        raise ValueError(
            f"the key {path} is encrypted: decrypt it with `openssl pkey -in KEY -out PLAIN`"
        ) from None
    except Exception:  # ValueError, UnsupportedAlgorithm, whatever a strange file brings about
        raise ValueError(
            f"{path} holds no PEM private key (-----BEGIN PRIVATE KEY-----): give the key's file"
        ) from None
    if (
        isinstance(key, ed25519.Ed25519PrivateKey)
        or (isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in CURVES)
        or (isinstance(key, rsa.RSAPrivateKey) and key.key_size >= 2048)
    ):
        return key
    raise ValueError(f"the key {path} is of a kind that C2PA does not take: give {KINDS}")


def read_file(path: Path) -> bytes:
    """A file's bytes. ValueError if it cannot be read."""
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = error.strerror if isinstance(error, OSError) else "not a file name"
        raise ValueError(f"cannot read {str(path)!r} ({reason}): give a PEM file") from None


def is_key_of(key: PrivateKey, certificate: x509.Certificate) -> bool:
    """Whether the certificate is this key's."""
    try:
        return certificate.public_key() == key.public_key()
    except Exception:  # a public key of a kind that is not supported
        return False


def check_order(chain: Sequence[x509.Certificate], path: Path) -> None:
    """Each certificate must be issued by the next, or ValueError."""
    for number, (below, above) in enumerate(pairwise(chain), 1):
        if not is_issued_by(below, above):
            raise ValueError(
                f"certificate {number + 1} of {path} did not issue certificate {number}: "
                "put the signing one first, then its issuer, and so on"
            )


def is_issued_by(below: x509.Certificate, above: x509.Certificate) -> bool:
    """Whether one certificate is signed with another's key."""
    try:
        below.verify_directly_issued_by(above)
    except Exception:  # ValueError, TypeError, InvalidSignature
        return False
    return True


def check_dates(chain: Sequence[x509.Certificate], path: Path) -> None:
    """All certificates must be valid now, or ValueError."""
    now = dt.datetime.now(dt.UTC)
    for number, each in enumerate(chain, 1):
        if now > each.not_valid_after_utc:
            when = f"ended on {each.not_valid_after_utc:%Y-%m-%d}"
            raise ValueError(f"certificate {number} of {path} {when}: renew it")
        if now < each.not_valid_before_utc:
            when = f"begins on {each.not_valid_before_utc:%Y-%m-%d}"
            raise ValueError(f"certificate {number} of {path} {when}: set the clock, or wait")


def find_chain(
    store: bytes, serial: str | None, roots: Sequence[x509.Certificate] = ()
) -> tuple[str, ...]:
    """The subjects of the certificate with that number and of those above it, as far as known.

    They lie as they are among the bytes of a picture's credentials, the signing one's last.
    """
    known = list(roots)
    for match in list(IN_BYTES.finditer(store))[-MOST:]:
        blob = store[match.start() :][: 4 + int.from_bytes(match[1])]
        try:
            found = x509.load_der_x509_certificate(blob)
            check_names(found)
        except ValueError:  # not a certificate after all
            continue
        known.append(found)
    chain = [each for each in known[::-1] if str(each.serial_number) == serial][:1]
    while chain and chain[-1].issuer != chain[-1].subject and len(chain) < MOST:
        above = [each for each in known if is_issued_by(chain[-1], each)]
        if not above:
            break
        chain.append(above[0])
    return tuple(each.subject.rfc4514_string() for each in chain)


def local_identity() -> Identity:
    """This machine's self-made one, kept in the user's data folder; made at the first call.

    The same for all processes of a user. Renewed under the same root half its life before its end.
    Raises ValueError if the folder cannot be written or what is in it is damaged.
    """
    folder = local_folder()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        keep_private(folder, 0o700)
        if not (folder / OWN).exists():
            root, root_key = make_root()
            create(folder / OWN, as_file(root, root_key, *make_leaf(root, root_key)))
        return kept_identity(folder)
    except OSError as error:
        raise ValueError(
            f"cannot keep a certificate in {folder} ({error.strerror}): give your own certificate "
            "and key, set XDG_DATA_HOME, or turn content credentials off"
        ) from None


def local_folder() -> Path:
    """Where the self-made identity is kept: under XDG_DATA_HOME, or ~/.local/share."""
    base = Path(os.environ.get("XDG_DATA_HOME") or "")
    if not base.is_absolute():  # as the standard has it
        try:
            base = Path.home() / ".local" / "share"
        except RuntimeError:
            raise ValueError("there is no home folder: set XDG_DATA_HOME") from None
    return base / "openimagen" / "credentials"


def kept_identity(folder: Path) -> Identity:
    """What the folder holds, renewed if it is time. ValueError if it is damaged.

    Two processes that renew at once each sign with their own; the root above them is the same.
    """
    path = folder / OWN
    keep_private(path, 0o600)
    leaf, root, key, root_key = parse_own(read_file(path), path)
    now = dt.datetime.now(dt.UTC)
    if root.not_valid_after_utc - now < LIFE:
        root, root_key = make_root()
        leaf, key = make_leaf(root, root_key)
    elif leaf.not_valid_after_utc - now < MARGIN or now < leaf.not_valid_before_utc:
        leaf, key = make_leaf(root, root_key)
    contents = as_file(root, root_key, leaf, key)
    if contents != path.read_bytes():
        replace(path, contents)
    if not (folder / ROOT).exists() or (folder / ROOT).read_bytes() != to_pem(root):
        replace(folder / ROOT, to_pem(root))
    return Identity((leaf, root), key)


def parse_own(
    blob: bytes, path: Path
) -> tuple[x509.Certificate, x509.Certificate, PrivateKey, PrivateKey]:
    """Certificate and root, their keys. ValueError if the file is not as `as_file` made it."""
    begin = b"-----BEGIN PRIVATE KEY-----"
    try:
        leaf, root = x509.load_pem_x509_certificates(blob)
        key, root_key = (parse_key(begin + part, path) for part in blob.split(begin)[1:])
        if not (is_issued_by(leaf, root) and is_key_of(key, leaf) and is_key_of(root_key, root)):
            raise ValueError("they do not belong together")
    except Exception:  # whatever a damaged file brings about
        raise ValueError(f"{path} is damaged: delete it, and a new one is made") from None
    return leaf, root, key, root_key


def as_file(
    root: x509.Certificate, root_key: PrivateKey, leaf: x509.Certificate, key: PrivateKey
) -> bytes:
    """One file for all of it, so that it is whole or not there."""
    own, above = Identity((leaf, root), key), Identity((root,), root_key)
    return own.chain_pem + own.key_pem + above.key_pem


def create(path: Path, contents: bytes) -> None:
    """Write a file, mode 0600, at once and only if there is none: of two processes one wins."""
    partial = written(path, contents)
    try:
        os.link(partial, path)
    except FileExistsError:
        pass
    finally:
        partial.unlink()


def replace(path: Path, contents: bytes) -> None:
    """Write a file, mode 0600, at once, in place of what is there."""
    os.replace(written(path, contents), path)


def written(path: Path, contents: bytes) -> Path:
    """A new file beside `path`, only the user's."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(contents)
        file.flush()
        os.fsync(file.fileno())
    return partial


def keep_private(path: Path, mode: int) -> None:
    """Take away what others may do with it."""
    if path.stat().st_mode & 0o077:
        path.chmod(mode)


def make_root() -> tuple[x509.Certificate, PrivateKey]:
    """A root that signs itself. Its name is drawn by lot, and tells nothing of user or machine."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = named(f"local root {secrets.token_hex(4)}")
    usage = key_usage(crl_sign=True, key_cert_sign=True)
    draft = draft_certificate(name, name, key, key, ROOT_LIFE, usage)
    draft = draft.add_extension(x509.BasicConstraints(True, 0), critical=True)
    return draft.sign(key, hashes.SHA256()), key


def make_leaf(root: x509.Certificate, root_key: PrivateKey) -> tuple[x509.Certificate, PrivateKey]:
    """A certificate under the root, for signing content credentials and nothing else."""
    key = ec.generate_private_key(ec.SECP256R1())
    usage = key_usage(digital_signature=True)
    subject = named("local signer")
    draft = draft_certificate(subject, root.subject, key, root_key, LIFE, usage)
    draft = draft.add_extension(x509.BasicConstraints(False, None), critical=True).add_extension(
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False
    )
    return draft.sign(root_key, hashes.SHA256()), key


def draft_certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: PrivateKey,
    issuer_key: PrivateKey,
    life: dt.timedelta,
    usage: x509.KeyUsage,
) -> x509.CertificateBuilder:
    """What both certificates have; valid from yesterday, for clocks that are late."""
    now = dt.datetime.now(dt.UTC)
    above = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    return (
        x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - DAY)
        .not_valid_after(now + life)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(above, critical=False)
    )


def named(common: str) -> x509.Name:
    """A subject."""
    organisation = x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANISATION)
    return x509.Name([organisation, x509.NameAttribute(NameOID.COMMON_NAME, common)])


def key_usage(
    *, digital_signature: bool = False, crl_sign: bool = False, key_cert_sign: bool = False
) -> x509.KeyUsage:
    """A key usage of these alone."""
    return x509.KeyUsage(
        digital_signature=digital_signature,
        crl_sign=crl_sign,
        key_cert_sign=key_cert_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def to_pem(certificate: x509.Certificate) -> bytes:
    """A certificate as text."""
    return certificate.public_bytes(Encoding.PEM)
