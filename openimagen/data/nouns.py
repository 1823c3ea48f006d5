"""English nouns: which article, how several are called, what is not counted."""

import re

_UNCOUNTED = {
    *("badminton", "bacon", "bowling", "bread", "broccoli", "butter", "camping", "claus", "fire"),
    *("fog", "ginger", "golf", "hair", "honey", "ice", "lacrosse", "luggage", "money", "o'clock"),
    *("points", "rice", "salt", "snow", "spaghetti", "sushi", "tennis", "thirty", "water", "zzz"),
}  # nobody asks for "a money"
_PLURALS = {
    **{name: name for name in ("fish", "sheep", "broccoli", "deer", "scissors", "skis", "shrimp")},
    **{name: name for name in ("bison", "moose")},
    "knife": "knives", "wolf": "wolves", "mouse": "mice", "person": "people", "tooth": "teeth",
    "leaf": "leaves", "man": "men", "woman": "women", "child": "children", "goose": "geese",
    "loaf": "loaves", "potato": "potatoes", "tomato": "tomatoes", "snowman": "snowmen",
    "ox": "oxen", "die": "dice",
}  # fmt: skip
_SEVERAL = re.compile(r"(family|kiss) |(locked|unlocked|men|women|people|palms|thumbs)\b")
_CLAUSE = re.compile(r" (with|without|of|on|in|at|behind|over|from|to|and|above|below)\b")
_VOWEL = re.compile(r"(?!uni|eu|one\b|ufo|ukulele)[aeiou]|hour|x ray")


def is_countable(name: str) -> bool:
    """Whether one may ask for "a" such thing."""
    noun = _CLAUSE.split(name)[0].split()[-1]  # "hands" of "open hands with a heart"
    plural = noun.endswith("s") and not noun.endswith(("ss", "us", "is"))
    return not (plural or noun in _UNCOUNTED or _SEVERAL.match(name))


def article(words: str) -> str:
    """One of it: "an apple", "a unicorn"."""
    return f"{'an' if _VOWEL.match(words) else 'a'} {words}"


def plural(name: str) -> str:
    """Several of it: "cups of tea"."""
    if clause := _CLAUSE.search(name):
        return plural(name[: clause.start()]) + name[clause.start() :]
    before, _, last = name.rpartition(" ")
    if last in _PLURALS:
        many = _PLURALS[last]
    elif last.endswith(("s", "x", "z", "ch", "sh")):
        many = f"{last}es"
    elif last.endswith("y") and last[-2:-1] not in tuple("aeiou"):
        many = f"{last[:-1]}ies"
    else:
        many = f"{last}s"
    return f"{before} {many}".strip()
