"""What is held back is decided by words alone, in the shares that are promised."""

import subprocess
import sys
from collections.abc import Callable

import pytest

from openimagen.data.unseen import (
    is_unseen_colour,
    is_unseen_name,
    is_unseen_pair,
    is_unseen_relation,
)


@pytest.mark.parametrize(
    ("share", "is_unseen"),
    [
        (0.05, is_unseen_name),
        (0.05 + 0.95 * 0.10, lambda name: is_unseen_pair(name, "noto")),
        (0.20, lambda name: is_unseen_colour(name, "purple")),
        (0.20, lambda name: is_unseen_relation(name, "left of", "cat")),
    ],
)
def test_the_shares_are_as_promised(share: float, is_unseen: Callable[[str], bool]) -> None:
    count = 20_000
    held = sum(is_unseen(f"thing {number}") for number in range(count))
    assert held / count == pytest.approx(share, abs=4 * (share * (1 - share) / count) ** 0.5)


def test_an_unseen_name_is_unseen_in_every_style() -> None:
    names = [name for name in map(str, range(500)) if is_unseen_name(name)]
    assert names and all(is_unseen_pair(name, style) for name in names for style in ("a", "b"))


def test_left_of_is_right_of_from_the_other_side() -> None:
    for one, other in [(str(number), str(number + 1)) for number in range(300)]:
        for relation, mirrored in (("left of", "right of"), ("above", "below")):
            here = is_unseen_relation(one, relation, other)
            assert here == is_unseen_relation(other, mirrored, one)


def test_another_process_says_the_same() -> None:
    said = [int(is_unseen_pair(str(number), "noto")) for number in range(200)]
    code = "from openimagen.data.unseen import is_unseen_pair as unseen\n"
    code += "print([int(unseen(str(number), 'noto')) for number in range(200)])"
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert there.stdout.strip() == str(said)
