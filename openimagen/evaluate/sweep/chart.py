"""A sweep drawn: alignment against distance, a curve for each variant, as in the paper's figures.

Guidance, thresholds and augmentation trade one for the other: their points lie on a curve in that
plane. Steps and samplers do not, but for time: panels show both, and the time, over the setting.
"""

import io
import textwrap
from collections.abc import Sequence
from itertools import cycle
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator
from PIL import Image

from openimagen.evaluate.alignment import Score
from openimagen.evaluate.distances import Distance
from openimagen.evaluate.sweep.labels import Labelled, place_labels
from openimagen.evaluate.sweep.result import Point, Sweep
from openimagen.evaluate.sweep.settings import is_number, word

TRADES = ("guidance", "guidance_rescale", "percentile", "aug_level")  # alignment for distance
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")  # Okabe-Ito
MARKERS = "os^Dvp*"
NAMES = {"guidance": "guidance weight", "aug_level": "augmentation level", "steps": "steps"}
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # matplotlib's own: the same on every machine
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#495057",
    "axes.labelcolor": "#212529",
    "xtick.color": "#495057",
    "ytick.color": "#495057",
    "axes.grid": True,
    "grid.color": "#e9ecef",
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "svg.hashsalt": "openimagen",  # the same bytes every time
}
ROOM, MIN_ROOM = 0.05, 0.01  # around what is drawn, of its span; of its size


def chart(sweep: Sweep) -> Figure:
    """The figure of a sweep: its first score against its first distance, or both over a setting.

    Raises ValueError for a sweep that has no point yet, or no score.
    """
    if not sweep.points:
        raise ValueError("no point of the sweep is measured yet: let it run")
    if not sweep.points[0].scores:
        raise ValueError("the sweep has no alignment: give it one")
    with rc_context(STYLE):
        return _plane(sweep) if _field(sweep.along) in TRADES else _panels(sweep)


def as_png(figure: Figure, dpi: int = 160) -> bytes:
    """A figure as the content of a PNG file."""
    return _fewer_colours(_saved(figure, "png", dpi))


def as_svg(figure: Figure) -> bytes:
    """A figure as the content of an SVG file, in which text is drawn: it needs no font."""
    return _saved(figure, "svg", 72)


def _saved(figure: Figure, kind: str, dpi: int) -> bytes:
    file = io.BytesIO()
    plain = {"Software": None} if kind == "png" else {"Date": None}
    with rc_context(STYLE):
        figure.savefig(file, format=kind, dpi=dpi, metadata=plain)
    return file.getvalue()


def _fewer_colours(png: bytes) -> bytes:
    """A third of the bytes: a figure has a handful of colours, and their edges."""
    file = io.BytesIO()
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    picture.quantize(256, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    return file.getvalue()


# --- the plane ------------------------------------------------------------------------------------


def _plane(sweep: Sweep) -> Figure:
    figure = Figure(figsize=(6.4, 4.5), layout="constrained")
    axes = figure.add_subplot()
    first = sweep.points[0]
    styled = _styled(sweep)
    for name, points, colour, marker in styled:
        _curve(axes, points, name, colour, marker)
    axes.set_xlabel(f"{first.scores[0].name}   (higher is better)")
    axes.set_ylabel(f"{first.distances[0].name}   (lower is better)")
    _within(axes, sweep.points)
    _head(figure, sweep, f"Labels: {_title(sweep.along)}.")
    _legend(axes, sweep)
    place_labels(axes, [_labelled(sweep, points, colour) for _, points, colour, _ in styled])
    return figure


def _labelled(sweep: Sweep, points: Sequence[Point], colour: str) -> Labelled:
    places = [(point.scores[0].value, point.distances[0].value) for point in points]
    return Labelled(places, [word(point.values[sweep.along]) for point in points], colour)


def _curve(axes: Axes, points: Sequence[Point], name: str, colour: str, marker: str) -> None:
    scores = [point.scores[0] for point in points]
    distances = [point.distances[0] for point in points]
    axes.errorbar(
        [score.value for score in scores],
        [distance.value for distance in distances],
        xerr=_bars(scores),
        yerr=_bars(distances),
        fmt="none",
        ecolor=colour,
        elinewidth=0.8,
        capsize=1.6,
        capthick=0.8,
        alpha=0.3,
    )
    axes.plot(
        [score.value for score in scores],
        [distance.value for distance in distances],
        color=colour,
        marker=marker,
        markersize=5,
        markeredgecolor="white",
        markeredgewidth=0.6,
        linewidth=1.4,
        label=name,
    )


def _within(axes: Axes, points: Sequence[Point]) -> None:
    """Axes that fit the points and their intervals."""
    for fit, figures in (
        (axes.set_xlim, [point.scores[0] for point in points]),
        (axes.set_ylim, [point.distances[0] for point in points]),
    ):
        low, high = min(each.low for each in figures), max(each.high for each in figures)
        room = max(ROOM * (high - low), MIN_ROOM * abs(high), 1e-6)
        fit(low - room, high + room)


# --- panels ---------------------------------------------------------------------------------------


def _panels(sweep: Sweep) -> Figure:
    first = sweep.points[0]
    figure = Figure(figsize=(8.4, 3.4), layout="constrained")
    panels = figure.subplots(1, 3)
    names = [first.scores[0].name, first.distances[0].name, "seconds a picture"]
    for axes, name in zip(panels, names, strict=True):
        axes.set_title(name, loc="left", fontsize=9)
        _ticks(axes, sweep)
    for name, points, colour, marker in _styled(sweep):
        line = {"color": colour, "marker": marker, "markersize": 4.5, "label": name}
        for axes, kind in zip(panels, ("scores", "distances"), strict=False):
            figures = [getattr(point, kind)[0] for point in points]
            xs, ys = _xs(sweep, points), [each.value for each in figures]
            axes.errorbar(xs, ys, _bars(figures), elinewidth=0.8, capsize=2, **_line(sweep, line))
        timed = [point for point in points if point.seconds is not None]
        seconds = [point.seconds or 0.0 for point in timed]
        panels[2].plot(_xs(sweep, timed), seconds, **_line(sweep, line))
    panels[2].set_ylim(bottom=0)
    _head(figure, sweep)
    _legend(panels[2], sweep)  # the emptiest
    return figure


def _line(sweep: Sweep, line: dict[str, Any]) -> dict[str, Any]:
    """Values without an order are not joined."""
    ordered = all(map(is_number, sweep.over[sweep.along]))
    return line | {"linestyle": "-" if ordered else "none", "linewidth": 1.3}


def _xs(sweep: Sweep, points: Sequence[Point]) -> list[float]:
    values = sweep.over[sweep.along]
    if all(map(is_number, values)):
        return [float(point.values[sweep.along]) for point in points]
    return [float(values.index(point.values[sweep.along])) for point in points]


def _ticks(axes: Axes, sweep: Sweep) -> None:
    """A tick at each value; numbers that grow by factors are evenly spaced."""
    values = sweep.over[sweep.along]
    ordered = all(map(is_number, values))
    if ordered and values[0] > 0 and values[-1] >= 4 * values[0]:
        axes.set_xscale("log")
    places = values if ordered else range(len(values))
    axes.set_xticks([*places], labels=[word(value) for value in values])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel(_title(sweep.along))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.grid(visible=False, axis="x")
    if not ordered:
        axes.set_xlim(-0.5, len(values) - 0.5)


# --- both -----------------------------------------------------------------------------------------


def _styled(sweep: Sweep) -> list[tuple[str, list[Point], str, str]]:
    """Name, points, colour and marker of each curve."""
    looks = zip(cycle(COLOURS), cycle(MARKERS), strict=False)
    return [(name, points, *look) for (name, points), look in
            zip(sweep.curves().items(), looks, strict=False)]  # fmt: skip


def _head(figure: Figure, sweep: Sweep, note: str = "") -> None:
    """The title; and below, what was done."""
    model = sweep.model if len(sweep.model) <= 40 else f"...{sweep.model[-37:]}"
    title = f"{model} over {' and '.join(map(_title, sweep.varied()))}"
    figure.suptitle(title, x=0.012, ha="left", fontsize=11, fontweight="bold")
    bounds = _bounds(sweep.points[0].scores[0])
    lines = [f"{sweep.about()}.", note, "Bars: 95% intervals.", bounds]
    caption = textwrap.fill(" ".join(filter(None, lines)), round(figure.get_figwidth() * 17))
    figure.supxlabel(caption, x=0.012, ha="left", fontsize=7.5, color="#6c757d")


def _bounds(score: Score) -> str:
    """What else there is to read a score against."""
    known = ((score.ceiling, "of real pictures"), (score.chance, "by chance"))
    words = [f"{value:.3g} {who}" for value, who in known if value is not None]
    name = score.name.replace(" ", "\N{NO-BREAK SPACE}")
    return f"{name}: {', '.join(words)}." if words else ""


def _legend(axes: Axes, sweep: Sweep) -> None:
    apart = sweep.apart()
    if apart:
        title = _title(apart[0]) if len(apart) == 1 else None
        axes.legend(title=title, loc="best", fontsize=8, title_fontsize=8, frameon=False)


def _bars(figures: Sequence[Score] | Sequence[Distance]) -> tuple[list[float], list[float]]:
    """How far intervals reach below and above; never less than nothing."""
    below = [max(each.value - each.low, 0.0) for each in figures]
    above = [max(each.high - each.value, 0.0) for each in figures]
    return below, above


def _field(key: str) -> str:
    return key.rpartition(".")[2]


def _title(key: str) -> str:
    """A setting in words: "guidance weight (base)"."""
    stage, _, field = key.rpartition(".")
    name = NAMES.get(field, field.replace("_", " "))
    return f"{name} ({stage})" if stage else name
