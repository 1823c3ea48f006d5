"""Lists of what is refused and what is allowed: plain text, ours and operators'.

    # everything after a number sign is a comment
    [company secrets]         the category of the lines below: one of ours, or your own
    project bluebird          a term: words that follow each other, in any of their spellings
    blueprint*                a word that begins so
    cut ... wrist             up to four words may stand between
    <18 year old              a number below 18, in digits or words
    allow: bluebird cafe      these words are harmless where they stand together

A term also stands for its plural.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from openimagen.safety.normalise import LISTS, WORD, normalise

BUILT_IN = ("sexual", "minors", "hate", "violence", "self_harm", "harmless", "neighbours")
GAP = "..."
MAX_WORDS = 10
MAX_BYTES = 4 << 20

_HEADER = re.compile(r"\[([^\[\]]*)\]")
_NAME = re.compile(r"[^\W_][\w -]{0,39}")
_PARTS = ("who", "near", "worn", "adults")
_MINORS = ("minors", *(f"minors: {part}" for part in _PARTS))
_CONTRACTION = re.compile(r"(?<=\w\w)'(?:s|re|ll|ve|d|m|t)(?![\w'])")


@dataclass(frozen=True)
class Term:
    """One line of a list.

    `words` are normalised; "..." is a gap, "stem*" a beginning, "<18" a number below 18.
    """

    category: str
    words: tuple[str, ...]
    is_allowed: bool = False
    is_built_in: bool = False


def spell(text: str, *, second: bool = False) -> str:
    """The text normalised, without the ends of "who're" and "cat's"."""
    return _CONTRACTION.sub("", normalise(text, second=second))


def read_list(path: Path) -> list[Term]:
    """The terms of an operator's file, in its order.

    Raises ValueError, one line that names the file and the line, for what is no list.
    """
    return list(_terms(path))


@lru_cache
def built_in(name: str) -> tuple[Term, ...]:
    """The terms of one of our own lists."""
    return tuple(_terms(LISTS / f"{name}.txt", is_built_in=True))


def parse_term(line: str, category: str, *, is_built_in: bool = False) -> Term:
    """One line without its comment; raises ValueError that says what is wrong with it."""
    allowed = line.lower().startswith("allow:")
    text = line[len("allow:") :] if allowed else line
    if ":" in text:
        raise ValueError('a term has no colon; the only prefix is "allow:"')
    words = tuple(word for item in text.split() for word in _words(item))
    _check(words)
    if not (allowed or category):
        raise ValueError("a term needs a [category] above it")
    return Term(category, words, allowed, is_built_in)


def _terms(path: Path, *, is_built_in: bool = False) -> Iterator[Term]:
    category = ""
    for number, raw in enumerate(_text(path).splitlines(), start=1):
        if not (line := raw.partition("#")[0].strip()):
            continue
        try:
            if line.startswith("["):
                category = _category(line)
            else:
                yield parse_term(line, category, is_built_in=is_built_in)
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from None


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror}); give a text file") from None
    if len(data) > MAX_BYTES:
        raise ValueError(f"{path}: over {MAX_BYTES >> 20} MiB; give a shorter list")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ValueError(f"{path}, line {line}: not UTF-8; save the file as UTF-8") from None


def _category(line: str) -> str:
    if not (header := _HEADER.fullmatch(line)):
        raise ValueError("a header is a line like [category], and nothing after it")
    name = " ".join(header[1].lower().split())
    if name in _MINORS:
        return name
    if not _NAME.fullmatch(name):
        raise ValueError("a category is up to 40 letters, digits, spaces and hyphens")
    return name


def _words(item: str) -> Iterator[str]:
    if item.isascii() and item.isalpha():
        yield item.lower()
    elif item in (GAP, "\u2026"):
        yield GAP
    elif re.fullmatch(r"<\d{1,3}", item):
        yield item
    else:
        starred = item.endswith("*")
        if "*" in item[:-1]:
            raise ValueError('"*" may only end a word: it stands for any ending')
        *words, last = WORD.findall(spell(item.removesuffix("*"))) or [""]
        if starred and len(last) < 3:
            raise ValueError('"*" needs at least three letters before it')
        yield from words
        if last:
            yield last + "*" * starred


def _check(words: tuple[str, ...]) -> None:
    real = [word for word in words if word != GAP and not word.startswith("<")]
    if not real:
        raise ValueError("a term needs at least one word")
    if len(words) > MAX_WORDS:
        raise ValueError(f"a term has at most {MAX_WORDS} words")
    if len(words) == 1 and len(words[0]) == 1 and words[0].isascii():
        raise ValueError("one letter is no term: nearly every prompt would be refused")
    if GAP in (words[0], words[-1]) or words.count(GAP) > 2:
        raise ValueError('"..." stands between words, at most twice')
