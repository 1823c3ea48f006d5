"""Exams taken: by a model, which draws for them, or by captioned pictures that are there."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from openimagen.data.folder import IMAGE_SUFFIXES, json_of, read_folder
from openimagen.data.images import load
from openimagen.evaluate.drawing import Drawing, Model, Settings
from openimagen.evaluate.exams import Exam, Marks, mark
from openimagen.evaluate.prompts import Prompt, of_row
from openimagen.evaluate.sheet import contact_sheet
from openimagen.progress import Watch, unwatched


@dataclass(frozen=True)
class Examined:
    """Who took which exams, and what came of them."""

    subject: str
    side: int  # that every picture was brought to
    marks: tuple[Marks, ...]

    def __str__(self) -> str:
        scores = [score for marks in self.marks for score in marks.scores]
        width = max(len(score.name) for score in scores)
        lines = [
            f"{self.subject}, pictures at {self.side} pixels",
            f"{'score':{width}}  {'value':>7}  {'95% interval':16}  ceiling   chance  prompts",
        ]
        for score in scores:
            known = (score.ceiling, score.chance)
            others = "  ".join("      -" if each is None else f"{each:7.3f}" for each in known)
            interval = f"[{score.low:.3f}, {score.high:.3f}]"
            lines.append(
                f"{score.name:{width}}  {score.value:7.3f}  {interval:16}  {others}  "
                f"{score.prompts:7}"
            )
        return "\n".join(lines)

    def figures(self) -> dict[str, Any]:
        """All of it but the pictures, for `json.dumps`."""
        exams = [marks.figures() for marks in self.marks]
        return {"subject": self.subject, "side": self.side, "exams": exams}

    def write_sheets(self, path: Path) -> list[Path]:
        """A contact sheet of each exam that judges single pictures: `path`, or `path`-NAME of more.

        Raises ValueError as `check_sheet`: CLIP score calls no picture right or wrong.
        """
        judged = [marks for marks in self.marks if marks.cells]
        check_sheet(path, judged=bool(judged))
        path.parent.mkdir(parents=True, exist_ok=True)
        paths = [
            path if len(judged) == 1 else path.with_stem(f"{path.stem}-{marks.name}")
            for marks in judged
        ]
        for each, marks in zip(paths, judged, strict=True):
            contact_sheet(marks.cells).save(each)
        return paths


def check_sheet(path: Path, *, judged: bool) -> None:
    """ValueError, before anything is drawn, for a sheet that could not be written.

    `judged`: whether any of the exams judges single pictures.
    """
    if not judged:
        raise ValueError("CLIP score has no sheet: ask for --prototypes or --scenes, too")
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        raise ValueError(f"{path} is no name of a picture: call it {path.with_suffix('.png').name}")


# --- by a model -----------------------------------------------------------------------------------


def examine_model(
    model: Model,
    exams: Sequence[Exam],
    side: int,
    out: Path | None = None,
    *,
    samples: int = 1,
    seed: int = 0,
    size: int | None = None,
    settings: Settings = (),
    cut: bool = False,
    watch: Watch = unwatched,
) -> Examined:
    """Have a model draw for exams, and mark what it drew.

    `out` keeps the pictures, a folder for each exam, and resumes what was begun; without it they
    are not kept. `samples` pictures of each prompt; `seed`, `size`, `settings` and `cut` as in
    `Drawing`. Raises ValueError if a folder holds another drawing, or prompts are too long.
    """
    marks = list[Marks]()
    with _folder(out) as folder:
        for exam in exams:
            drawing = Drawing(
                model, exam.prompts, folder / exam.name, samples, seed, size, settings
            )
            with watch(f"drawing for {exam.name}", "pictures") as advance:
                drawing.draw(advance, cut=cut)
            asked = [prompt for prompt in exam.prompts for _ in range(samples)]
            marks.append(mark(replace(exam, prompts=asked), drawing.pictures(), watch))
    return Examined(model.name, side, tuple(marks))


@contextmanager
def _folder(out: Path | None) -> Iterator[Path]:
    if out is not None:
        yield out
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


# --- by pictures ----------------------------------------------------------------------------------


def is_drawn(path: Path) -> bool:
    """Whether this is a folder of pictures, and no model."""
    return path.is_dir() and not (path / "model.json").exists()


@dataclass(frozen=True)
class Drawn:
    """Captioned pictures, and what was asked for each."""

    folder: Path
    files: tuple[Path, ...]
    prompts: tuple[Prompt, ...]

    @property
    def side(self) -> int:
        """Of the first picture, its shorter one. ValueError if it cannot be read."""
        return min(load(self.files[0]).size)


def read_drawn(folder: Path, prompts: Sequence[Prompt] | None = None) -> Drawn:
    """The captioned pictures of a folder, by their first captions; with `prompts` those of them.

    What GenEval's rows say of a picture is taken from `metadata.jsonl`, where `Drawing` writes it,
    or from `prompts`. ValueError if there is no picture, or none of one of the prompts.
    """
    pairs = [(pair.path, pair.captions[0]) for pair in read_folder(folder).pairs]
    if prompts is None:
        rows = _rows(folder / "metadata.jsonl")
        asked = [
            of_row({**rows.get(path.name, {}), "prompt": text}, str(path)) for path, text in pairs
        ]
        return Drawn(folder, tuple(path for path, _ in pairs), tuple(asked))
    known = {prompt.text: prompt for prompt in prompts}
    pairs = [(path, text) for path, text in pairs if text in known]
    if lacking := sorted(set(known) - {text for _, text in pairs}):
        raise ValueError(
            f'{folder} has no picture of "{lacking[0]}" ({len(lacking)} of {len(known)} prompts '
            "lack): draw them, or leave --prompts out"
        )
    return Drawn(folder, tuple(p for p, _ in pairs), tuple(known[text] for _, text in pairs))


def _rows(path: Path) -> dict[str, Mapping[str, Any]]:
    """File name -> its row; broken lines are left out, as `read_folder` does."""
    if not path.is_file():
        return {}
    rows = map(json_of, path.read_text("utf-8-sig").split("\n"))
    return {str(row.get("file_name")): row for row in rows if isinstance(row, dict)}


def examine_drawn(
    drawn: Drawn, exams: Sequence[Exam], side: int, watch: Watch = unwatched
) -> Examined:
    """Mark pictures that are there already; the prompts of the exams are those of the pictures."""
    marks = [mark(exam, map(load, drawn.files), watch) for exam in exams]
    return Examined(str(drawn.folder), side, tuple(marks))
