"""Certificates as an operator's authority would issue them, and pictures to sign."""

import datetime as dt
from io import BytesIO
from pathlib import Path

import numpy as np
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID
from PIL import Image

from openimagen.safety.credentials import Claim, Signer

NOW = dt.datetime.now(dt.UTC)
Usages = tuple[x509.ObjectIdentifier, ...]
EMAIL = (ExtendedKeyUsageOID.EMAIL_PROTECTION,)
OTHER_FLAGS = (
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "encipher_only",
    "decipher_only",
)
Key = CertificateIssuerPrivateKeyTypes  # any that can be in a certificate
KINDS = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def named(common: str) -> x509.Name:
    parts = ((NameOID.ORGANIZATION_NAME, "Example Studio"), (NameOID.COMMON_NAME, common))
    return x509.Name([x509.NameAttribute(*part) for part in parts])


def issue(
    subject: str,
    key: Key,
    issuer: str,
    issuer_key: Key,
    *,
    is_root: bool = False,
    ends: float = 300,  # days from now, as `begins`
    begins: float = -1,
    usages: Usages = EMAIL,
    ocsp: str | None = None,
) -> x509.Certificate:
    day, sign = dt.timedelta(days=1), None
    if not isinstance(issuer_key, ed25519.Ed25519PrivateKey):
        sign = hashes.SHA256()
    flags = dict.fromkeys(OTHER_FLAGS, False)
    usage = x509.KeyUsage(
        digital_signature=not is_root, crl_sign=is_root, key_cert_sign=is_root, **flags
    )
    above = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    draft = (
        x509.CertificateBuilder(named(issuer), named(subject), key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + begins * day)
        .not_valid_after(dt.datetime.now(dt.UTC) + ends * day)
        .add_extension(x509.BasicConstraints(is_root, None), True)
        .add_extension(usage, True)
        .add_extension(above, False)
    )
    if usages and not is_root:
        draft = draft.add_extension(x509.ExtendedKeyUsage(usages), False)
    if ocsp:
        place = x509.AccessDescription(
            AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier(ocsp)
        )
        draft = draft.add_extension(x509.AuthorityInformationAccess([place]), False)
    return draft.sign(issuer_key, sign)


def write_chain(path: Path, *certificates: x509.Certificate) -> Path:
    path.write_bytes(b"".join(each.public_bytes(Encoding.PEM) for each in certificates))
    return path


def write_key(
    path: Path, key: Key, form: PrivateFormat = PrivateFormat.PKCS8, password: bytes | None = None
) -> Path:
    how = BestAvailableEncryption(password) if password else NoEncryption()
    path.write_bytes(key.private_bytes(Encoding.PEM, form, how))
    return path


def picture(side: int = 48, mode: str = "RGB") -> Image.Image:
    levels = np.random.default_rng(0).integers(0, 256, (side, side, len(mode)))
    return Image.fromarray(levels.astype(np.uint8), mode)


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    file = BytesIO()
    image.save(file, kind)
    return file.getvalue()


ROOT_KEY, KEY = new_key(), new_key()  # of the example authority, and of who it vouches for
ROOT = issue("root", ROOT_KEY, "root", ROOT_KEY, is_root=True, ends=3000)
CLAIM = Claim("emoji", "0.1.0", dt.datetime(2026, 3, 4, 5, 6, 7, tzinfo=dt.UTC))


def operators(
    folder: Path, ends: float = 300, usages: Usages = EMAIL, ocsp: str | None = None
) -> Signer:
    """A signer that the example authority vouches for; its files are left in the folder."""
    leaf = issue("signer", KEY, "root", ROOT_KEY, ends=ends, usages=usages, ocsp=ocsp)
    chain = write_chain(folder / "chain.pem", leaf, ROOT)
    return Signer.load(chain, write_key(folder / "key.pem", KEY))
