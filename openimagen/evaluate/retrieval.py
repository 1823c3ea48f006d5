"""Prototype retrieval: does a picture of X land nearest to a real picture of X?

    python -m openimagen.evaluate.retrieval MODEL DATA [--sheet out.png] [--json]

An alignment score that works offline, without CLIP. DATA holds styles, a folder each, in which the
same things are drawn: the corpus of `openimagen data icons`. One style is the gallery; the real
pictures of another, looked up in the same gallery, are the ceiling to read a model's score against.
"""

import json
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from jaxtyping import Float, Int
from PIL import Image
from rich.progress import Progress
from torch import Tensor
from torch.nn.functional import normalize

from openimagen import model_folder
from openimagen.cascade import Cascade
from openimagen.config import per_stage
from openimagen.data.folder import read_folder
from openimagen.data.images import load, square, to_pil
from openimagen.device import find_device
from openimagen.evaluate.bootstrap import draws, interval
from openimagen.evaluate.features import EffLite2, Features
from openimagen.evaluate.sheet import Cell, contact_sheet
from openimagen.progress import progress_bars

BATCH = 8  # pictures drawn at once
TIE = 1e-6  # cosines this near are equal: rounding differs from batch to batch

Draw = Callable[[list[str]], list[Image.Image]]  # one picture for each name
Advance = Callable[[int, int], None]  # done, total


# --- the measure ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Share:
    """A share of the pictures, its 95% bootstrap interval over names, and what chance would give.

    All hits or none leave the bootstrap nothing to vary: the interval is then a point.
    """

    value: float
    low: float
    high: float
    chance: float


def retrieval(
    queries: Float[Tensor, "n d"],
    names: Sequence[str],
    gallery: Float[Tensor, "m d"],
    gallery_names: Sequence[str],
    ks: Sequence[int] = (1, 5),
) -> dict[str, Share]:
    """{"R@k": share of the queries whose own name is among the k nearest names of the gallery}.

    Near is the cosine of the features; a name is as near as the nearest of its pictures. Names that
    tie share the places that they fill, so features that tell nothing score exactly chance.
    Raises ValueError for a name that the gallery lacks, or features that are not finite.
    """
    own, similarity, known = _compare(queries, names, gallery, gallery_names)
    return {
        f"R@{k}": Share(
            *_interval(_hits(similarity, own, k), names), chance=min(k / len(known), 1.0)
        )
        for k in ks
    }


def nearest_names(
    queries: Float[Tensor, "n d"], gallery: Float[Tensor, "m d"], gallery_names: Sequence[str]
) -> list[str]:
    """For each query the name of the gallery that it is nearest to; the first of those that tie."""
    similarity, known = _similarity(queries, gallery, gallery_names)
    return [known[number] for number in similarity.argmax(1)]


def _compare(
    queries: Tensor, names: Sequence[str], gallery: Tensor, gallery_names: Sequence[str]
) -> tuple[Int[Tensor, "n"], Float[Tensor, "n names"], list[str]]:
    """Number of each query's own name, how near each query is to each name, and the names."""
    if not names or len(names) != len(queries):
        raise ValueError(f"{len(queries)} pictures and {len(names)} names: give one name for each")
    similarity, known = _similarity(queries, gallery, gallery_names)
    numbers = {name: number for number, name in enumerate(known)}
    if strangers := sorted(set(names) - set(known)):
        raise ValueError(f"the gallery has no picture of {strangers[0]!r} ({len(strangers)} lack)")
    return torch.tensor([numbers[name] for name in names]), similarity, known


def _similarity(
    queries: Tensor, gallery: Tensor, gallery_names: Sequence[str]
) -> tuple[Float[Tensor, "n names"], list[str]]:
    if len(gallery_names) != len(gallery):
        raise ValueError(f"{len(gallery)} pictures and {len(gallery_names)} names in the gallery")
    if not (queries.isfinite().all() and gallery.isfinite().all()):
        raise ValueError("features are not finite: are the pictures?")
    cosine = normalize(queries.double(), dim=1) @ normalize(gallery.double(), dim=1).T  # [n m]
    known = list(dict.fromkeys(gallery_names))
    numbers = {name: number for number, name in enumerate(known)}
    column = torch.tensor([numbers[name] for name in gallery_names]).expand_as(cosine)
    worst = torch.full((len(queries), len(known)), -2.0, dtype=torch.float64)
    return worst.scatter_reduce(1, column, cosine, "amax"), known


def _hits(
    similarity: Float[Tensor, "n names"], own: Int[Tensor, "n"], k: int
) -> Float[Tensor, "n"]:
    """Probability, 0 or 1 but for ties, that a query's own name is one of its k nearest."""
    mine = similarity.gather(1, own[:, None])  # [n 1]
    nearer = (similarity > mine + TIE).sum(1).double()
    tied = ((similarity - mine).abs() <= TIE).sum(1)  # with its own
    return ((k - nearer) / tied).clamp(0, 1)


def _interval(hits: Float[Tensor, "n"], names: Sequence[str]) -> tuple[float, float, float]:
    """Mean, and the 95% interval of the means of resampled names."""
    known = list(dict.fromkeys(names))
    numbers = {name: number for number, name in enumerate(known)}
    which = [numbers[name] for name in names]
    total = np.bincount(which, hits.numpy())  # by name, as pictures of one name agree
    count = np.bincount(which)
    resampled = draws(len(known), np.random.default_rng(0))
    means = [total[drawn].sum(1) / count[drawn].sum(1) for drawn in resampled]
    return float(total.sum() / count.sum()), *interval(np.concatenate(means))


# --- measuring a model ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Report:
    """Retrieval of drawn pictures, and of real ones of another style as their ceiling."""

    features: str
    gallery: str  # style
    gallery_names: int
    ceiling_style: str
    names: int  # asked for
    seed: int  # that chose them
    side: int | None  # that every picture was brought to first
    drawn: dict[str, Share]
    ceiling: dict[str, Share]
    cells: tuple[Cell, ...] = field(repr=False)

    def figures(self) -> dict[str, Any]:
        """All but the pictures, for JSON."""
        figures = {name: value for name, value in vars(self).items() if name != "cells"}
        for key in ("drawn", "ceiling"):
            figures[key] = {name: asdict(share) for name, share in figures[key].items()}
        return {**figures, "nearest": {cell.name: cell.nearest for cell in self.cells}}

    def __str__(self) -> str:
        at = f", all at {self.side} pixels" if self.side else ""
        among = f"{self.names} names among {self.gallery_names} of {self.gallery}"
        lines = [f"{self.features}: {among}{at}"]
        for name, share in self.drawn.items():
            real = self.ceiling[name]
            lines.append(
                f"{name}  drawn {share.value:.3f} [{share.low:.3f}, {share.high:.3f}]"
                f"  real {self.ceiling_style} {real.value:.3f} [{real.low:.3f}, {real.high:.3f}]"
                f"  chance {share.chance:.3f}"
            )
        return "\n".join(lines)


def measure(
    draw: Draw,
    data: Path,
    style: str = "fluent-emoji",
    ceiling_style: str = "noto",
    names: int = 200,
    seed: int = 0,
    *,
    whole_gallery: bool = False,
    side: int | None = None,
    features: Features | None = None,
    on_progress: Advance | None = None,
) -> Report:
    """Have `names` pictures drawn, each from a plain name, and look them up among real ones.

    `style` is the gallery, `ceiling_style` gives the real pictures that are looked up in it too;
    the names are chosen by `seed` from those that both have. The gallery has these names, or with
    `whole_gallery` all of its style. `draw` is called once. With `side` every picture, real or
    drawn, is brought to that side first: small pictures look alike, so only figures of one side
    compare. `on_progress` counts the pictures that were looked at. Raises ValueError for a style
    that is not there, too few names in common, or a `draw` that gives more or fewer pictures.
    """
    look = features or EffLite2()
    prototypes, others = (prototypes_of(data, each) for each in (style, ceiling_style))
    asked = choose_names(prototypes, others, names, seed)
    shown = list(prototypes) if whole_gallery else asked
    watch = _watch(side, len(shown) + 2 * len(asked), on_progress)
    pictures = draw(asked)
    drawn = look(watch(pictures))
    gallery = look(watch(load(prototypes[name]) for name in shown))
    real = look(watch(load(others[name]) for name in asked))
    nearest = nearest_names(drawn, gallery, shown)
    return Report(
        features=look.name,
        gallery=style,
        gallery_names=len(shown),
        ceiling_style=ceiling_style,
        names=len(asked),
        seed=seed,
        side=side,
        drawn=retrieval(drawn, asked, gallery, shown),
        ceiling=retrieval(real, asked, gallery, shown),
        cells=tuple(
            Cell(name, near, picture, prototypes[name])
            for name, near, picture in zip(asked, nearest, pictures, strict=True)
        ),
    )


def _watch(
    side: int | None, total: int, on_progress: Advance | None
) -> Callable[[Iterable[Image.Image]], Iterator[Image.Image]]:
    """Bring pictures to a side, and count them over several iterables as they are used."""
    done = 0

    def watch(pictures: Iterable[Image.Image]) -> Iterator[Image.Image]:
        nonlocal done
        for picture in pictures:
            yield square(picture, side) if side else picture
            done += 1
            if on_progress is not None:
                on_progress(done, total)

    return watch


def prototypes_of(data: Path, style: str) -> dict[str, Path]:
    """Plain name -> picture of it in a style, a folder of that name anywhere in `data`.

    The plain name is the first caption. ValueError if there is no such style.
    """
    pairs = read_folder(data).pairs
    found: dict[str, Path] = {}
    for picture in pairs:
        if picture.path.parent.name == style:
            found.setdefault(picture.captions[0], picture.path)
    if not found:
        styles = ", ".join(sorted({picture.path.parent.name for picture in pairs}))
        raise ValueError(f"{data} has no style {style}: choose from {styles}")
    return found


def choose_names(
    one: Mapping[str, Path], other: Mapping[str, Path], count: int, seed: int
) -> list[str]:
    """`count` of the names that both have, a function of the seed. ValueError if too few."""
    common = sorted(set(one) & set(other))
    if not 0 < count <= len(common):
        raise ValueError(f"{count} names wanted, the styles have {len(common)} in common")
    return random.Random(seed).sample(common, count)


def drawer(
    cascade: Cascade,
    *,
    seed: int = 0,
    size: int | None = None,
    settings: Sequence[Mapping[str, Any]] = (),
    on_progress: Advance | None = None,
) -> Draw:
    """A cascade as `measure` wants it: name number n is drawn with seed + n.

    `size` and `settings` as in `Cascade.sample`. `on_progress` counts pictures.
    """

    def draw(names: list[str]) -> list[Image.Image]:
        pictures: list[Image.Image] = []
        for start in range(0, len(names), BATCH):
            part = names[start : start + BATCH]
            seeds = range(seed + start, seed + start + len(part))
            images = cascade.sample(part, seeds, settings=settings, size=size)[-1]
            pictures += [to_pil(image) for image in images]
            if on_progress is not None:
                on_progress(len(pictures), len(names))
        return pictures

    return draw


# --- the command ----------------------------------------------------------------------------------


def main(
    model: Annotated[str, typer.Argument(help="An embedded model or a model folder.")],
    data: Annotated[
        Path, typer.Argument(help="The corpus: a folder with a folder for each style.")
    ],
    gallery: Annotated[str, typer.Option(help="Style to look pictures up in.")] = "fluent-emoji",
    ceiling: Annotated[str, typer.Option(help="Style whose real pictures are looked up.")] = "noto",
    names: Annotated[int, typer.Option(min=1, help="How many to draw.")] = 200,
    whole_gallery: Annotated[
        bool, typer.Option("--whole-gallery", help="Look up among all names of the style.")
    ] = False,
    size: Annotated[int | None, typer.Option(help="Side to draw, one of the stages'.")] = None,
    side: Annotated[
        int | None, typer.Option(min=8, help="Bring every picture to this side first: 64.")
    ] = None,
    steps: Annotated[str | None, typer.Option(help="For every stage, or one each: 16,8,4.")] = None,
    guidance: Annotated[str | None, typer.Option(help="Likewise: 4,1,1; 1 is off.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the names, and of the first picture.")] = 0,
    sheet: Annotated[Path | None, typer.Option(help="Write drawn and real side by side.")] = None,
    device: Annotated[str | None, typer.Option(help="cuda, mps or cpu.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Share of a model's pictures that lie nearest to a real picture of what was asked for."""
    try:
        where = find_device(device)
        cascade = model_folder.load(model_folder.find_model(model), where)
        settings = cascade.settings(
            size,
            steps=per_stage("--steps", steps, int),
            guidance=per_stage("--guidance", guidance, float),
        )
        with progress_bars("pictures") as bars:
            report = measure(
                drawer(
                    cascade,
                    seed=seed,
                    size=size,
                    settings=settings,
                    on_progress=_bar(bars, "drawing"),
                ),
                data,
                gallery,
                ceiling,
                names,
                seed,
                whole_gallery=whole_gallery,
                side=side,
                features=EffLite2(where),
                on_progress=_bar(bars, "looking"),
            )
        typer.echo(json.dumps(report.figures(), indent=1) if as_json else report)
        if sheet is not None:
            sheet.parent.mkdir(parents=True, exist_ok=True)
            contact_sheet(report.cells).save(sheet)
    except (ValueError, OSError) as error:
        typer.echo(f"retrieval: {' '.join(str(error).split())}", err=True)
        raise typer.Exit(2 if isinstance(error, ValueError) else 1) from None


def _bar(bars: Progress, title: str) -> Advance:
    task = bars.add_task(title, total=None)
    return lambda done, total: bars.update(task, completed=done, total=total)


if __name__ == "__main__":
    typer.run(main)
