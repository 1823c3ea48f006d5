"""What the raters said: shares with intervals, agreement, and who failed the controls."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from openimagen.evaluate.study.design import BLOCKS, QUESTIONS, QuestionName, Study
from openimagen.evaluate.study.statistics import DRAWS, agreement, two_way
from openimagen.evaluate.study.votes import Rater, Vote

OVERALL, INDIFFERENT = "Overall", "indifferent"
SCORES = {"yes": 1.0, "somewhat": 0.5, "no": 0.0}  # the paper: 100, 50, 0


class Share(NamedTuple):
    """A share of the votes, 0 to 1, with its 95% interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        low, high = 100 * self.low, 100 * self.high
        return f"{100 * self.value:5.1f} ({low:.1f} to {high:.1f})"


@dataclass(frozen=True)
class Row:
    """One question about the texts of one category."""

    question: QuestionName
    category: str
    texts: int
    raters: int
    votes: int
    shares: dict[
        str, Share
    ]  # by model and "indifferent"; "caption": how well it describes, by model


@dataclass(frozen=True)
class Agreement:
    """How far raters agree on one question."""

    alpha: (
        float | None
    )  # Krippendorff's, nominal: 1 as one, 0 as by chance; None: nothing to compare
    same: float | None  # share of pairs of votes on one text that are the same


@dataclass(frozen=True)
class RaterReport:
    """What is known of one rater."""

    name: str
    votes: int
    controls: int  # answered
    right: int
    left: float | None  # share of A among the votes for A or B: far from half is suspicious
    failed: bool  # the controls
    excluded: bool  # from the rows


@dataclass(frozen=True)
class Results:
    """The table, for people and for `json.dumps`."""

    kind: str
    models: tuple[str, str]
    rows: list[Row]
    agreement: dict[str, Agreement]
    raters: list[RaterReport]

    def as_json(self) -> dict[str, Any]:
        """All of it; a share is {value, low, high}."""
        content = asdict(self)
        for row, plain in zip(self.rows, content["rows"], strict=True):
            plain["shares"] = {name: share._asdict() for name, share in row.shares.items()}
        return content

    def __str__(self) -> str:
        lines, heading = list[str](), ""
        for row in self.rows:
            if row.question != heading:
                heading = row.question
                lines += [""] * bool(lines) + [f"{heading}: {QUESTIONS[heading].text}"]
                names = "".join(f"  {name[:22]:22}" for name in row.shares)
                lines.append(f"  {'category':22}{'texts':>6}{'votes':>7}{names}".rstrip())
            shares = "".join(f"  {share!s:22}" for share in row.shares.values())
            lines.append(f"  {row.category[:22]:22}{row.texts:6}{row.votes:7}{shares}".rstrip())
        lines += ["", "percent, with 95% intervals over texts and raters"]
        lines += [f"agreement  {name}: {_words(found)}" for name, found in self.agreement.items()]
        lines += [f"rater  {_rater_words(rater)}" for rater in self.raters]
        return "\n".join(lines)


def count(
    study: Study,
    votes: Sequence[Vote],
    raters: Sequence[Rater],
    *,
    keep_failed: bool = False,
    draws: int = DRAWS,
    seed: int = 0,
) -> Results:
    """Count the votes. Raters who failed the controls are left out unless `keep_failed`.

    ValueError if nothing is left to count.
    """
    reports = [_report(study, votes, rater, keep_failed) for rater in raters]
    out = {rater.number for rater, of in zip(raters, reports, strict=True) if of.excluded}
    ids = {item.id for item in study.items}
    counted = [vote for vote in votes if vote.item in ids and vote.rater not in out]
    if not counted:
        why = "nobody has voted yet: invite raters with --invite"
        if any(vote.item in ids for vote in votes):
            why = "all who voted failed the controls: count them all the same with --all-raters"
        raise ValueError(f"no votes to count: {why}")
    rows, agreement = list[Row](), dict[str, Agreement]()
    for question in (name for block in BLOCKS[study.kind] for name in block):
        some = [vote for vote in counted if vote.question == question]
        if some:
            rows += _rows(study, question, some, np.random.default_rng(seed), draws)
            agreement[question] = _agreement(some)
    return Results(study.kind, study.models, rows, agreement, reports)


# --- shares ---------------------------------------------------------------------------------------


def _rows(
    study: Study,
    question: QuestionName,
    votes: Sequence[Vote],
    rng: np.random.Generator,
    draws: int,
) -> Iterator[Row]:
    category = {item.id: item.category for item in study.items}
    for name in (OVERALL, *dict.fromkeys(category.values())):
        some = [vote for vote in votes if name in (OVERALL, category[vote.item])]
        if some:
            yield Row(
                question=question,
                category=name,
                texts=len({vote.item for vote in some}),
                raters=len({vote.rater for vote in some}),
                votes=len(some),
                shares=_shares(study, question, some, rng, draws),
            )


def _shares(
    study: Study,
    question: QuestionName,
    votes: Sequence[Vote],
    rng: np.random.Generator,
    draws: int,
) -> dict[str, Share]:
    raters = _numbered(vote.rater for vote in votes)
    items = _numbered(vote.item for vote in votes)
    names = _columns(study, question)
    size = (len(names), len(raters), len(items))
    values, asked = np.zeros(size), np.zeros(size)
    for vote in votes:
        place = raters[vote.rater], items[vote.item]
        if question == "caption":
            values[vote.shown[0], *place] = SCORES[vote.answer]
            asked[vote.shown[0], *place] = 1
        else:
            values[(*QUESTIONS[question].answers,).index(vote.answer), *place] = 1
            asked[:, *place] = 1
    there = [bool(column.any()) for column in asked]  # one of two may be without votes
    ends = two_way(values[there], asked[there], rng, draws)
    names = [name for name, some in zip(names, there, strict=True) if some]
    return {name: Share(*map(float, found)) for name, *found in zip(names, *ends, strict=True)}


def _columns(study: Study, question: QuestionName) -> list[str]:
    ours, theirs = study.models
    middle = [INDIFFERENT] if INDIFFERENT in QUESTIONS[question].answers else []
    return [ours, *middle, theirs]


def _numbered(names: Any) -> dict[Any, int]:  # noqa: ANN401
    return {name: number for number, name in enumerate(dict.fromkeys(names))}


# --- agreement ------------------------------------------------------------------------------------


def _agreement(votes: Sequence[Vote]) -> Agreement:
    """Over votes on the same pictures; what has a single vote says nothing."""
    units = _numbered((vote.item, *sorted(vote.shown)) for vote in votes)
    answers = _numbered(vote.answer for vote in votes)
    table = np.zeros((len(units), len(answers)))
    for vote in votes:
        table[units[vote.item, *sorted(vote.shown)], answers[vote.answer]] += 1
    return Agreement(*agreement(table))


# --- raters ---------------------------------------------------------------------------------------


def _report(study: Study, votes: Sequence[Vote], rater: Rater, keep_failed: bool) -> RaterReport:
    mine = [vote for vote in votes if vote.rater == rater.number]
    accept = {(control.id, control.question): control.accept for control in study.controls}
    marks = [
        vote.answer in accept[vote.item, vote.question]
        for vote in mine
        if (vote.item, vote.question) in accept
    ]
    sides = [
        vote.shown[0] == ("first", "second").index(vote.answer)
        for vote in mine
        if vote.answer in ("first", "second")
    ]
    failed = bool(marks) and sum(marks) < study.pass_mark * len(marks)
    return RaterReport(
        name=rater.name,
        votes=len(mine),
        controls=len(marks),
        right=sum(marks),
        left=sum(sides) / len(sides) if sides else None,
        failed=failed,
        excluded=failed and not keep_failed,
    )


def _words(found: Agreement) -> str:
    if found.same is None:
        return "no text has two votes"
    alpha = "" if found.alpha is None else f", Krippendorff's alpha {found.alpha:.2f}"
    return f"{100 * found.same:.0f}% of pairs of votes are the same{alpha}"


def _rater_words(rater: RaterReport) -> str:
    words = [f"{rater.name}: {rater.votes} votes"]
    if rater.controls:
        words.append(f"controls {rater.right} of {rater.controls} right")
    if rater.left is not None:
        words.append(f"A in {100 * rater.left:.0f}%")
    if rater.failed:
        words.append("failed: left out" if rater.excluded else "failed: counted all the same")
    return ", ".join(words)
