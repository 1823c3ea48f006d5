"""What to draw, and the measure of alignment that it is drawn for."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from openimagen.data.colours import paintable
from openimagen.data.scene_prompts import OBJECTS, scene_prompts
from openimagen.data.scenes import read_icons
from openimagen.evaluate.alignment import Alignment, Judge, Score
from openimagen.evaluate.composition import Composition, prompt_of, scene_of
from openimagen.evaluate.features import EffLite2
from openimagen.evaluate.prompts import Prompt
from openimagen.evaluate.retrieval import Gallery, Prototypes, choose_names, named_pictures
from openimagen.evaluate.sheet import Cell
from openimagen.progress import Advance, Watch, unwatched

EACH = 40  # scenes of each of GenEval's categories, where no prompts are given


@dataclass(frozen=True)
class Exam:
    """A measure, and the prompts to draw for it. `name` is that of its folder, too."""

    name: str
    alignment: Alignment
    prompts: list[Prompt]


@dataclass(frozen=True)
class Marks:
    """What came of an exam. `cells` are empty if its measure does not judge single pictures."""

    name: str
    pictures: int
    scores: list[Score]
    cells: list[Cell] = field(repr=False)

    def figures(self) -> dict[str, Any]:
        """All but the pictures, for JSON; `faults` names what is wrong with which."""
        faults = [{"prompt": cell.text, "fault": cell.fault} for cell in self.cells if cell.fault]
        scores = [asdict(score) for score in self.scores]
        return {"name": self.name, "pictures": self.pictures, "scores": scores, "faults": faults}


def load_exams(
    *,
    prototypes: Path | None = None,
    scenes: Path | None = None,
    clip: str | None = None,
    ceiling: Path | None = None,
    prompts: Sequence[Prompt] | None = None,
    names: int = 200,
    whole_gallery: bool = False,
    seed: int = 0,
    side: int | None = None,
    device: torch.device | str = "cpu",
    watch: Watch = unwatched,
) -> list[Exam]:
    """Retrieval, composition and CLIP score, those of them that are asked for.

    `prototypes` is a captioned folder, the gallery of retrieval; `scenes` one of icons with alpha,
    by which composition knows things; `clip` a folder or hub id. `ceiling`: captioned pictures of
    another style, which the scores of real pictures come from. `prompts` are asked in every exam;
    None: retrieval chooses `names` that both styles have, scenes are of what both have, and CLIP
    score takes the prompts of the others. Pictures are looked up among the names that are asked
    for, or with `whole_gallery` among all.
    Raises ValueError if none is asked for, or for prompts that an exam cannot measure.
    """
    if prototypes is None and scenes is None and clip is None:
        raise ValueError(
            "nothing to measure with: give --prototypes FOLDER, --scenes FOLDER or --clip WEIGHTS"
        )
    exams = list[Exam]()
    real = named_pictures(ceiling) if ceiling and (prototypes or clip) else None
    if prototypes is not None:
        gallery = named_pictures(prototypes)
        chosen = prompts or [
            Prompt(name) for name in choose_names(gallery, real or gallery, names, seed)
        ]
        if not whole_gallery:
            asked = dict.fromkeys(prompt.text for prompt in chosen)
            gallery = {name: gallery[name] for name in asked if name in gallery}
        measure = Prototypes(gallery, EffLite2(device), real, side, watch)
        exams.append(Exam("retrieval", measure, list(chosen)))
    if scenes is not None:
        exams.append(_composition(scenes, ceiling, prompts, seed, side))
    if clip is not None:
        texts = prompts or [prompt for exam in exams for prompt in exam.prompts]
        exams.append(_clip(clip, real, texts, side, device))
    for exam in exams:
        exam.alignment.check(exam.prompts)
    return exams


def _composition(
    folder: Path, ceiling: Path | None, prompts: Sequence[Prompt] | None, seed: int,
    side: int | None,
) -> Exam:  # fmt: skip
    wanted = dict(OBJECTS)
    for scene in map(scene_of, prompts or ()):
        wanted |= {
            each.name: OBJECTS.get(each.name, each.name)
            for each in (*scene.include, *scene.exclude)
        }
    icons = read_icons(folder, wanted)
    real = read_icons(ceiling, wanted) if ceiling else icons
    if prompts is None:
        common = [name for name in icons if name in real]
        painted = [name for name in common if paintable(icons[name]) and paintable(real[name])]
        prompts = [
            prompt_of(scene) for scene in scene_prompts(common, EACH, seed, coloured=painted)
        ]
    return Exam("composition", Composition(icons, real, side), list(prompts))


def _clip(
    name: str, real: Gallery | None, prompts: Sequence[Prompt], side: int | None,
    device: torch.device | str,
) -> Exam:  # fmt: skip
    from openimagen.evaluate.clip_score import ClipScore, load_whole_clip

    if not prompts:
        raise ValueError("--clip needs texts: give --prompts FILE")
    return Exam("clip", ClipScore(load_whole_clip(name, device), real, side), list(prompts))


def mark(exam: Exam, pictures: Iterable[Image.Image], watch: Watch = unwatched) -> Marks:
    """Measure pictures, one for each prompt of an exam."""
    with watch(exam.name, "pictures") as advance:
        counted = _counted(pictures, len(exam.prompts), advance)
        if isinstance(exam.alignment, Judge):
            scores, cells = exam.alignment.judge(counted, exam.prompts)
        else:
            scores, cells = exam.alignment(counted, exam.prompts), []
    return Marks(exam.name, len(exam.prompts), scores, cells)


def _counted(
    pictures: Iterable[Image.Image], total: int, advance: Advance
) -> Iterator[Image.Image]:
    for number, picture in enumerate(pictures, 1):
        yield picture
        advance(number, total)
