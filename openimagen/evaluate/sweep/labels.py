"""Words beside the points of curves, where they cover nothing."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

SIZE, AWAY = 7.0, (4.5, 8.0, 12.0)  # points: of the type; from a marker to its word
ANGLES = 16
RANK = 0.05  # what it costs a word to stand in the next best place
STEPS = 40  # of a stretch of curve, to see what a word would cover

Place = tuple[float, float]
Places = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Labelled:
    """A curve: its points, in data units, and a word for each."""

    places: Sequence[Place]
    words: Sequence[str]
    colour: str


def place_labels(axes: Axes, curves: Sequence[Labelled]) -> None:
    """Write each word where it covers the least of the curves and of the words before it."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()  # fixes the layout, and so how far points are apart
    scale = 72 / figure.dpi
    on_page = [axes.transData.transform(np.array(curve.places)) * scale for curve in curves]
    ink = np.concatenate([_ink(places) for places in on_page])
    markers = np.concatenate(on_page)
    page, legend = axes.bbox.get_points() * scale, axes.get_legend()
    taken = [legend.get_window_extent().get_points() * scale] if legend is not None else []
    for curve, places in zip(curves, on_page, strict=True):
        for at, place, word in zip(curve.places, places, curve.words, strict=True):
            boxes = list(_boxes(place, word))
            costs = [_cost(box, ink, markers, taken) + _outside(box, page) for box in boxes]
            best = boxes[int(np.argmin(np.array(costs) + RANK * np.arange(len(boxes))))]
            taken.append(best)
            middle = best.mean(0) - place
            axes.annotate(
                word,
                at,
                (float(middle[0]), float(middle[1])),
                textcoords="offset points",
                ha="center",
                va="center_baseline",
                fontsize=SIZE,
                color=curve.colour,
                annotation_clip=False,
            )


def _ink(places: Places) -> Places:
    """Points along a curve, close together."""
    parts = [np.linspace(one, other, STEPS) for one, other in pairwise(places)]
    return np.concatenate([places, *parts])


def _boxes(place: Places, word: str) -> list[Places]:
    """Where a word may stand, best first: [low, high] corners around a point."""
    half = np.array([0.31 * SIZE * len(word), 0.42 * SIZE])  # of what the word covers
    boxes = []
    for away in AWAY:
        for number in range(ANGLES):
            angle = 2 * math.pi * (number / ANGLES + 1 / 8)
            direction = np.array([math.cos(angle), math.sin(angle)])
            middle = place + direction * (away + half)
            boxes.append(np.stack([middle - half, middle + half]))
    return boxes


def _cost(box: Places, ink: Places, markers: Places, taken: Sequence[Places]) -> float:
    """What a word there covers: of other words most of all, of markers, of curves."""
    words = sum((_overlap(box, other) for other in taken), 0.0)
    return 20 * words + 20 * _inside(box, markers, 3.0) + 2 * _inside(box, ink, 0.8)


def _overlap(one: Places, other: Places) -> float:
    sides = np.minimum(one[1], other[1]) - np.maximum(one[0], other[0])
    return float(np.prod(np.maximum(sides, 0.0)))


def _inside(box: Places, points: Places, margin: float) -> int:
    within = (points > box[0] - margin) & (points < box[1] + margin)
    return int(within.all(1).sum())


def _outside(box: Places, page: Places) -> float:
    return 20 * float(np.maximum(page[0] - box[0], box[1] - page[1]).clip(min=0).sum())
