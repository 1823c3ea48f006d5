"""What a model of illustrations is never shown, so that what it has understood can be measured.

A share of names, of names in one style, of colours of a thing and of relations of two things: which
ones is decided by their words alone, so a run, a report and anybody's script agree about it.
"""

import hashlib

NAMES, PAIRS, COMBINATIONS = 0.05, 0.10, 0.20  # shares that are left out of training
MIRRORED = {"right of": "left of", "below": "above"}


def is_unseen_name(name: str) -> bool:
    """Whether a thing is shown in no style at all."""
    return _fraction("name", name) < NAMES


def is_unseen_pair(name: str, style: str) -> bool:
    """Whether a thing is not shown in this style, though it may be in others."""
    return is_unseen_name(name) or _fraction("pair", name, style) < PAIRS


def is_unseen_colour(name: str, colour: str) -> bool:
    """Whether a thing is not shown in this colour."""
    return _fraction("colour", name, colour) < COMBINATIONS


def is_unseen_relation(one: str, relation: str, other: str) -> bool:
    """Whether two things are not shown so; "one left of other" is "other right of one"."""
    if relation in MIRRORED:
        one, relation, other = other, MIRRORED[relation], one
    return _fraction("relation", one, relation, other) < COMBINATIONS


def _fraction(*words: str) -> float:
    """A number in [0, 1) that the words stand for."""
    digest = hashlib.blake2b("\n".join(words).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") / 2**64
