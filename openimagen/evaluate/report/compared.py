"""What a model draws for a report, and which real pictures that is compared with."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random

from openimagen.data.folder import Picture, Pictures, read_folder
from openimagen.data.illustrations import Illustration
from openimagen.data.sample import Sample
from openimagen.data.source import Source, open_pictures
from openimagen.evaluate.corpus import corpus_exams, read_corpus
from openimagen.evaluate.distances import pictures_needed
from openimagen.evaluate.exams import Exam, load_exams
from openimagen.evaluate.features import Features
from openimagen.evaluate.prompts import Prompt
from openimagen.evaluate.quality import Reader
from openimagen.evaluate.report.request import Request
from openimagen.progress import Watch

DISTANCES = ("frechet", "kernel", "precision", "recall", "density", "coverage")


@dataclass(frozen=True)
class Pairs:
    """Real pictures: some of a folder's."""

    path: Path
    source: Source

    def reader(self, side: int) -> Reader:
        """They, at a size."""
        return Reader(self.path, side, self.source)

    def count(self) -> int:
        """How many they are, at the least."""
        needed = max(map(pictures_needed, DISTANCES))
        samples = (item for item in self.source.samples() if isinstance(item, Sample))
        return (
            len(self.source.pairs)
            if isinstance(self.source, Pictures)
            else sum(1 for _ in islice(samples, needed))
        )


@dataclass(frozen=True)
class Compared:
    """Whose pictures are compared with which real ones.

    Distances are from the exam's pictures to `real`; those of `beside`, real pictures, are read
    next to them. `trained` is what they may be copies of, and what `own` pictures are held to;
    those of `seen`, if it is another exam, may be copies as well.
    """

    exam: Exam
    real: Pairs
    beside: Pairs | None
    trained: Pairs
    own: Pairs | None
    gallery: Path  # real pictures for the sweep
    seen: Exam | None = None


def exams_of(asked: Request, network: Features, watch: Watch) -> tuple[list[Exam], Compared | None]:
    """The measures of alignment that can be had, retrieval first; and what is compared."""
    if asked.icons:
        return _of_corpus(asked, asked.icons, network, watch)
    if not (asked.data or asked.scenes or asked.clip):
        return [], None
    exams = load_exams(
        prototypes=asked.data,
        scenes=asked.scenes,
        clip=asked.clip,
        ceiling=asked.unseen,
        prompts=None if asked.prompts is None else list(asked.prompts),
        names=asked.names,
        seed=asked.seed,
        side=asked.looked_at,
        device=asked.model.cascade.device,
    )
    if asked.data is None:
        return exams, None
    real = Pairs(asked.data, open_pictures(asked.data))
    same = Pairs(asked.unseen, _same(asked.unseen, exams[0].prompts)) if asked.unseen else None
    return exams, Compared(exams[0], real, same, real, same, asked.data)


def _of_corpus(
    asked: Request, folder: Path, network: Features, watch: Watch
) -> tuple[list[Exam], Compared]:
    """Distances are to icons that were held back; beside them, as many that were shown."""
    corpus = read_corpus(folder)
    exams = corpus_exams(corpus, network, asked.names, asked.seed, asked.looked_at, watch)
    named = {exam.name: exam for exam in exams}
    some = Random(asked.seed).sample(corpus.shown, min(asked.names, len(corpus.shown)))
    held, beside, shown = (
        Pairs(folder, _pictures(icons)) for icons in (corpus.held, some, corpus.shown)
    )
    gallery = folder / corpus.main
    compared = Compared(named["unseen"], held, beside, shown, held, gallery, named["seen"])
    return exams, compared


def _pictures(icons: Sequence[Illustration]) -> Pictures:
    return Pictures(tuple(Picture(icon.path, (icon.name,)) for icon in icons), {})


def check(asked: Request, compared: Compared) -> None:
    """ValueError if any of the pictures to be compared are too few for the distances."""
    needed, prompts = max(map(pictures_needed, DISTANCES)), compared.exam.prompts
    least = f"the distances need at least {needed}"
    if len(prompts) < needed:
        raise ValueError(f"{len(prompts)} prompts: {least}: give more, as --names or --prompts")
    if (count := compared.real.count()) < needed:
        what = "--icons" if asked.icons else "--data"
        raise ValueError(f"{compared.real.path} has {count} pictures: {least}: give more as {what}")
    if compared.beside and (count := compared.beside.count()) < needed:
        raise ValueError(
            f"{compared.beside.path} has {count} pictures of the prompts: {least}: give more, "
            "or leave --unseen out"
        )


def _same(unseen: Path, prompts: Sequence[Prompt]) -> Pictures:
    """The pictures of a folder that are called as one of the prompts."""
    texts = {prompt.text for prompt in prompts}
    pairs = read_folder(unseen).pairs
    return Pictures(tuple(pair for pair in pairs if pair.captions[0] in texts), {})
