"""Who is asked what, in which order, with which set on which side: lots drawn from the seed.

A lot is a hash, so the order is the same on every machine and with every version of Python. Ranks
of lots, not coins, choose the sides: each set is on the left half of the time.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from openimagen.evaluate.study.design import BLOCKS, QUESTIONS, Control, Item, QuestionName, Study


@dataclass(frozen=True)
class Turn:
    """One page for one rater."""

    item: Item | Control
    shown: tuple[int, ...]  # the sets, from left to right
    questions: tuple[QuestionName, ...]


def turns(study: Study, rater: int) -> list[Turn]:
    """All that rater 1, 2, ... is asked, in order; the controls are spread among the rest."""
    seed = (study.seed, rater)
    items, pages = share(study, rater), list[Turn]()
    for block in BLOCKS[study.kind]:
        controls = [control for control in study.controls if control.question in block]
        mixed = [*_spread(items, *seed, *block), *_spread(controls, *seed, *block)]
        sides = dict([*_sides(items, block, *seed), *_sides(controls, block, *seed)])
        for _, item in sorted(mixed, key=lambda entry: (entry[0], entry[1].id)):
            pages.append(Turn(item, sides[item.id], block))
    return pages


def share(study: Study, rater: int) -> Sequence[Item]:
    """A rater's items: raters take turns around a shuffled ring, so all are asked as often."""
    if study.per_rater is None or study.per_rater >= len(study.items):
        return study.items
    ring = sorted(study.items, key=lambda item: _lot(study.seed, "share", item.id))
    start = (rater - 1) * study.per_rater
    return [ring[(start + number) % len(ring)] for number in range(study.per_rater)]


def _lot(*words: object) -> bytes:
    return hashlib.sha256("/".join(map(str, words)).encode()).digest()


def _spread(
    items: Iterable[Item | Control], *seed: object
) -> Iterator[tuple[float, Item | Control]]:
    """Places in [0, 1): a shuffle of equal steps, each at a random point of its step."""
    shuffled = sorted(items, key=lambda item: _lot(*seed, "order", item.id))
    for rank, item in enumerate(shuffled):
        within = int.from_bytes(_lot(*seed, "place", item.id)[:4]) / 2**32
        yield (rank + within) / len(shuffled), item


def _sides(
    items: Iterable[Item | Control], block: Sequence[QuestionName], *seed: object
) -> Iterator[tuple[str, tuple[int, ...]]]:
    count = QUESTIONS[block[0]].sets
    shuffled = sorted(items, key=lambda item: _lot(*seed, *block, "side", item.id))
    for rank, item in enumerate(shuffled):
        first = rank % len(item.sets)
        yield item.id, (first, 1 - first)[:count]
