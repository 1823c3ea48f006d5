"""Lots: a rater's own and lasting; sides are balanced, controls spread, and all is asked."""

from collections import Counter

import pytest

from openimagen.evaluate.study.design import Control, Item, Study
from openimagen.evaluate.study.order import share, turns

FILES = (("a.png",), ("b.png",))


def study(items: int = 40, controls: int = 8, kind: str = "drawbench", **settings: object) -> Study:
    question, accept, sets = "alignment", ["first"], FILES
    if kind == "realism":
        question, accept, sets = "caption", ["no"], FILES[:1]
    return Study.model_validate(
        {
            "kind": kind,
            "seed": 7,
            "models": ("x", "y"),
            "side": 16,
            "items": [
                {"id": f"p{n}", "category": "c", "text": "t", "sets": FILES} for n in range(items)
            ],
            "controls": [
                {"id": f"c{n}", "text": "t", "question": question, "accept": accept, "sets": sets}
                for n in range(controls)
            ],
            **settings,
        }
    )


def test_order_and_sides_are_a_rater_s_own_and_stay() -> None:
    one, again, two = turns(study(), 1), turns(study(), 1), turns(study(), 2)
    assert one == again
    assert [turn.item.id for turn in one] != [turn.item.id for turn in two]
    sides = [{turn.item.id: turn.shown for turn in deal} for deal in (one, two)]
    assert sides[0] != sides[1]
    assert [turn.item.id for turn in turns(study(seed=8), 1)] != [turn.item.id for turn in one]


@pytest.mark.parametrize("rater", [1, 2, 3])
def test_each_set_is_left_half_of_the_time(rater: int) -> None:
    for kind in (Item, Control):
        shown = Counter(t.shown for t in turns(study(), rater) if isinstance(t.item, kind))
        assert shown[0, 1] == shown[1, 0]


def test_everything_is_asked_once() -> None:
    asked = [turn.item.id for turn in turns(study(), 1)]
    assert len(asked) == len(set(asked)) == 48


def test_controls_are_spread() -> None:
    for rater in range(1, 20):
        places = [n for n, t in enumerate(turns(study(), rater)) if isinstance(t.item, Control)]
        for part in range(4):  # two in each quarter, give or take one at its edges
            assert 1 <= sum(12 * part <= place < 12 * part + 12 for place in places) <= 3


def test_realism_asks_pairs_first_then_captions_of_one_of_both() -> None:
    deal = turns(study(kind="realism"), 1)
    assert [turn.questions for turn in deal] == [("realism",)] * 40 + [("caption",)] * 48
    shown = Counter(turn.shown for turn in deal[40:] if isinstance(turn.item, Item))
    assert shown == {(0,): 20, (1,): 20}


def test_shares_cover_all_items_as_often() -> None:
    some = study(items=10, per_rater=4)
    counts = Counter(item.id for rater in range(1, 6) for item in share(some, rater))
    assert set(counts.values()) == {2} and len(counts) == 10
    assert len(turns(some, 1)) == 4 + 8  # and all controls
