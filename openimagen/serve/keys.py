"""API keys: a file of name:sha256, so that who reads it cannot draw with it."""

import hashlib
import hmac
import logging
import os
import re
import secrets
from pathlib import Path

PREFIX = "oi-"
NAME = re.compile(r"[\w.@-]{1,64}", re.ASCII)
HASH = re.compile(r"[0-9a-f]{64}")

log = logging.getLogger(__name__)


class Keys:
    """Who may draw. The file is read anew when it changes: a line taken out is a key revoked.

    Also if another is wrong, which is skipped and logged, or the file is gone: nobody is let in.
    """

    def __init__(self, path: Path) -> None:
        """ValueError for a file that cannot be read, or a line in it that is wrong."""
        self.path = path
        self.seen = changed(path)
        self.hashes = read_keys(path)

    def find(self, key: str) -> str | None:
        """Whose key it is; None if nobody's. It takes as long whatever is given."""
        self._refresh()
        given, whose = hash_of(key), None
        for name, known in self.hashes.items():
            if hmac.compare_digest(given, known):
                whose = name
        return whose

    def _refresh(self) -> None:
        now = changed(self.path)
        if now == self.seen:
            return
        self.seen = now
        try:
            self.hashes, wrong = look_at_keys(self.path)
        except ValueError as error:
            self.hashes, wrong = {}, [str(error)]
        for why in wrong:
            log.error("left out of the keys: %s", why)


def changed(path: Path) -> tuple[int, ...] | None:
    """What changes with the file; None if there is none."""
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_mtime_ns, state.st_ctime_ns, state.st_size, state.st_ino


def hash_of(key: str) -> str:
    """What is kept of a key. It has 256 random bits: no salt, and no slow hash, is needed."""
    return hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()


def read_keys(path: Path) -> dict[str, str]:
    """Name -> hash. ValueError, naming file and line, for a line that is no name:sha256."""
    hashes, wrong = look_at_keys(path)
    if wrong:
        raise ValueError(wrong[0])
    return hashes


def look_at_keys(path: Path) -> tuple[dict[str, str], list[str]]:
    """Name -> hash by the lines that are right, and what is wrong with others.

    A name that is there twice is nobody's. ValueError for what is no file of text.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise ValueError(f"{path}: {reason}; make it with --add-key NAME") from None
    hashes: dict[str, str] = {}
    twice, wrong = set[str](), list[str]()
    for number, line in enumerate(lines, 1):
        name, _, digest = (part.strip() for part in line.partition(":"))
        if not line.strip() or line.startswith("#"):
            continue
        if not NAME.fullmatch(name) or not HASH.fullmatch(digest):
            wrong.append(f"{path}, line {number}: must be name:sha256 of the key, in hex")
        elif name in hashes:
            wrong.append(f"{path}, line {number}: {name} is there already")
            twice.add(name)
        else:
            hashes[name] = digest
    return {name: digest for name, digest in hashes.items() if name not in twice}, wrong


def add_key(path: Path, name: str) -> str:
    """Make a key and write its hash into the file, made if need be for its owner's eyes alone.

    Returns the key, which is nowhere else. ValueError for a name that is taken or no name.
    """
    if not NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a key: use letters, digits and . _ @ -")
    known = read_keys(path) if path.exists() else {}
    if name in known:
        raise ValueError(f"{name} has a key: take its line out of {path} to make another")
    key = PREFIX + secrets.token_urlsafe(32)
    whole = not path.exists() or path.read_bytes()[-1:] in (b"", b"\n")
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    with os.fdopen(file, "a", encoding="utf-8") as text:
        text.write(f"{'' if whole else chr(10)}{name}:{hash_of(key)}\n")
    return key
