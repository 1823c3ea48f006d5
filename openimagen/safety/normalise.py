"""Prompts in one spelling: what looks the same, or is not seen at all, is made the same.

Case, accents, compatibility forms (full width, mathematical, circled, squared letters, flags),
characters without width and letters of other alphabets that look like Latin ones are all folded,
a character at a time: time and memory are linear in the text.
"""

import re
import unicodedata
from pathlib import Path

_SINGLE = "\u3040-\u30ff\u3400-\u9fff"  # written without spaces: each kana, each ideograph a word
WORD = re.compile(rf"[{_SINGLE}]|[^\W_{_SINGLE}]+")
LISTS = Path(__file__).parent / "lists"
KEPT = 20_000  # characters whose folding is remembered

_APOSTROPHES = "\u2018\u2019\u201b\u02bc\u2032\u00b4`\ua78c"
_UNSEEN = "\u0345\u115f\u1160\u3164\uffa0\u2122\u2120"  # Hangul fillers; trade marks
_LETTER_SETS = (0x1F130, 0x1F150, 0x1F170, 0x1F1E6)  # squared, circled, squared dark, flags


def _letter_signs() -> dict[str, str]:
    signs = dict.fromkeys(_UNSEEN, "") | dict.fromkeys(_APOSTROPHES, "'")
    for first in _LETTER_SETS:
        signs |= {chr(first + index): chr(ord("a") + index) for index in range(26)}
    return signs | {"\u212e": "e", "\u00d7": "x", "\u24ff": "0"}


_SIGNS = _letter_signs()


def _fold(char: str) -> str:
    """What one character is, whatever its case, accents and form; "" for what is not seen."""
    if char in _SIGNS:
        return _SIGNS[char]
    match unicodedata.category(char):
        case "Mn" | "Me" | "Cf":
            return ""
        case "Cc":
            return char if char.isspace() else ""
        case "Nd":
            return str(unicodedata.decimal(char))
    parts = unicodedata.normalize("NFKD", char.casefold())
    return char if parts == char else "".join(map(_fold, parts))


class _Folds(dict[int, str]):
    """Foldings by code point, each worked out when first met."""

    def __missing__(self, code: int) -> str:
        folded = _fold(chr(code))
        if len(self) < KEPT:
            self[code] = folded
        return folded


_FOLDS = _Folds()


def _read_lookalikes() -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    """Always Latin; and Latin beside Latin letters: its first reading, its second."""
    always: dict[str, str] = {}
    first: dict[str, str] = {}
    second: dict[str, str] = {}
    beside = False
    for line in (LISTS / "lookalikes.txt").read_text(encoding="utf-8").splitlines():
        name, _, values = line.partition(":")
        if line.startswith("["):
            beside = line != "[always]"
        elif not line.startswith("#") and beside:
            first[name], second[name] = values.split()[0], values.split()[-1]
        elif not line.startswith("#"):
            always |= dict.fromkeys(values.split(), name)
    return always, first | always, always | second


_ALWAYS, _FIRST, _SECOND = _read_lookalikes()
_LATIN = re.compile(r"[a-z]")


def normalise(text: str, *, second: bool = False) -> str:
    """The text in its one spelling; doing it again changes nothing.

    Args:
        text: any text, of any length.
        second: read letters that could be two Latin ones as the other one.
    """
    folded = text.translate(_FOLDS)
    if folded.isascii():
        return folded
    table = _SECOND if second else _FIRST
    return WORD.sub(lambda word: _latin(word[0], table), folded)


def _latin(word: str, table: dict[str, str]) -> str:
    if word.isascii():
        return word
    if _LATIN.search(word) or all(letter in _ALWAYS or letter.isdigit() for letter in word):
        return "".join(table.get(letter, letter) for letter in word)
    return word
