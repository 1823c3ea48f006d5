"""Write a study from two sets of pictures: blind, complete, with controls made from them."""

import hashlib
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from pydantic import ValidationError

from openimagen.data.decode import load, square
from openimagen.evaluate.study.design import Control, Item, Kind, Study, in_a_line
from openimagen.files import write_whole

Picture = Path | Image.Image


@dataclass(frozen=True)
class Entry:
    """A text and what two models made of it; up to 8 pictures each, as many from both."""

    text: str
    category: str
    first: Sequence[Picture]
    second: Sequence[Picture]  # "realism": the real picture


def write_study(
    folder: Path,
    kind: Kind,
    models: tuple[str, str],
    entries: Iterable[Entry],
    *,
    seed: int = 0,
    side: int | None = None,
    controls: int = 8,
    per_rater: int | None = None,
) -> Study:
    """Write `study.json` and `pictures/`; entries are taken one by one, and none is kept.

    `side`: pixels of the squares that raters see; the pictures' own if they are all squares of one
    size, else it must be said. `controls`: how many questions with a known answer to add; each
    shows a model's pictures of a text beside the same model's pictures of another text (in
    "realism", a real picture under its own or another's caption). Raises ValueError if the sets do
    not make a study, or votes on an earlier one lie in the folder.
    """
    if (folder / "votes.sqlite").exists():
        raise ValueError(f"{folder} holds votes on a study: choose another folder")
    store, items = _Store(folder, side), list[Item]()
    for number, entry in enumerate(entries):
        sets = store.keep_all(entry.first), store.keep_all(entry.second)
        items.append(Item(id=f"p{number:04}", category=entry.category, text=entry.text, sets=sets))
    if not items:
        raise ValueError("a study needs at least one text with pictures")
    study = _checked(
        kind=kind,
        seed=seed,
        models=models,
        side=store.side,
        per_rater=per_rater,
        items=tuple(items),
        controls=tuple(_controls(kind, items, controls, seed)),
    )
    write_whole(folder / "study.json", study.model_dump_json(indent=1))
    return study


def check_study(
    kind: Kind,
    models: tuple[str, str],
    texts: Iterable[tuple[str, str]],
    samples: int,
    side: int | None = None,
) -> None:
    """ValueError, before anything is drawn, for what would make no study.

    `texts`: category and text of each entry, of which either model has `samples` pictures.
    """
    files = tuple(map(str, range(samples)))
    items = tuple(
        Item(id=f"p{number:04}", category=category, text=text, sets=(files, files))
        for number, (category, text) in enumerate(texts)
    )
    _checked(kind=kind, seed=0, models=models, side=side or 1, items=items)


def _checked(**fields: object) -> Study:
    try:
        return Study.model_validate(fields)
    except ValidationError as error:
        raise ValueError(f"this makes no study: {in_a_line(error)}") from None


class _Store:
    """Pictures under the hash of their pixels: names that tell nothing."""

    def __init__(self, folder: Path, side: int | None) -> None:
        self.folder, self.stated = folder, side
        self.seen: tuple[int, int] | None = None
        (folder / "pictures").mkdir(parents=True, exist_ok=True)

    @property
    def side(self) -> int:
        return self.stated or (self.seen or (0,))[0]

    def keep_all(self, pictures: Sequence[Picture]) -> tuple[str, ...]:
        return tuple(self._keep(picture) for picture in pictures)

    def _keep(self, picture: Picture) -> str:
        image = load(picture) if isinstance(picture, Path) else picture.convert("RGB")
        self.seen = self.seen or image.size
        if self.stated is None and (image.size != self.seen or image.width != image.height):
            raise ValueError(
                f"pictures of {_size(self.seen)} and {_size(image.size)} in one study: state the "
                "side of the squares that raters see"
            )
        plain, file = square(image, self.side), io.BytesIO()
        plain.info.clear()  # of a file's own remarks
        plain.save(file, "PNG")
        name = f"pictures/{hashlib.sha256(plain.tobytes()).hexdigest()[:20]}.png"
        write_whole(self.folder / name, file.getvalue())
        return name


def _size(size: tuple[int, int]) -> str:
    return "x".join(map(str, size))


def _controls(kind: Kind, items: Sequence[Item], count: int, seed: int) -> Iterator[Control]:
    """Texts beside pictures of another text, as unlike it as can be: of another category."""
    by_lot = sorted(items, key=lambda item: hashlib.sha256(f"{seed}/{item.id}".encode()).digest())
    for number in range(count):
        item, model = by_lot[number % len(by_lot)], number % 2
        others = [other for other in by_lot if other.text != item.text]
        others = [other for other in others if other.category != item.category] or others
        if not others:
            raise ValueError("controls need two different texts: ask for none, controls=0")
        other = others[number % len(others)]
        name, text = f"c{number:04}", item.text
        if kind == "drawbench":
            sets = item.sets[model], other.sets[model]
            yield Control(id=name, text=text, question="alignment", accept=("first",), sets=sets)
        elif model:
            yield Control(
                id=name, text=text, question="caption", accept=("no",), sets=(other.sets[1],)
            )
        else:
            yield Control(
                id=name,
                text=text,
                question="caption",
                accept=("yes", "somewhat"),
                sets=(item.sets[1],),
            )
