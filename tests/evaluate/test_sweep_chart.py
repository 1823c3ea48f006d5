"""The figure of a sweep: every point is in it, where it belongs, with its words."""

import io
from itertools import product
from typing import Any

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from PIL import Image

from openimagen.config import SamplingConfig
from openimagen.evaluate.alignment import Score
from openimagen.evaluate.distances import Distance
from openimagen.evaluate.sweep.chart import as_png, as_svg, chart
from openimagen.evaluate.sweep.labels import Labelled, place_labels
from openimagen.evaluate.sweep.result import Identity, Point, Sweep

IDENTITY = Identity(
    model="m", prompts="p", samples=1, seed=0, size=64, side=64, features="EffLite2", real="r",
    alignment=("retrieval",),
)  # fmt: skip


def made(**over: list[Any]) -> Sweep:
    """A sweep of made-up figures: point n scores n / 100, at distance 100 + n."""
    points = []
    for n, values in enumerate(product(*over.values())):
        settings = SamplingConfig(threshold="static", guidance=2.0).model_dump(mode="json")
        score = Score("R@1 (EffLite2)", n / 100, n / 100 - 0.01, n / 100 + 0.02, 200, 0.64, 0.005)
        distances = (Distance("FD-EffLite2", 100.0 + n, 97.0 + n, 105.0 + n, 1000, 200),)
        points.append(
            Point(
                name=f"point {n}",
                values={},
                settings={"base": settings | dict(zip(over, values, strict=True))},
                distances=distances,
                scores=(score,),
                seconds=0.1 * n if n else None,
            )
        )
    empty = Sweep(model="emoji", prompts=200, identity=IDENTITY, over={}, along="")
    return empty.with_points(points, over)


def words(figure: Figure) -> str:
    texts = [text.get_text() for text in figure.findobj(match=lambda one: hasattr(one, "get_text"))]
    return " ".join(" ".join(texts).split())


def test_the_plane_has_a_curve_for_each_variant_and_a_point_for_each_weight() -> None:
    sweep = made(guidance=[1.0, 1.5, 3.0], threshold=["static", "none"])
    figure = chart(sweep)
    axes = figure.axes[0]
    assert len(figure.axes) == 1
    drawn = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
    assert {name: places for name, places in drawn.items() if name[0] != "_"} == {
        "static": [[0.0, 100], [0.02, 102], [0.04, 104]],
        "none": [[0.01, 101], [0.03, 103], [0.05, 105]],
    }
    labels = [text for text in axes.texts if isinstance(text, Annotation)]
    assert [(text.get_text(), text.xy) for text in labels[:3]] == [
        ("1", (0.0, 100)), ("1.5", (0.02, 102)), ("3", (0.04, 104))
    ]  # fmt: skip
    assert len(labels) == 6 == len(sweep.points)
    assert axes.get_xlabel().startswith("R@1 (EffLite2)")
    assert axes.get_ylabel().startswith("FD-EffLite2")
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["static", "none"]
    said = words(figure)
    assert "emoji over guidance weight and threshold" in said
    assert "200 prompts drawn at 64 pixels" in said and "R@1 (EffLite2): 0.64 of real" in said


def test_intervals_are_drawn_as_they_are() -> None:
    axes = chart(made(guidance=[1.0, 3.0])).axes[0]
    bars = [bar.get_segments() for bar in axes.collections if isinstance(bar, LineCollection)]
    assert np.allclose(bars[0], [[[-0.01, 100], [0.02, 100]], [[0.0, 101], [0.03, 101]]])
    assert np.allclose(bars[1], [[[0, 97], [0, 105]], [[0.01, 98], [0.01, 106]]])
    assert axes.get_legend() is None  # one curve needs none


def test_no_word_lies_on_another() -> None:
    """Nor on a marker: of three curves that run through nearly the same points."""
    places = [[(n + 0.02 * curve, n - 0.02 * curve) for n in range(4)] for curve in range(3)]
    axes = Figure(figsize=(6, 4)).add_subplot(xlim=(-1, 4), ylim=(-1, 4))
    place_labels(axes, [Labelled(each, ["1.25"] * 4, "black") for each in places])
    boxes = [text.get_window_extent().shrunk(0.8, 0.8) for text in axes.texts]
    assert len(boxes) == 12
    assert not any(one.overlaps(other) for n, one in enumerate(boxes) for other in boxes[:n])
    markers = axes.transData.transform(np.concatenate(places))
    assert not any(box.contains(*marker) for box in boxes for marker in markers)


@pytest.mark.parametrize("kind", ["steps", "sampler"])
def test_what_buys_quality_with_time_has_panels(kind: str) -> None:
    """Alignment, distance and time over the setting; a time that was not taken is left out."""
    values = [4, 8, 32] if kind == "steps" else ["ddim", "heun", "ddpm"]
    panels = chart(made(**{kind: values})).axes
    places = values if kind == "steps" else [0, 1, 2]
    assert [axes.get_title("left") for axes in panels] == [
        "R@1 (EffLite2)", "FD-EffLite2", "seconds a picture"
    ]  # fmt: skip
    for axes, heights in zip(panels, ([0, 0.01, 0.02], [100, 101, 102], [0.1, 0.2]), strict=True):
        line = axes.lines[0]
        assert [tick.get_text() for tick in axes.get_xticklabels()] == [*map(str, values)]
        assert [*line.get_xdata()] == places[-len(heights) :]
        assert np.allclose(line.get_ydata(), heights)
        assert line.get_linestyle() == ("-" if kind == "steps" else "None")


def test_one_point_is_a_figure_too() -> None:
    assert len(chart(made(guidance=[2.0])).axes[0].lines[0].get_xdata()) == 1
    assert len(chart(made(sampler=["heun"])).axes) == 3


def test_pictures_are_small_and_the_same_every_time() -> None:
    sweep = made(guidance=[1.0, 2.0, 3.0], sampler=["ddim", "heun"])
    png = as_png(chart(sweep))
    assert Image.open(io.BytesIO(png)).size == (1024, 720) and len(png) < 60_000
    svg = as_svg(chart(sweep))
    assert svg.startswith(b"<?xml") and svg == as_svg(chart(sweep)) and png == as_png(chart(sweep))


def test_what_has_no_point_or_no_score_has_no_figure() -> None:
    sweep = made(guidance=[1.0])
    with pytest.raises(ValueError, match="no point of the sweep is measured yet"):
        chart(sweep.model_copy(update={"points": ()}))
    blind = sweep.points[0].model_copy(update={"scores": ()})
    with pytest.raises(ValueError, match="the sweep has no alignment"):
        chart(sweep.model_copy(update={"points": (blind,)}))
