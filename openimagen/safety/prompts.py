"""The prompt filter: what a model is not asked to draw.

A list of words, spelled as people spell who want past it, and rules that leave harmless words be.
It reads words, not meanings: docs/safety.md says how often it errs, and on what.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from openimagen.safety.readings import Reading, Vocabulary
from openimagen.safety.word_lists import BUILT_IN, GAP, Term, built_in, parse_term, read_list, spell

GAP_WORDS = 4  # that "..." may stand for
COMPANY = 10  # words between a minor and what may not be near one
DRESS = 5  # words between a minor and what it wears

WHO, NEAR = "minors: who", "minors: near"
WORN, ADULTS = "minors: worn", "minors: adults"
NEIGHBOURS = "neighbours"
ORDER = ("minors", "sexual", "self-harm", "hate", "violence", "real people")

REASONS = {
    "minors": "The prompt puts a child or young person in a sexual light; that is never drawn.",
    "sexual": "The prompt asks for nudity or sex, which is not drawn here.",
    "self-harm": "The prompt is about suicide or self-harm, which is not drawn here; if it is about"
    " you, please talk to someone you trust or to a crisis line.",
    "hate": "The prompt has a slur or a sign of hatred in it, which is not drawn here.",
    "violence": "The prompt asks for gore, torture or cruelty, which is not drawn here.",
    "real people": "The prompt names a real person, and real people are not drawn here.",
}

Places = dict[int, list[Reading]]
Span = tuple[int, int]  # first piece, and the one after the last


@dataclass(frozen=True)
class Finding:
    """Why a prompt is refused.

    Attributes:
        category: "minors", "sexual", "self-harm", "hate", "violence", "real people" or an
            operator's own.
        reason: one sentence for whoever typed the prompt; it repeats none of its words.
        where: which of a request's texts it is about, "prompt" or "negative_prompt".
    """

    category: str
    reason: str
    where: str = "prompt"


class PromptFilter:
    """Looks for what terms say in what prompts can be read as.

    Operators add terms, categories and exceptions by plain text files (see `word_lists`):

        [company secrets]
        project bluebird          # a comment
        blueprint*                # a word that begins so
        cut ... wrist             # up to four words may stand between
        allow: bluebird cafe      # harmless where these words stand together
    """

    def __init__(self, terms: Iterable[Term]) -> None:
        terms = list(dict.fromkeys(terms))
        allowed = [term for term in terms if term.is_allowed]
        refused = [t for t in terms if not (t.is_allowed or t.category == NEIGHBOURS)]
        alone = [term.words[0] for term in refused if len(term.words) == 1 and term.is_built_in]
        self._vocabulary = Vocabulary(
            words=_words(allowed) | _words(refused),
            plain=_words(allowed) - _words(refused),
            joined={word for word in alone if not word.endswith("*")},
            apart={" ".join(term.words) for term in terms if term.category == NEIGHBOURS},
        )
        self._allowed, self._refused = _by_first_word(allowed), _by_first_word(refused)
        self._order = list(dict.fromkeys((*ORDER, *(term.category for term in refused))))

    @classmethod
    def load(
        cls,
        *,
        real_people: bool = False,
        lists: Sequence[Path] = (),
        allow: Sequence[str] = (),
    ) -> "PromptFilter":
        """The filter with our own lists.

        Args:
            real_people: refuse our list of people in public life, too; names in an operator's
                [real people] are refused either way.
            lists: operators' files, which add to ours.
            allow: words that are harmless where they stand together, as after "allow:" in a file.

        Raises ValueError, one line that names the file and the line, for a wrong list.
        """
        names = (*BUILT_IN, "real_people") if real_people else BUILT_IN
        terms = [term for name in names for term in built_in(name)]
        terms += [term for path in lists for term in read_list(path)]
        return cls([*terms, *(parse_term(f"allow: {words}", "") for words in allow)])

    def find(self, prompt: str) -> Finding | None:
        """Why a prompt is refused, or None; of several reasons the gravest."""
        texts = {spell(prompt), spell(prompt, second=True)}
        categories = {name for text in texts for name in self._categories(text)}
        for category in self._order:
            if category in categories:
                return Finding(category, REASONS.get(category) or _own_reason(category))
        return None

    def _categories(self, text: str) -> set[str]:
        places = _by_start(self._vocabulary.read(text))
        harmless = [span for _, spans in _matches(self._allowed, places) for span in spans]
        if harmless:
            places = _without(places, harmless)
        found: dict[str, list[Span]] = defaultdict(list)
        for term, spans in _matches(self._refused, places):
            found[term.category].append((spans[0][0], spans[-1][1]))
        who, near, worn, adults = (found.pop(name, []) for name in (WHO, NEAR, WORN, ADULTS))
        if who and ("sexual" in found or _are_close(who, near) or _do_wear(who, worn, adults)):
            found["minors"] = who
        return set(found)


def _words(terms: Iterable[Term]) -> set[str]:
    return {word for term in terms for word in term.words if word != GAP}


def _own_reason(category: str) -> str:
    return f'The prompt is about what is not drawn here: "{category}".'


def _by_first_word(terms: Iterable[Term]) -> dict[str, list[Term]]:
    by_word: dict[str, list[Term]] = defaultdict(list)
    for term in terms:
        by_word[term.words[0]].append(term)
    return dict(by_word)


def _by_start(readings: Iterable[Reading]) -> Places:
    places: Places = defaultdict(list)
    for reading in readings:
        places[reading.start].append(reading)
    return dict(places)


def _without(places: Places, spans: Sequence[Span]) -> Places:
    """The readings that do not lie within one of the spans."""
    ends: dict[int, int] = {}
    for start, end in spans:
        for place in range(start, end):
            ends[place] = max(end, ends.get(place, 0))
    return {
        start: [reading for reading in readings if reading.end > ends.get(start, 0)]
        for start, readings in places.items()
    }


def _matches(terms: dict[str, list[Term]], places: Places) -> Iterator[tuple[Term, list[Span]]]:
    """Terms that can be read in a prompt, with the pieces they take, parted at their gaps."""
    for readings in places.values():
        for reading in readings:
            for term in terms.get(reading.word, ()):
                for spans in _rest(term.words[1:], reading.start, reading.end, places):
                    yield term, spans


def _rest(words: Sequence[str], start: int, end: int, places: Places) -> Iterator[list[Span]]:
    """The spans of a term whose words up to `end` are read and whose `words` are to come."""
    if not words:
        yield [(start, end)]
    elif words[0] == GAP:
        for further in range(end, end + GAP_WORDS + 1):
            for reading in places.get(further, ()):
                if reading.word == words[1]:
                    tails = _rest(words[2:], reading.start, reading.end, places)
                    yield from ([(start, end), *tail] for tail in tails)
    else:
        for reading in places.get(end, ()):
            if reading.word == words[0]:
                yield from _rest(words[1:], start, reading.end, places)


def _are_close(who: Sequence[Span], near: Sequence[Span]) -> bool:
    places = {start for start, _ in near}
    return any(start + way in places for start, _ in who for way in range(-COMPANY, COMPANY + 1))


def _do_wear(who: Sequence[Span], worn: Sequence[Span], adults: Sequence[Span]) -> bool:
    """Whether something worn follows a minor, and no adult between them whose it is.

    An adult's word right after a minor's is no other person: "a 13 year old woman".
    """
    garments, grown = {start for start, _ in worn}, {start for start, _ in adults}
    for _, end in who:
        for place in range(end, end + DRESS + 1):
            if place > end and place in grown:
                break
            if place in garments:
                return True
    return False
