"""The prompt filter refuses what its tables say, however spelled, and leaves the rest alone."""

import subprocess
import sys
import unicodedata
from pathlib import Path

import prompt_table
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prompt_table import PARTS, PASS, Case, read_cases, scores, verdicts

from openimagen.safety.normalise import normalise
from openimagen.safety.prompts import ADULTS, NEAR, NEIGHBOURS, REASONS, WHO, WORN, PromptFilter
from openimagen.safety.spellings import Spellings
from openimagen.safety.word_lists import BUILT_IN, GAP, Term, built_in

DOCS = Path(__file__).parents[2] / "docs/safety.md"
LISTED = [term for name in (*BUILT_IN, "real_people") for term in built_in(name)]
RULES = (WHO, NEAR, WORN, ADULTS, NEIGHBOURS)
LEET = str.maketrans("aeios", "4310$")

FILTER = PromptFilter.load(real_people=True)
CASES = [case for part in PARTS for case in read_cases(part)]
PROMPTS = st.sampled_from([case.prompt for case in CASES])
CHARACTERS = [chr(code) for code in range(0x20, sys.maxunicode) if not 0xD800 <= code < 0xE000]
UNSEEN = [char for char in CHARACTERS if unicodedata.category(char) == "Cf"]
MARKS = [char for char in CHARACTERS if unicodedata.category(char) in ("Mn", "Me")]


def verdict(prompt: str) -> str:
    finding = FILTER.find(prompt)
    return finding.category if finding else PASS


# --- the tables ----------------------------------------------------------------------------------


@pytest.mark.parametrize("case", read_cases("tuned"), ids=lambda case: ascii(case.prompt))
def test_what_the_filter_was_made_with(case: Case) -> None:
    assert verdict(case.prompt) == case.expected


@pytest.mark.parametrize(
    ("part", "least"), [("held_out", 0.97), ("tuned", 1.0), ("hard", 0.0), ("reviewed", 0.9)]
)
def test_precision_and_recall(part: str, least: float) -> None:
    cases = read_cases(part)
    print(f"\n{prompt_table.table(part)}")
    for name, score in scores(cases, verdicts(FILTER, cases)):
        assert score.precision >= least, name
        assert score.recall >= least, name


@pytest.mark.parametrize("part", PARTS)
def test_the_page_has_the_figures_as_measured(part: str) -> None:
    assert prompt_table.table(part) in DOCS.read_text(encoding="utf-8")


def test_there_are_enough_cases_of_each_kind() -> None:
    assert len(CASES) >= 300
    assert len({case.prompt for case in CASES}) == len(CASES)
    kinds = {case.kind for case in CASES}
    assert kinds >= {
        "plain",
        "case",
        "spacing",
        "leet",
        "homoglyph",
        "invisible",
        "accent",
        "repeat",
    }


# --- spellings -----------------------------------------------------------------------------------


@settings(deadline=None, derandomize=True)
@given(st.text(), st.booleans())
def test_normalising_twice_changes_nothing(text: str, second: bool) -> None:
    once = normalise(text, second=second)
    assert normalise(once, second=second) == once


@settings(deadline=None, derandomize=True)
@given(PROMPTS | st.text(), st.data())
def test_characters_without_width_change_nothing(prompt: str, data: st.DataObject) -> None:
    assert verdict(sprinkled(prompt, UNSEEN, data)) == verdict(prompt)


@settings(deadline=None, derandomize=True)
@given(PROMPTS, st.data())
def test_accents_change_nothing(prompt: str, data: st.DataObject) -> None:
    assert verdict(sprinkled(prompt, MARKS, data)) == verdict(prompt)


@settings(deadline=None, derandomize=True)
@given(PROMPTS, st.randoms(use_true_random=False))
def test_case_changes_nothing(prompt: str, rng: object) -> None:
    changed = "".join(char.upper() if rng.random() < 0.5 else char.lower() for char in prompt)
    assert verdict(changed) == verdict(prompt)


def test_no_character_without_width_and_no_mark_is_left() -> None:
    assert {char for char in UNSEEN + MARKS if normalise(f"a{char}b") != "ab"} == set()


def sprinkled(prompt: str, characters: list[str], data: st.DataObject) -> str:
    places = data.draw(st.lists(st.integers(0, len(prompt)), max_size=5))
    for place in sorted(places, reverse=True):
        prompt = prompt[:place] + data.draw(st.sampled_from(characters)) + prompt[place:]
    return prompt


def plain_words() -> list[Term]:
    """Our terms that are one word of four letters or more, in full."""
    terms = [term for term in LISTED if len(term.words) == 1 and not term.is_allowed]
    words = [term for term in terms if term.words[0].isascii() and term.words[0].isalpha()]
    return [term for term in words if len(term.words[0]) > 3 and term.category not in RULES]


SPELLINGS = {
    "capitals": str.upper,
    "full width": lambda word: "".join(chr(ord(char) + 0xFEE0) for char in word),
    "double-struck": lambda word: "".join(chr(ord(char) - 97 + 0x1D552) for char in word),
    "spaces": " ".join,
    "dots": ".".join,
    "hyphens": "-".join,
    "commas": ", ".join,
    "one hyphen": lambda word: word[:2] + "-" + word[2:],
    "one space": lambda word: word[:1] + " " + word[1:],
    "zero width": "\u200b".join,
    "repeated": lambda word: "".join(3 * char for char in word),
    "figures": lambda word: word[:2] + word[2:].translate(LEET),
    "hidden": lambda word: word[:1] + "*" + word[2:],
    "greek o": lambda word: word.replace("o", "\u03bf"),
    "cyrillic": lambda word: word.translate(str.maketrans("aceopxy", "асеорху")),  # noqa: RUF001
    "quoted": lambda word: f'a sign that says "{word}".',
    "number": lambda word: word + "69",
    "ornament": lambda word: f"xX{word}Xx",
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_each_word_of_ours_is_found_in_each_spelling(spelling: str) -> None:
    spell = SPELLINGS[spelling]
    words = [term.words[0] for term in plain_words()]
    assert len(words) > 150
    passed = [word for word in words if verdict(spell(word)) == PASS]
    assert passed == []


# --- the lists -----------------------------------------------------------------------------------


def phrase(term: Term) -> str:
    words = (word.removesuffix("*") for word in term.words if word != GAP)
    return " ".join("12" if word.startswith("<") else word for word in words)


def test_each_term_is_refused_as_its_category() -> None:
    terms = [term for term in LISTED if not term.is_allowed and term.category not in RULES]
    found = {phrase(term): (term.category, verdict(phrase(term))) for term in terms}
    assert {words: two for words, two in found.items() if two[1] == PASS} == {}
    wrong = {words: two for words, two in found.items() if len(set(two)) > 1}
    assert {two[1] for two in wrong.values()} <= {"minors", "sexual", "self-harm"}  # go before


def test_each_exception_of_ours_passes() -> None:
    allowed = [phrase(term) for term in LISTED if term.is_allowed]
    assert [words for words in allowed if verdict(words) != PASS] == []


def test_a_minor_is_refused_in_sexual_company_only() -> None:
    for term in LISTED:
        if term.category == WHO and not term.is_allowed:
            assert verdict(phrase(term) + " in a garden") == PASS
            assert verdict(phrase(term) + ", nude") == "minors"
            assert verdict("sexual photo of " + phrase(term)) == "minors"


@pytest.mark.parametrize(
    ("prompt", "category"),
    [
        ("a child in a bikini", "minors"),
        ("a 13 year old woman in a bikini", "minors"),  # one and the same
        ("a child with its mother in a bikini", PASS),
        ("two kids, a woman in a bikini reading", PASS),
        ("a woman in a bikini and her child", PASS),
        ("a child that looks, one two three four, bikini", PASS),  # too far
        ("girl in a bikini, 13 years old", "minors"),
        ("a woman in a bikini", PASS),
        ("a boy, then a woman, then a girl scout in a bikini", "minors"),
    ],
)
def test_what_a_minor_may_not_wear_an_adult_beside_one_may(prompt: str, category: str) -> None:
    assert verdict(prompt) == category


def test_an_exception_excuses_only_its_own_words() -> None:
    assert verdict("nude lipstick") == PASS
    assert verdict("nude lipstick on a nude woman") == "sexual"
    assert verdict("Moby Dick and his dick") == "sexual"


def test_the_gravest_reason_is_given() -> None:
    assert verdict("nazi torture, nude") == "sexual"
    assert verdict("nazi torture") == "hate"
    assert verdict("gore and suicide") == "self-harm"
    assert verdict("nazi gore, nude kids") == "minors"


def test_real_people_are_refused_only_if_asked() -> None:
    silent = PromptFilter.load()
    for case in CASES:
        if case.expected == "real people":
            assert silent.find(case.prompt) is None


def test_a_reason_is_a_sentence_without_the_words_that_it_is_about() -> None:
    for category, reason in REASONS.items():
        assert reason.startswith("The prompt ")
        assert reason.endswith(".")
        assert "\n" not in reason
        assert verdict(reason) in {PASS, category} - {"hate"}


# --- operators' lists ----------------------------------------------------------------------------

OWN = """\ufeff# ours
[Company  secrets]            # a category
Project Bluebird
blueprint*
merge ... rival
<5 wheels
机密
allow: bluebird caf\u00e9     # a place

[sexual]
bikini
allow: nude
[real people]
Jane Roe
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own.txt"
    path.write_text(OWN, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("prompt", "category"),
    [
        ("logo of PROJECT bluebird", "company secrets"),
        ("pr0ject b l u e b i r d", "company secrets"),
        ("two projects, bluebirds", "company secrets"),
        ("blueprinting a house", "company secrets"),
        ("they merge with our old rival", "company secrets"),
        ("they merge and a b c d rival", PASS),
        ("a cart with four wheels", "company secrets"),
        ("a cart with 5 wheels", PASS),
        ("一张机密照片", "company secrets"),
        ("the project bluebird cafe", PASS),
        ("a bluebird", PASS),
        ("woman in a bikini", "sexual"),
        ("a nude woman", PASS),
        ("Jane Roe", "real people"),
        ("a naked woman", "sexual"),
    ],
)
def test_an_operator_adds_to_the_lists(own: Path, prompt: str, category: str) -> None:
    finding = PromptFilter.load(lists=[own]).find(prompt)
    assert (finding.category if finding else PASS) == category


def test_an_operators_reason_names_the_category(own: Path) -> None:
    finding = PromptFilter.load(lists=[own]).find("project bluebird")
    assert finding is not None
    assert "company secrets" in finding.reason


def test_words_can_be_allowed_by_a_call() -> None:
    assert PromptFilter.load(allow=["nude statue"]).find("a nude statue") is None
    with pytest.raises(ValueError, match="no colon"):
        PromptFilter.load(allow=["a: b"])


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("term", 1, "a term needs a .category. above it"),
        ("[a]\n\n[]", 3, "a category is up to 40 letters"),
        ("[a", 1, "a header is a line like"),
        ("[a] b", 1, "a header is a line like"),
        ("[a]\n&&&", 2, "at least one word"),
        ("[a]\nallow:", 2, "at least one word"),
        ("[a]\nalow: word", 2, 'the only prefix is "allow:"'),
        ("[a]\nx", 2, "one letter is no term"),
        ("[a]\nb* c\nab*", 2, "three letters before"),
        ("[a]\nw*rd", 2, "may only end a word"),
        ("[a]\n... word", 2, "stands between words"),
        ("[a]\nword ...", 2, "stands between words"),
        ("[a]\n<18", 2, "at least one word"),
        ("[a]\n" + "word " * 11, 2, "at most 10 words"),
        ("[minors: all]", 1, "a category is up to 40 letters"),
        ("[" + "a" * 41 + "]", 1, "a category is up to 40 letters"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, text: str, line: int, words: str) -> None:
    path = tmp_path / "wrong.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=rf"wrong.txt, line {line}: .*{words}") as error:
        PromptFilter.load(lists=[path])
    assert "\n" not in str(error.value)


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "picture.txt").write_bytes(b"[a]\nword\n\xff\xd8")
    with pytest.raises(ValueError, match=r"picture.txt, line 3: not UTF-8"):
        PromptFilter.load(lists=[tmp_path / "picture.txt"])
    with pytest.raises(ValueError, match="cannot be read"):
        PromptFilter.load(lists=[tmp_path / "missing.txt"])
    with pytest.raises(ValueError, match="cannot be read"):
        PromptFilter.load(lists=[tmp_path])


# --- cost ----------------------------------------------------------------------------------------

REPEATED = [
    "a b ",
    "n u d e ",
    "cut ",
    "*a",
    "a.b.c.",
    "child bra ",
    "nuuu",
    "p*rn ",
    "aaa",
    "\u0430",
]


@pytest.mark.parametrize("part", REPEATED)
def test_work_grows_as_the_prompt_does(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = {"letters": 0}
    exact = Spellings.exact

    def counted(self: Spellings, word: str) -> set[str]:
        calls["letters"] += 10 + len(word)
        return exact(self, word)

    monkeypatch.setattr(Spellings, "exact", counted)
    FILTER.find(part * 100)
    once, calls["letters"] = calls["letters"], 0
    FILTER.find(part * 200)
    assert calls["letters"] <= 2.2 * once + 1000


def test_the_filter_loads_without_torch() -> None:
    code = "import sys, openimagen.safety.prompts; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
