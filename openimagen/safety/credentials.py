"""Content credentials (C2PA): a signed note in the picture's file of what made it, and when.

The note names the model and openimagen's version, and says nothing of prompt or person. Nothing
here asks the network: no clock authority, no revocation lists, no manifests kept elsewhere.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from PIL import Image

FIX = "pip install 'openimagen[provenance]', or turn content credentials off"
FORMATS = {"image/png": "PNG", "image/jpeg": "JPEG", "image/webp": "WebP"}
GENERATOR = "openimagen"
SOURCES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
DRAWN, COMPOSED = (
    SOURCES + "trainedAlgorithmicMedia",
    SOURCES + "compositeWithTrainedAlgorithmicMedia",
)
REMAINS = b"c2pa\x00\x11\x00\x10\x80\x00\x00\xaa\x008\x9bq"  # how a store of credentials begins
LONGEST = 200  # characters of anything that a file says, as we tell it

OFFLINE = {
    "version": 1,
    "core": {"allowed_network_hosts": []},
    "verify": {"verify_trust": True, "remote_manifest_fetch": False, "ocsp_fetch": False},
    "builder": {"thumbnail": {"enabled": False}},
}
UNTRUSTED = "signingCredential.untrusted"
DOUBTS = ("signingCredential.", "timeStamp.", "claimSignature.outsideValidity")  # of who and when
CHANGED_PICTURE = "assertion.dataHash.mismatch"
BOUND = re.compile(r"assertion\.(data|boxes)Hash\.match")
WORDS = {
    UNTRUSTED: "no certificate that you trust stands behind the signature: "
    "it does not tell who signed",
    "signingCredential.expired": "the signing certificate has run out since",
    "signingCredential.invalid": "the signing certificate is not one for content credentials",
    "claimSignature.outsideValidity": "the certificate was not valid when it was signed",
    "claimSignature.mismatch": "the signature is not of these credentials: they were changed",
    "claimSignature.missing": "the signature is missing",
    CHANGED_PICTURE: "the picture was changed after it was signed, "
    "or these credentials are another picture's",
    "assertion.hashedURI.mismatch": "what the credentials say was changed after they were signed",
    "assertion.missing": "a part of the credentials is missing",
}


@dataclass(frozen=True)
class Claim:
    """What a picture's credentials say. No prompt: whoever passes a picture on keeps that."""

    model: str
    version: str  # of openimagen
    when: datetime  # with a time zone; written in UTC, to the second
    edited: bool = False  # made out of somebody's picture


@dataclass(frozen=True)
class Credentials:
    """What became of a picture's credentials.

    "trusted" and "untrusted" pictures are as they were signed; that of the first is vouched for by
    a root given. `model`, `when` and `edited` are None or False where nothing that holds says so.
    """

    status: Literal["trusted", "untrusted", "tampered", "none"]
    generator: str | None = None  # the program that wrote them, and its version
    model: str | None = None  # None too if no model made it
    when: datetime | None = None
    edited: bool = False
    chain: tuple[str, ...] = ()  # subjects, from the signing certificate up
    problems: tuple[str, ...] = ()


class Signer:
    """Signs pictures; from any thread."""

    def __init__(self, chain_pem: bytes, key_pem: bytes, algorithm: str) -> None:
        c2pa = import_c2pa()
        self._c2pa = c2pa
        info = c2pa.C2paSignerInfo(algorithm, chain_pem, key_pem, None)
        self._context = c2pa.Context.from_dict(OFFLINE, signer=c2pa.Signer.from_info(info))

    @classmethod
    def load(cls, certificate: Path | None = None, key: Path | None = None) -> "Signer":
        """With an operator's chain and key, PEM files; or with a self-made one, in nobody's trust.

        Raises ValueError, one line with the fix, if they will not do, or a package is missing.
        """
        import_c2pa()
        if (certificate is None) != (key is None):
            there, lacking = (
                ("key", "certificate") if certificate is None else ("certificate", "key")
            )
            raise ValueError(f"a {there} without its {lacking}: give both, or neither")
        from openimagen.safety.certificate import local_identity, read_identity

        if certificate is None or key is None:
            identity, source = local_identity(), "the self-made certificate"
        else:
            identity, source = read_identity(certificate, key), str(certificate)
        try:
            signer = cls(identity.chain_pem, identity.key_pem, identity.algorithm)
            signer.sign(_tiny_picture(), "image/png", Claim("trial", "0", datetime.now(UTC)))
        except Exception as error:  # the trial tells what the library thinks of the certificate
            raise ValueError(
                f"{source} cannot sign pictures ({reason_of(error)}): it needs the key usage "
                "digitalSignature and an extended key usage such as emailProtection"
            ) from None
        return signer

    def sign(self, data: bytes, mime: str, claim: Claim) -> bytes:
        """The same picture, PNG, JPEG or WebP, with credentials in the place of any it had.

        Raises ValueError for bytes of another kind, or a certificate that has run out.
        """
        check_format(data, mime)
        signed = BytesIO()
        try:
            builder = self._c2pa.Builder(manifest(claim), self._context)
            builder.sign(mime, BytesIO(data), signed)
        except self._c2pa.C2paError as error:
            raise ValueError(
                f"the picture was not signed ({reason_of(error)}): check the certificate's dates "
                f"and that the picture is a whole {FORMATS[mime]}"
            ) from None
        return signed.getvalue()


def verify(data: bytes, mime: str, anchors: Path | None = None) -> Credentials:
    """Look whether a PNG, JPEG or WebP is as it was signed, and by whom.

    `anchors`: a PEM file of root certificates that you trust. Without one nobody is trusted.
    Raises ValueError for bytes that are no such picture, and for a file without certificates.
    """
    c2pa = import_c2pa()
    check_format(data, mime)
    from openimagen.safety.certificate import find_chain, read_certificates, to_pem

    roots = read_certificates(anchors) if anchors else []
    settings = dict(OFFLINE)
    if roots:
        settings["trust"] = {"user_anchors": b"".join(map(to_pem, roots)).decode()}
    try:
        with (
            c2pa.Context.from_dict(settings) as context,
            c2pa.Reader(mime, BytesIO(data), context=context) as reader,
        ):
            report, store = json.loads(reader.json()), BytesIO()
            reader.resource_to_stream(f"self#jumbf=/c2pa/{report['active_manifest']}", store)
    except c2pa.C2paError.ManifestNotFound:
        if REMAINS in data:
            loose = "its credentials cannot be read: what is left of them lies loose in the file"
            return Credentials("tampered", problems=(loose,))
        return Credentials("none")
    except c2pa.C2paError as error:
        return without_report(data, mime, reason_of(error))
    signed = signature_in(report)
    chain = find_chain(store.getvalue(), signed.get("cert_serial_number"), roots)
    if not chain and "common_name" in signed:  # a compressed store
        chain = (f"CN={signed['common_name']}",)
    return judge(report, chain, trusting=bool(roots))


def judge(report: dict[str, Any], chain: Sequence[str], *, trusting: bool) -> Credentials:
    """What the library's report comes to."""
    active = report["manifests"][report["active_manifest"]]
    found = report["validation_results"]["activeManifest"]
    failures = {entry["code"]: entry.get("explanation", "") for entry in found["failure"]}
    success = {entry["code"] for entry in found["success"]}
    faults = {code for code in failures if not code.startswith(DOUBTS)}
    worst_first = sorted(failures, key=lambda code: code not in faults)
    problems = [WORDS.get(code, f"{failures[code]} ({code})") for code in worst_first]
    if "claimSignature.validated" not in success:
        chain = ()  # whoever that names, they did not sign this
        problems += [] if faults else ["the signature could not be confirmed"]
        faults.add("unsigned")
    bound = any(map(BOUND.fullmatch, success))
    if not bound and not faults:
        problems.append("nothing ties the credentials to this very picture")
    trusted = trusting and bound and not failures and report.get("validation_state") == "Trusted"
    status: Any = "tampered" if faults else "trusted" if trusted else "untrusted"
    if not trusted and not problems:
        problems.append(WORDS[UNTRUSTED])
    says = claim_in(active) if faults <= {CHANGED_PICTURE} else {}
    subjects, told = tuple(map(plain, chain)), tuple(map(plain, problems))
    return Credentials(status, chain=subjects, problems=told, **says)


def signature_in(report: dict[str, Any]) -> dict[str, Any]:
    """What the library tells of the signing certificate: its number, its names."""
    return report["manifests"][report["active_manifest"]].get("signature_info") or {}


def claim_in(active: dict[str, Any]) -> dict[str, Any]:
    """Generator, model, when and edited, as a manifest has them. Anybody may have written it."""
    infos = active.get("claim_generator_info")
    info = infos[0] if isinstance(infos, list) and infos else active.get("claim_generator")
    says: dict[str, Any] = {"generator": named_in(info)}
    for action in actions_in(active):
        source = action.get("digitalSourceType")
        if source in (DRAWN, COMPOSED):
            agent, when = named_in(action.get("softwareAgent")), moment(action.get("when"))
            return {**says, "model": agent, "when": when, "edited": source == COMPOSED}
    return says


def named_in(info: object) -> str | None:
    """A program's name, with its version if that is there: a text, or an object that has it."""
    parts = [info.get("name"), info.get("version")] if isinstance(info, dict) else [info]
    return plain(" ".join(each for each in parts if isinstance(each, str))) or None


def actions_in(active: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What a manifest says was done."""
    for assertion in active.get("assertions", []):
        data = assertion["data"] if assertion["label"].startswith("c2pa.actions") else None
        actions = data.get("actions") if isinstance(data, dict) else None
        if isinstance(actions, list):
            yield from (each for each in actions if isinstance(each, dict))


def without_report(data: bytes, mime: str, reason: str) -> Credentials:
    """What it comes to when the library has nothing to report. ValueError if it is no picture."""
    if reason.startswith("Remote:"):
        return Credentials(
            "none",
            problems=(plain(f"its credentials are not in the file, and not fetched: {reason}"),),
        )
    if b"jumb" in data:
        return Credentials("tampered", problems=(f"its credentials cannot be read: {reason}",))
    raise ValueError(f"the picture cannot be read ({reason}): give a whole {FORMATS[mime]}")


def manifest(claim: Claim) -> dict[str, Any]:
    """The note, as the library wants it. ValueError for a time without its zone."""
    if claim.when.tzinfo is None:
        raise ValueError("the time of a picture has no zone: give datetime.now(UTC)")
    when = claim.when.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    done: dict[str, Any] = {
        "when": when,
        "softwareAgent": {"name": claim.model},
        "digitalSourceType": COMPOSED if claim.edited else DRAWN,
    }
    steps = ["c2pa.created", "c2pa.edited"] if claim.edited else ["c2pa.created"]
    actions = {"actions": [{"action": step, **done} for step in steps]}
    return {
        "claim_generator_info": [{"name": GENERATOR, "version": claim.version}],
        "assertions": [{"label": "c2pa.actions.v2", "created": True, "data": actions}],
    }


def kind_of(data: bytes) -> str | None:
    """Which kind of picture that carries credentials the bytes begin as, such as image/png."""
    begins = {
        "image/png": data.startswith(b"\x89PNG\r\n\x1a\n"),
        "image/jpeg": data.startswith(b"\xff\xd8\xff"),
        "image/webp": data.startswith(b"RIFF") and data[8:12] == b"WEBP",
    }
    return next((mime for mime, yes in begins.items() if yes), None)


def check_format(data: bytes, mime: str) -> None:
    """The bytes must begin as a picture of that kind does, or ValueError."""
    if mime not in FORMATS:
        raise ValueError(f"content credentials go into {', '.join(FORMATS)}, not {plain(mime)!r}")
    real = kind_of(data)
    if real != mime:
        what = f"a {FORMATS[real]}" if real else "no picture"
        raise ValueError(f"these bytes are {what}, not a {FORMATS[mime]}: give a {FORMATS[mime]}")


def import_c2pa() -> ModuleType:
    """The library. ValueError if it is missing."""
    try:
        import c2pa
        import cryptography  # noqa: F401  (that both are there)
    except ImportError as error:
        raise ValueError(f"{error.name or 'c2pa'} is missing or broken: {FIX}") from None
    return c2pa


def reason_of(error: Exception) -> str:
    """Why, in one line."""
    return plain(str(error)) or type(error).__name__


def plain(text: str) -> str:
    """Text from a file, fit to be printed: no control characters, and not endless."""
    line = "".join(each if each.isprintable() else " " for each in text[: 2 * LONGEST])
    line = " ".join(line.split())
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"


def moment(text: object) -> datetime | None:
    """A time as manifests write it; None if it is not one."""
    try:
        when = datetime.fromisoformat(text if isinstance(text, str) else "")
        return when.astimezone(UTC) if when.tzinfo else None
    except (ValueError, OverflowError):
        return None


def _tiny_picture() -> bytes:
    file = BytesIO()
    Image.new("RGB", (8, 8)).save(file, "PNG")
    return file.getvalue()
