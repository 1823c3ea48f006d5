"""What a study is: two sets of pictures of each text, and what people are asked about them.

A study is a folder: `study.json` and the pictures that it names.

    {"format": 1, "kind": "drawbench", "title": "Which pictures are better?", "seed": 7,
     "models": ["ours", "theirs"], "side": 1024, "per_rater": null, "pass_mark": 0.8,
     "items": [{"id": "p0000", "category": "Colors", "text": "A red colored car.",
                "sets": [["pictures/3f0c9a.png", ...], ["pictures/b77e21.png", ...]]}, ...],
     "controls": [{"id": "c0000", "text": "A black colored dog.", "question": "alignment",
                   "accept": ["first"], "sets": [[...], [...]]}, ...]}

kind        "drawbench": two sets of up to 8 pictures, side by side; which has higher quality, which
            represents the text better; the first, the second, or indifferent.
            "realism": the paper's study on COCO; one drawn picture against the real one, which
            looks more real; then one of both, does the caption describe it: yes, somewhat, no.
models      whose pictures the first and the second sets are. In "realism" the second is the real
            ones' name. Raters never see them; the title, which they see, must not tell.
side        pixels; every picture is shown as a square of that side, cropped and resized if it is
            not one, so that its size does not tell whose it is.
per_rater   how many items one rater is asked about (the paper: batches of 50 on COCO); null: all.
controls    items whose answer is known: `accept` are the right answers to `question`. A rater who
            gets a smaller share of them right than `pass_mark` is marked (the paper: 80%).
            Every rater gets all of them, spread among the rest and not to be told from it.
"""

import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from PIL import Image
from pydantic import Field, ValidationError, model_validator

from openimagen.config import Config, Natural, Positive
from openimagen.data.decode import FORMATS

Kind = Literal["drawbench", "realism"]
QuestionName = Literal["quality", "alignment", "realism", "caption"]
Answer = Literal["first", "indifferent", "second", "yes", "somewhat", "no"]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
Text = Annotated[str, Field(min_length=1, max_length=2000)]
Label = Annotated[str, Field(min_length=1, max_length=80)]
Pictures = Annotated[tuple[str, ...], Field(min_length=1, max_length=8)]
MAX_SIDE = 2048


class Question(Config):
    """What is asked and what can be answered; `first` and `second` are sets, on either side."""

    text: str
    answers: tuple[Answer, ...]
    sets: int  # shown at once


QUESTIONS: dict[QuestionName, Question] = {
    "quality": Question(
        text="Which set of pictures is of higher quality?",
        answers=("first", "indifferent", "second"),
        sets=2,
    ),
    "alignment": Question(
        text="Which set of pictures better represents the text?",
        answers=("first", "indifferent", "second"),
        sets=2,
    ),
    "realism": Question(text="Which picture looks more real?", answers=("first", "second"), sets=2),
    "caption": Question(
        text="Does the caption describe the picture?", answers=("yes", "somewhat", "no"), sets=1
    ),
}
# what is asked together on one page, page after page
BLOCKS: dict[Kind, tuple[tuple[QuestionName, ...], ...]] = {
    "drawbench": (("quality", "alignment"),),
    "realism": (("realism",), ("caption",)),
}


class Item(Config):
    """A text, and the pictures that two models made of it."""

    id: Name
    category: Label
    text: Text
    sets: tuple[Pictures, Pictures]


class Control(Config):
    """An item with a right answer to one question."""

    id: Name
    text: Text
    question: QuestionName
    accept: Annotated[tuple[Answer, ...], Field(min_length=1)]
    sets: tuple[Pictures, Pictures] | tuple[Pictures]

    @model_validator(mode="after")
    def _can_be_answered(self) -> "Control":
        question = QUESTIONS[self.question]
        if wrong := set(self.accept) - set(question.answers):
            raise ValueError(f"control {self.id}: {self.question} has no answer {wrong.pop()!r}")
        if len(self.sets) != question.sets:
            raise ValueError(f"control {self.id}: {self.question} shows {question.sets} sets")
        return self


class Study(Config):
    """What `study.json` says; the pictures' paths are relative to its folder."""

    format: Literal[1] = 1
    kind: Kind
    title: Label = "Which pictures are better?"
    seed: Natural
    models: tuple[Label, Label]
    side: Annotated[int, Field(gt=0, le=MAX_SIDE)]
    per_rater: Positive | None = None
    pass_mark: Annotated[float, Field(ge=0, le=1)] = 0.8
    items: Annotated[tuple[Item, ...], Field(min_length=1)]
    controls: tuple[Control, ...] = ()

    @cached_property
    def files(self) -> frozenset[str]:
        """All the pictures."""
        return frozenset(file for each in self._all() for files in each.sets for file in files)

    def _all(self) -> Iterator[Item | Control]:
        yield from self.items
        yield from self.controls

    @model_validator(mode="after")
    def _is_blind(self) -> "Study":
        ours, theirs = (name.casefold() for name in self.models)
        if ours == theirs:
            raise ValueError(f"both models are called {self.models[0]}: give them two names")
        for name in self.models:
            if name == "indifferent":
                raise ValueError("no model can be called indifferent: give it another name")
            if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", self.title, re.IGNORECASE):
                raise ValueError(f"the title tells the raters of {name}: choose another")
        return self

    @model_validator(mode="after")
    def _is_whole(self) -> "Study":
        seen: set[str] = set()
        one = 1 if self.kind == "realism" else None
        asked = {name for block in BLOCKS[self.kind] for name in block}
        for each in self._all():
            if each.id in seen:
                raise ValueError(f"two items are called {each.id}")
            seen.add(each.id)
            counts = {len(files) for files in each.sets}
            if len(counts) > 1:
                raise ValueError(f"{each.id}: the sets differ in size, which tells them apart")
            if one not in (None, *counts):
                raise ValueError(f"{each.id}: a realism study shows one picture a side")
            if isinstance(each, Control) and each.question not in asked:
                raise ValueError(f"{each.id}: a {self.kind} study does not ask {each.question}")
        return self


def in_a_line(error: ValidationError) -> str:
    """What is wrong first, and where."""
    first = error.errors()[0]
    where, why = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
    return ": ".join(filter(None, [where, why]))


def load_study(folder: Path) -> Study:
    """Read and check a study. ValueError, naming the fix, if it or a picture is not right."""
    path = folder / "study.json"
    if not path.is_file():
        raise ValueError(
            f"{folder} has no study.json: make one with `openimagen evaluate drawbench MODEL "
            f"--against MODEL --prompts FILE --out {folder}`"
        )
    try:
        study = Study.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise ValueError(f"{path}: {in_a_line(error)}") from None
    for file in sorted(study.files):
        _check_picture(folder, file)
    return study


def picture_path(folder: Path, file: str) -> Path:
    """Where a picture lies. ValueError if that is outside the folder."""
    path = (folder / file).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise ValueError(f"{folder}/study.json wants {file!r}: pictures must lie in the folder")
    return path


def _check_picture(folder: Path, file: str) -> None:
    path = picture_path(folder, file)
    if not path.is_file():
        raise ValueError(f"{folder} lacks {file}: restore it, or draw the study again")
    try:
        with Image.open(path, formats=FORMATS):
            pass
    except OSError:
        raise ValueError(f"{path} is no picture: draw the study again") from None
