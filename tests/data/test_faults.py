"""However many there are, the counts are right and the names few."""

import json

from openimagen.data.faults import KINDS, Faults


def test_a_name_counts_once() -> None:
    faults = Faults({"a": "empty caption"})
    faults.add({"a": "empty caption", "b": "1 x 1 is over 0 pixels"})
    faults.add({"b": "another reason", "c": "20 x 30 is over 0 pixels"})
    assert (len(faults), list(faults.named)) == (3, ["a", "b", "c"])
    assert faults.counts() == {"# x # is over # pixels": 2, "empty caption": 1}


def test_only_numbers_are_left_out_of_a_kind() -> None:
    faults = Faults({"a": "caption is not UTF-8", "b": "5 of 6 (7 bytes, 8-bit)"})
    assert list(faults.counts()) == ["caption is not UTF-8", "# of # (# bytes, #-bit)"]


def test_beyond_the_names_counts_stay_exact() -> None:
    faults = Faults(names=10)
    for number in range(500):
        faults.add(
            {f"{number}": "no picture" if number % 5 else f"no caption: {number} is missing"}
        )
    assert (len(faults), len(faults.named)) == (500, 10)
    assert faults.counts() == {"no picture": 400, "no caption": 100}


def test_kinds_are_bounded_too() -> None:
    faults = Faults(names=0)
    faults.add({str(n): "reason " + "x" * n for n in range(3 * KINDS)})
    assert len(faults.counts()) == KINDS + 1 and sum(faults.counts().values()) == 3 * KINDS


def test_the_state_of_another_adds_up() -> None:
    left, right = Faults({"a": "torn"}, names=2), Faults({"a": "torn", "b": "torn"}, names=2)
    right.add({"c": "torn", "d": "worn"})
    left.merge(json.loads(json.dumps(right.state_dict())))
    assert (left.named, left.counts()) == ({"a": "torn", "b": "torn"}, {"torn": 3, "worn": 1})
