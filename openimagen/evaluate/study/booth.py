"""What one rater may see and say: pages under names that tell nothing, votes only on one's own.

On the wire a page is a keyed hash, its sets are left and right, its pictures are numbers: neither
models, files, categories nor controls can be told from it.
"""

import hmac
import io
import logging
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from PIL import Image

from openimagen.data.decode import load, square
from openimagen.evaluate.study.design import (
    BLOCKS,
    QUESTIONS,
    Answer,
    Question,
    Study,
    picture_path,
)
from openimagen.evaluate.study.order import Turn, turns
from openimagen.evaluate.study.votes import Rater, Vote, Votes

LABELS = {
    "left": "A",
    "right": "B",
    "indifferent": "Indifferent",
    "yes": "Yes",
    "somewhat": "Somewhat",
    "no": "No",
}
PREVIEW = 384  # pixels; of several pictures side by side, each opens in full
KEPT = 256  # encoded pictures in memory

log = logging.getLogger(__name__)


class UnknownPage(LookupError):
    """A page that is not there, or not this rater's."""


@dataclass(frozen=True)
class Page:
    """A turn and whose it is."""

    key: str
    rater: int
    turn: Turn


@dataclass
class Booth:
    """The study as its raters meet it; safe to call from several threads."""

    folder: Path
    study: Study
    votes: Votes
    _pages: dict[int, dict[str, Page]] = field(default_factory=dict)  # of a rater, in order

    def overview(self, rater: Rater) -> dict[str, Any]:
        """The study in words, and which questions of which pages are answered, how."""
        said = {(vote.item, vote.question): vote for vote in self.votes.votes(rater.number)}
        return {
            "title": self.study.title,
            "kind": self.study.kind,
            "rater": rater.name,
            "questions": {
                name: _wording(QUESTIONS[name])
                for block in BLOCKS[self.study.kind]
                for name in block
            },
            "pages": [
                {
                    "key": page.key,
                    "answers": {
                        name: _seen(said[page.turn.item.id, name].answer, page.turn.shown)
                        if (page.turn.item.id, name) in said
                        else None
                        for name in page.turn.questions
                    },
                }
                for page in self._pages_of(rater.number).values()
            ],
        }

    def page(self, rater: Rater, key: str) -> dict[str, Any]:
        """A page: the text, unless only the looks are asked about, and where its pictures are."""
        page = self._page_of(rater.number, key)
        sets = [page.turn.item.sets[index] for index in page.turn.shown]
        return {
            "key": key,
            "text": None if page.turn.questions == ("realism",) else page.turn.item.text,
            "sets": [
                [f"pictures/{key}/{side}/{number}" for number in range(len(files))]
                for side, files in enumerate(sets)
            ],
        }

    def vote(self, rater: Rater, key: str, question: str, answer: str) -> None:
        """Take a vote; when it returns, the vote is on the disk.

        Raises UnknownPage if it is not one of the rater's pages, ValueError if that is not asked
        there or cannot be answered so; both are written down.
        """
        try:
            page = self._page_of(rater.number, key)
            asked = next((name for name in page.turn.questions if name == question), None)
            if asked is None:
                raise ValueError(f"this page does not ask {question!r}")
            meant = _meant(answer, page.turn.shown)
            if meant not in QUESTIONS[asked].answers:
                raise ValueError(f"{question} cannot be answered {answer!r}")
        except (UnknownPage, ValueError) as error:
            log.warning("refused a vote of rater %d (%s): %s", *rater, error)
            self.votes.refuse(rater.number, str(error), key, question, answer)
            raise
        item, shown = page.turn.item.id, page.turn.shown
        self.votes.record(Vote(rater.number, item, asked, meant, shown))

    def picture(self, key: str, side: int, number: int, *, full: bool) -> bytes:
        """A picture as WebP: nothing but pixels, all of one size. UnknownPage if there is none."""
        page = self._find(key)
        if side not in range(len(page.turn.shown)):
            raise UnknownPage("no such picture")
        files = page.turn.item.sets[page.turn.shown[side]]
        if number not in range(len(files)):
            raise UnknownPage("no such picture")
        small = len(files) > 1 and not full
        return _encode(picture_path(self.folder, files[number]), self.study.side, small)

    def progress(self) -> list[tuple[Rater, int, int]]:
        """Of each rater: answers given, answers asked for."""
        return [
            (
                rater,
                len(self.votes.votes(rater.number)),
                sum(len(page.turn.questions) for page in self._pages_of(rater.number).values()),
            )
            for rater in self.votes.raters()
        ]

    def _pages_of(self, rater: int) -> dict[str, Page]:
        if rater not in self._pages:
            secret = self.votes.secret
            dealt = turns(self.study, rater)
            keys = [_key(secret, rater, turn.item.id, *turn.questions) for turn in dealt]
            pages = map(Page, keys, [rater] * len(dealt), dealt)
            self._pages[rater] = {page.key: page for page in pages}
        return self._pages[rater]

    def _page_of(self, rater: int, key: str) -> Page:
        page = self._pages_of(rater).get(key)
        if page is None:
            raise UnknownPage("no such pair among yours: open your invitation again")
        return page

    def _find(self, key: str) -> Page:
        """Of whatever rater; the key itself is the permission to see it."""
        for known in (list(self._pages), [rater.number for rater in self.votes.raters()]):
            for number in known:
                if key in self._pages_of(number):
                    return self._pages_of(number)[key]
        raise UnknownPage("no such picture")


def _key(secret: bytes, *words: object) -> str:
    return hmac.digest(secret, "/".join(map(str, words)).encode(), "sha256")[:16].hex()


def _wording(question: Question) -> dict[str, Any]:
    choices = [_seen(answer, (0, 1)) for answer in question.answers]
    return {
        "text": question.text,
        "choices": [{"value": value, "label": LABELS[value]} for value in choices],
    }


def _seen(answer: Answer, shown: tuple[int, ...]) -> str:
    """An answer as the rater sees it."""
    if answer in ("first", "second"):
        return ("left", "right")[shown.index(("first", "second").index(answer))]
    return answer


def _meant(answer: str, shown: tuple[int, ...]) -> str:
    """What a rater's answer means."""
    if answer in ("left", "right") and len(shown) == 2:
        return ("first", "second")[shown[("left", "right").index(answer)]]
    return "" if answer in ("first", "second") else answer


@lru_cache(KEPT)
def _encode(path: Path, side: int, small: bool) -> bytes:
    picture = square(load(path), side)
    if small and side > PREVIEW:
        picture = picture.resize((PREVIEW, PREVIEW), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    if small:
        picture.save(file, "WEBP", quality=92)
    else:
        picture.save(file, "WEBP", lossless=True, quality=30, method=1)
    return file.getvalue()
