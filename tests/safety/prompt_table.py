"""The prompt filter's tables: what it should do, what it does. Run it to print the figures.

python tests/safety/prompt_table.py
"""

import re
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from openimagen.safety.prompts import ORDER, PromptFilter

HERE = Path(__file__).parent
PARTS = {
    "tuned": "made with",
    "held_out": "held out",
    "hard": "hard",
    "fresh": "written last",
    "reviewed": "reviewed",
}
PASS = "pass"


@dataclass(frozen=True)
class Case:
    """A prompt, what kind of trap or evasion it is, and the category it belongs to, or "pass"."""

    expected: str
    kind: str
    prompt: str


@dataclass(frozen=True)
class Score:
    """How many were rightly refused, wrongly refused and wrongly let pass."""

    right: int
    wrong: int
    missed: int

    @property
    def precision(self) -> float:
        return self.right / max(1, self.right + self.wrong)

    @property
    def recall(self) -> float:
        return self.right / max(1, self.right + self.missed)


def read_cases(part: str) -> list[Case]:
    lines = (HERE / f"{part}.tsv").read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines if line and not line.startswith("#")]
    return [Case(expected, kind, unescape(prompt)) for expected, kind, prompt in rows]


def unescape(text: str) -> str:
    pattern = r"\\u([0-9a-f]{4})|\\U([0-9a-f]{8})"
    return re.sub(pattern, lambda code: chr(int(code[1] or code[2], 16)), text)


def verdicts(filter: PromptFilter, cases: Sequence[Case]) -> list[str]:
    findings = [filter.find(case.prompt) for case in cases]
    return [finding.category if finding else PASS for finding in findings]


def scores(cases: Sequence[Case], found: Sequence[str]) -> Iterator[tuple[str, Score]]:
    """Each category's, and that of refusing at all, whatever the category."""
    pairs = [(case.expected, verdict) for case, verdict in zip(cases, found, strict=True)]
    for category in ORDER:
        if any(category in pair for pair in pairs):
            yield category, score([(one == category, two == category) for one, two in pairs])
    yield "refused at all", score([(one != PASS, two != PASS) for one, two in pairs])


def score(pairs: Sequence[tuple[bool, bool]]) -> Score:
    return Score(pairs.count((True, True)), pairs.count((False, True)), pairs.count((True, False)))


def table(part: str) -> str:
    """The part's figures as Markdown."""
    cases = read_cases(part)
    found = verdicts(PromptFilter.load(real_people=True), cases)
    harmless = sum(case.expected == PASS for case in cases)
    lines = [
        f"| {PARTS[part]}: {len(cases)} prompts, {harmless} harmless | should be refused "
        "| rightly | wrongly | missed | precision | recall |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in scores(cases, found):
        counts = f"{row.right + row.missed} | {row.right} | {row.wrong} | {row.missed}"
        lines.append(f"| {name} | {counts} | {row.precision:.3f} | {row.recall:.3f} |")
    return "\n".join(lines)


def milliseconds() -> float:
    """The median time that a prompt of the tables takes."""
    prompt_filter = PromptFilter.load()
    times = []
    for case in read_cases("held_out") * 5:
        start = time.perf_counter()
        prompt_filter.find(case.prompt)
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times)


if __name__ == "__main__":
    for name in PARTS:
        print(table(name), end="\n\n")
        cases = read_cases(name)
        for case, verdict in zip(
            cases, verdicts(PromptFilter.load(real_people=True), cases), strict=True
        ):
            if verdict != case.expected:
                print(f"{case.expected} -> {verdict}: {case.prompt!a}")
    print(f"{milliseconds():.3f} ms a prompt")
