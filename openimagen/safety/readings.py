"""All words of a vocabulary that a prompt can be read to hold, and where.

Between white space stands a chunk, in a chunk stand pieces of letters and digits, numbered through
the prompt. A reading says: pieces `start` to `end` (excluded) may be this word. A piece is read as
it stands; a chunk as one word (nu-de, pu$$y); single letters in a row as one (n u d e), and
neighbours as one if a single letter is among them (n ude) or if a list of ours says so (nu de).
"""

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from openimagen.safety.normalise import WORD
from openimagen.safety.spellings import SIGNS, Spellings

NUMBERS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
    "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
SHORTEST = 4  # letters of a word that is looked for inside a row of single letters, or across words
LONGEST = 16
LONE_SIGNS = ("@", "$", "€")  # read as letters where they stand alone
NEIGHBOURS = 6

_AGE = re.compile(r"(?<![^\W_])(\d{1,2})(?=(?:yo|y|yrs?|years?)(?![^\W_]))")
_VALUES = {word: number for number, word in enumerate(NUMBERS)}
_SIGNED = re.compile(rf"(?:[^\W_]|[{re.escape(SIGNS)}])+")


class Reading(NamedTuple):
    """A word of the vocabulary, and the pieces that may be it."""

    start: int
    end: int
    word: str


@dataclass(frozen=True)
class _Chunk:
    start: int
    pieces: list[str]
    signed: list[tuple[int, int, str]]  # parts with signs: first piece, last, the part
    joined: str


class Vocabulary:
    """Words to look for.

    Args:
        words: as terms have them: words, "stem*", "<18".
        plain: those of which no other spelling counts.
        joined: those that may also be two neighbours read as one.
        apart: neighbours, a space between, that are two words.
    """

    def __init__(
        self,
        words: Iterable[str],
        plain: Collection[str] = (),
        joined: Collection[str] = (),
        apart: Collection[str] = (),
    ) -> None:
        words = set(words)
        self._limits = sorted(int(word[1:]) for word in words if word.startswith("<"))
        self._spellings = Spellings((word for word in words if not word.startswith("<")), plain)
        self._joined, self._apart = joined, apart

    def read(self, text: str) -> set[Reading]:
        """All readings of a text in its one spelling."""
        chunks = list(_chunks(_AGE.sub(r"\1 ", text)))
        pieces = [piece for chunk in chunks for piece in chunk.pieces]
        readings = [*self._single(pieces), *self._rows(pieces), *self._neighbours(pieces)]
        for chunk in chunks:
            readings += self._whole(chunk)
        return set(readings)

    def _single(self, pieces: Sequence[str]) -> Iterator[Reading]:
        for index, piece in enumerate(pieces):
            for word in self._spellings.read(piece):
                yield Reading(index, index + 1, word)
            if self._limits and (value := _number(piece)) is not None:
                for limit in self._limits:
                    if value < limit:
                        yield Reading(index, index + 1, f"<{limit}")

    def _whole(self, chunk: _Chunk) -> Iterator[Reading]:
        for first, last, part in chunk.signed:
            for word in self._spellings.read(part) | self._spellings.read(part.rstrip("!|*+")):
                yield Reading(first, last, word)
        if len(chunk.pieces) > 1:
            for word in self._spellings.read(chunk.joined):
                yield Reading(chunk.start, chunk.start + len(chunk.pieces), word)

    def _rows(self, pieces: Sequence[str]) -> Iterator[Reading]:
        """Words spelled in single letters: any long enough one, or the whole row."""
        for start, row in _rows_of_letters(pieces):
            whole = row.strip("ai") or row
            first = start + row.index(whole)
            if whole.isalpha():
                for word in self._spellings.read(whole):
                    yield Reading(first, first + len(whole), word)
            for at in range(len(row) - SHORTEST + 1):
                for size in range(SHORTEST, min(LONGEST, len(row) - at) + 1):
                    for word in self._spellings.read(row[at : at + size]):
                        yield Reading(start + at, start + at + size, word)

    def _neighbours(self, pieces: Sequence[str]) -> Iterator[Reading]:
        """Words that lie across pieces, some of them longer than a letter."""
        for start in range(len(pieces) - 1):
            joined = pieces[start]
            has_letter = _is_loose(joined)
            for end in range(start + 1, min(start + NEIGHBOURS, len(pieces))):
                joined += pieces[end]
                has_letter = has_letter or _is_loose(pieces[end])
                if len(joined) > LONGEST:
                    break
                if len(joined) < SHORTEST or len(joined) == end + 1 - start:
                    continue
                if " ".join(pieces[start : end + 1]) in self._apart:
                    continue
                for word in self._spellings.exact(joined):
                    if has_letter or (end == start + 1 and word in self._joined):
                        yield Reading(start, end + 1, word)


def _chunks(text: str) -> Iterator[_Chunk]:
    count = 0
    for raw in text.split():
        parts = _SIGNED.findall(raw)
        pieces = [raw] if raw in LONE_SIGNS else WORD.findall(raw)
        signed, first = [], count
        for part in parts:
            size = len(WORD.findall(part))
            if size and not part.isalnum():
                signed.append((first, first + size, part))
            first += size
        yield _Chunk(count, pieces, signed, "".join(parts))
        count += len(pieces)


def _rows_of_letters(pieces: Sequence[str]) -> Iterator[tuple[int, str]]:
    start = 0
    for index in range(len(pieces) + 1):
        if index == len(pieces) or len(pieces[index]) > 1 or not _is_letter(pieces[index]):
            if index - start > 2:
                yield start, "".join(pieces[start:index])
            start = index + 1


def _is_letter(piece: str) -> bool:
    return piece in LONE_SIGNS or piece.isascii()


def _is_loose(piece: str) -> bool:
    """Whether a piece is a single letter that is no word by itself."""
    return len(piece) == 1 and piece.isascii() and piece.isalpha() and piece not in "ai"


def _number(piece: str) -> int | None:
    if piece.isascii() and piece.isdigit():
        return int(piece) if len(piece) < 4 else None
    return _VALUES.get(piece)
