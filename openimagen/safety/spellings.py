"""Which words of a vocabulary a word as typed may stand for.

A spelling of a word may repeat letters (nuuude), put digits and signs for letters (p0rn, pu$$y)
or hide some (p*rn). Each is undone by one look into a table, so a word costs what its length does.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable
from itertools import groupby

LONGEST = 200  # letters of a word that are looked at
SIGNS = "@$!|+*€£¢©®"  # that may stand for a letter

_LEET = str.maketrans("013456789@$!|+€£¢©®", "oieasgtbgasiitelccr")
_ALIKE = _LEET | {ord("l"): "i", ord("£"): "i"}  # 1, ! and | are read as i and l
_DOUBLE = re.compile(r"(.)\1+")
_STANDS_IN = re.compile(rf"[\d{re.escape(SIGNS)}]")


class Spellings:
    """Words and how they are spelled.

    Args:
        words: each with its plurals; "stem*" stands for all that begins so.
        plain: those of the words of which no other spelling counts.
    """

    def __init__(self, words: Iterable[str], plain: Collection[str] = ()) -> None:
        self._forms: dict[str, set[str]] = defaultdict(set)
        self._by_key: dict[str, set[str]] = defaultdict(set)
        self._by_shape: dict[tuple[int, str], set[str]] = defaultdict(set)
        self._stems: dict[str, str] = {}
        self._stems_by_key: dict[str, set[str]] = defaultdict(set)
        for word in words:
            self._add(word, is_plain=word in plain)
        self._stem_sizes = sorted({len(stem) for stem in self._stems})
        self._stem_key_sizes = sorted({len(key) for key in self._stems_by_key})

    def _add(self, word: str, *, is_plain: bool) -> None:
        stem = word.removesuffix("*")
        is_spelt = len(stem) > 2 and not (is_plain or _STANDS_IN.search(stem))
        forms = [stem] if word.endswith("*") else inflections(word)
        if word.endswith("*"):
            self._stems[stem] = word
            if is_spelt:
                self._stems_by_key[_key(stem)].add(stem)
        for form in forms:
            self._forms[form].add(word)
            if is_spelt:
                self._by_key[_key(form)].add(form)
                self._by_shape[len(form), form[:1]].add(form)

    def exact(self, word: str) -> set[str]:
        """The vocabulary's words that this one is, as it stands."""
        found = self._forms.get(word)
        stems = [word[:size] for size in self._stem_sizes if word[:size] in self._stems]
        if not stems:
            return found or set()
        return {*(found or ()), *(self._stems[stem] for stem in stems)}

    def read(self, word: str) -> set[str]:
        """The vocabulary's words that this one may be another spelling of."""
        word = word[:LONGEST]
        found = self.exact(word)
        if word[:2] == word[-2:] == "xx":  # an ornament
            found = found | self.exact(word.strip("x")) | self.exact(word[2:-2])
        stands_in = _STANDS_IN.search(word)
        if not (stands_in or _DOUBLE.search(word)) or word.isdigit():
            return found
        found = found | self._respelt(word)
        if stands_in:
            bare = word.strip("0123456789")
            found |= self._masked(word) | (self.exact(bare) if len(bare) > 2 else set())
        return found

    def _respelt(self, word: str) -> set[str]:
        """Words, and beginnings, with other letters or more of them."""
        key = _key(word)
        forms = self._by_key.get(key, ())
        known = {one for form in forms if _fits(word, form) for one in self._forms[form]}
        for size in self._stem_key_sizes:
            for stem in self._stems_by_key.get(key[:size], ()):
                if _fits(word, stem, is_stem=True):
                    known.add(self._stems[stem])
        return known

    def _masked(self, word: str) -> set[str]:
        word = word.strip("*")
        letters = word.translate(_LEET)
        if "*" not in word or sum(map(str.isalpha, letters)) < 2:
            return set()
        forms = self._by_shape.get((len(word), letters[0]), ())
        alike = [form for form in forms if _agrees(letters, form)]
        return {known for form in alike for known in self._forms[form]}


def inflections(word: str) -> list[str]:
    """A word, its plurals, and the plural in z; short words, numbers and gaps have none."""
    if len(word) < 3 or not word.isalpha():
        return [word]
    if word.endswith(("s", "x", "z", "ch", "sh")):
        return [word, word + "es"]
    if word.endswith("y") and word[-2] not in "aeiou":
        return [word, word + "s", word[:-1] + "ies", word[:-1] + "iez"]
    return [word, word + "s", word + "z"]


def _key(word: str) -> str:
    """What all spellings of a word share: letters for signs, none twice in a row, l as i."""
    return _DOUBLE.sub(r"\1", word.translate(_ALIKE))


def _fits(word: str, form: str, *, is_stem: bool = False) -> bool:
    """Whether a word with a form's key is a spelling of it: no letter less often than there."""
    stands_in = len(_STANDS_IN.findall(word))
    once, known = _DOUBLE.sub(r"\1", word), _DOUBLE.sub(r"\1", form)
    if not stands_in and (once[: len(known)] if is_stem else once) != known:
        return False  # i is not l where letters are typed
    if stands_in and not _has_letters(word, form):
        return False
    counts = zip(_counts(word), _counts(form), strict=not is_stem)
    return all(ours >= theirs for ours, theirs in counts)


def _has_letters(word: str, form: str) -> bool:
    """Whether enough is typed in letters: A55 is a road, b00b5 is none."""
    letters = sum(map(str.isalpha, word))
    digits = sum(map(str.isdigit, word))
    return letters >= 2 if len(form) > 4 else letters >= max(1, digits)


def _counts(word: str) -> list[int]:
    alike = word.translate(_ALIKE)
    return [len(list(run)) for _, run in groupby(alike)]


def _agrees(letters: str, form: str) -> bool:
    pairs = zip(letters.translate(_ALIKE), form.translate(_ALIKE), strict=True)
    return all(typed in ("*", known) for typed, known in pairs)
