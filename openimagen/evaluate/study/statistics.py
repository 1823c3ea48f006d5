"""Intervals over raters and texts, and agreement among raters."""

import numpy as np
from numpy.typing import NDArray

DRAWS = 2000


def two_way(
    values: NDArray[np.float64],  # [k r p]: what rater r said of text p, 0 where nothing
    asked: NDArray[np.float64],  # [k r p]: 1 where something was said
    rng: np.random.Generator,
    draws: int = DRAWS,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Means [k] and the ends [k] of their 95% intervals, raters and texts drawn with replacement.

    Both are samples of what one would like to know, so both are drawn anew (Owen, 2007: the
    pigeonhole bootstrap); that errs on the wide side. Each k needs at least one vote. Where all
    votes agree the interval is a point, however few they are.
    """
    _, raters, texts = values.shape
    some_raters = rng.multinomial(raters, np.full(raters, 1 / raters), size=draws)  # [b r]
    some_texts = rng.multinomial(texts, np.full(texts, 1 / texts), size=draws)  # [b p]

    def total(of: NDArray[np.float64]) -> NDArray[np.float64]:  # [k r p] -> [k b]
        return ((some_raters @ of) * some_texts).sum(axis=-1)

    with np.errstate(invalid="ignore"):  # a draw may hold no vote
        means = total(values) / total(asked)
        mean = values.sum(axis=(1, 2)) / asked.sum(axis=(1, 2))
    low, high = np.nanpercentile(means, [2.5, 97.5], axis=1)
    return mean, low, high


def agreement(table: NDArray[np.float64]) -> tuple[float | None, float | None]:
    """Krippendorff's alpha for nominal answers, and the plain share of equal pairs.

    `table` [u a]: how many raters gave unit u the answer a. None where there is no pair; alpha is
    None too if all answers are the same one (Krippendorff, 2011).
    """
    table = table[table.sum(axis=1) > 1]
    each = table.sum(axis=1)
    if not len(table):
        return None, None
    pairs = (table * (table - 1)).sum(axis=1)
    same = pairs.sum() / (each * (each - 1)).sum()
    observed = 1 - (pairs / (each - 1)).sum() / each.sum()
    totals, n = table.sum(axis=0), each.sum()
    by_chance = 1 - (totals * (totals - 1)).sum() / (n * (n - 1))
    return (float(1 - observed / by_chance) if by_chance else None), float(same)
