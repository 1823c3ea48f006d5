"""Votes on disk: SQLite that syncs before it says yes, so a killed server loses nothing it took.

One row per (rater, item, question): a second vote replaces the first. Every vote, and every one
that was refused, also stays in the audit table, which is only ever added to. Of an invitation only
its hash is kept.
"""

import hashlib
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import RLock
from typing import NamedTuple

from openimagen.evaluate.study.design import Answer, QuestionName, Study

SCHEMA = """
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS raters (
    number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, token_hash TEXT NOT NULL UNIQUE,
    invited TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS votes (
    rater INTEGER NOT NULL REFERENCES raters, item TEXT NOT NULL, question TEXT NOT NULL,
    answer TEXT NOT NULL, shown TEXT NOT NULL, time TEXT NOT NULL,
    PRIMARY KEY (rater, item, question)
) STRICT;
CREATE TABLE IF NOT EXISTS audit (
    number INTEGER PRIMARY KEY AUTOINCREMENT, time TEXT NOT NULL, rater INTEGER NOT NULL,
    event TEXT NOT NULL, item TEXT NOT NULL, question TEXT NOT NULL, answer TEXT NOT NULL,
    shown TEXT NOT NULL
) STRICT;
"""
ENTRY = "INSERT INTO audit (time, rater, event, item, question, answer, shown)"
BUSY = 10.0  # seconds to wait for another process that writes
LONGEST = 80  # characters of a name; of anything refused that is written down


class Rater(NamedTuple):
    """Somebody who was invited; the first is number 1."""

    number: int
    name: str


class Vote(NamedTuple):
    """What a rater said."""

    rater: int
    item: str
    question: QuestionName
    answer: Answer
    shown: tuple[int, ...]  # the sets that were on the page, from left to right


class Entry(NamedTuple):
    """A line of the audit table; `event` is "vote" or why it was refused."""

    time: str
    rater: int
    event: str
    item: str
    question: str
    answer: str


class Votes:
    """The votes of a study, in FOLDER/votes.sqlite; of several threads and processes.

    Raises ValueError if the study is not the one that was voted on, or the file no database;
    OSError if the disk refuses.
    """

    def __init__(self, folder: Path, study: Study) -> None:
        self.path = folder / "votes.sqlite"
        self._lock = RLock()
        try:
            self._base = sqlite3.connect(
                self.path, timeout=BUSY, isolation_level=None, check_same_thread=False
            )
            self._base.execute("PRAGMA journal_mode = WAL")
            self._base.execute("PRAGMA synchronous = FULL")
            self._base.execute("PRAGMA foreign_keys = ON")
            self._base.executescript(SCHEMA)
        except sqlite3.OperationalError as error:
            raise OSError(f"{self.path}: {error}") from None
        except sqlite3.DatabaseError:
            raise ValueError(
                f"{self.path} is no database of votes: move it away to start afresh"
            ) from None
        self._bind(study)

    def close(self) -> None:
        """Let go of the file."""
        self._base.close()

    def _bind(self, study: Study) -> None:
        """Once there are votes, the study must stay as it was."""
        now = hashlib.sha256(study.model_dump_json().encode()).digest()
        with self._transaction():
            if self._all("SELECT 1 FROM votes LIMIT 1") and now != self._about("study"):
                raise ValueError(
                    f"{self.path.parent}/study.json has changed since the first vote: restore it, "
                    "or move votes.sqlite away to start afresh"
                )
            keep = "INSERT OR REPLACE INTO about VALUES ('study', ?)"
            self._base.execute(keep, (now,))
            keep = "INSERT OR IGNORE INTO about VALUES ('secret', ?)"
            self._base.execute(keep, (secrets.token_bytes(32),))

    @property
    def secret(self) -> bytes:
        """From which the names on the wire are made; of this study alone."""
        return self._about("secret")

    # --- raters -----------------------------------------------------------------------------------

    def invite(self, name: str) -> str:
        """A token for a rater. Somebody invited before keeps all votes; the old token is dead."""
        name = name.strip()
        if not name or len(name) > LONGEST or not name.isprintable():
            raise ValueError(f"a rater's name has 1 to {LONGEST} letters: choose another")
        token = secrets.token_urlsafe(24)
        with self._transaction():
            self._base.execute(
                "INSERT INTO raters (name, token_hash, invited) VALUES (?, ?, ?)"
                " ON CONFLICT (name) DO UPDATE SET token_hash = excluded.token_hash",
                (name, _digest(token), _now()),
            )
        return token

    def rater(self, token: str) -> Rater | None:
        """Whose token it is."""
        find = "SELECT number, name FROM raters WHERE token_hash = ?"
        with self._lock:
            row = self._base.execute(find, (_digest(token),)).fetchone()
        return Rater(*row) if row else None

    def raters(self) -> list[Rater]:
        """All who were invited."""
        return [Rater(*row) for row in self._all("SELECT number, name FROM raters ORDER BY number")]

    # --- votes ------------------------------------------------------------------------------------

    def record(self, vote: Vote) -> None:
        """Take a vote; on return it is on the disk. The same again changes nothing."""
        rater, item, question, answer, shown = vote
        sides, time = "".join(map(str, shown)), _now()
        with self._transaction():
            find = "SELECT answer FROM votes WHERE rater = ? AND item = ? AND question = ?"
            if self._base.execute(find, (rater, item, question)).fetchone() == (answer,):
                return
            keep = "INSERT OR REPLACE INTO votes VALUES (?, ?, ?, ?, ?, ?)"
            self._base.execute(keep, (rater, item, question, answer, sides, time))
            entry = (time, rater, "vote", item, question, answer, sides)
            self._base.execute(f"{ENTRY} VALUES (?, ?, ?, ?, ?, ?, ?)", entry)

    def refuse(self, rater: int, why: str, item: str, question: str, answer: str) -> None:
        """Write down a vote that was not taken."""
        claimed = [word[:LONGEST] for word in (item, question, answer)]
        with self._transaction():
            entry = (_now(), rater, why, *claimed, "")
            self._base.execute(f"{ENTRY} VALUES (?, ?, ?, ?, ?, ?, ?)", entry)

    def votes(self, rater: int | None = None) -> list[Vote]:
        """The votes that count, of one rater or of all."""
        rows = self._all(
            "SELECT rater, item, question, answer, shown FROM votes WHERE ?1 IS NULL OR rater = ?1"
            " ORDER BY rater, item, question",
            rater,
        )
        return [
            Vote(who, item, question, answer, tuple(map(int, shown)))
            for who, item, question, answer, shown in rows
        ]

    def audit(self) -> list[Entry]:
        """All that was ever said, in order."""
        find = "SELECT time, rater, event, item, question, answer FROM audit ORDER BY number"
        return [Entry(*row) for row in self._all(find)]

    # --- SQL --------------------------------------------------------------------------------------

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock:
            try:
                self._base.execute("BEGIN IMMEDIATE")
                with self._base:  # commits, or rolls back
                    yield
            except sqlite3.Error as error:
                raise OSError(f"{self.path}: {error}") from error

    def _all(self, query: str, *values: object) -> list[tuple]:  # type: ignore[type-arg]
        with self._lock:
            return self._base.execute(query, values).fetchall()

    def _about(self, name: str) -> bytes:
        ((value,),) = self._all("SELECT value FROM about WHERE name = ?", name)
        return value


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
