"""Names, intervals that hold what they promise, ladders of decay, and too few pictures."""

import warnings
from dataclasses import asdict
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from openimagen.evaluate import distances as room
from openimagen.evaluate.bootstrap import Estimate
from openimagen.evaluate.distances import KINDS, distance, distances, name_of

few = pytest.mark.filterwarnings("ignore:[0-9]+ pictures are few")


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# --- names ----------------------------------------------------------------------------------------


def test_bare_names_are_for_the_published_networks() -> None:
    assert [name_of(kind, "EffLite2") for kind in KINDS] == [
        "FD-EffLite2",
        "KID-EffLite2",
        "CMMD-EffLite2",
        "Precision-EffLite2",
        "Recall-EffLite2",
        "Density-EffLite2",
        "Coverage-EffLite2",
    ]
    bare = [name_of(kind, "Inception") for kind in ("frechet", "kernel", "cmmd", "precision")]
    assert bare == ["FID", "KID", "CMMD-Inception", "Precision-Inception"]
    assert [name_of(kind, "CLIP") for kind in KINDS[:3]] == ["FD-CLIP", "KID-CLIP", "CMMD"]


# --- figures --------------------------------------------------------------------------------------


@few
def test_all_at_once_are_those_one_by_one() -> None:
    real, fake = noise(30, 4).float(), noise(40, 4, seed=1).float() + 0.5
    found = list(distances(real, fake, "EffLite2", seed=3))
    assert [each.name for each in found] == [name_of(kind, "EffLite2") for kind in KINDS]
    assert found == [distance(kind, real, fake, "EffLite2", seed=3) for kind in KINDS]
    assert list(distances(real, fake, "EffLite2", ["coverage", "kernel"], seed=3)) == [
        found[1],
        found[6],
    ]
    for each in found:
        assert (each.n_real, each.n_fake) == (30, 40)
        assert each.low <= each.value <= each.high
    reverse = list(distances(fake, real, "EffLite2", ["frechet", "precision", "recall"]))
    expected = [found[n].value for n in (0, 4, 3)]  # precision is the recall of the other way
    assert [each.value for each in reverse] == pytest.approx(expected)


@few
def test_seeds_change_the_interval_alone() -> None:
    real, fake = noise(30, 4), noise(40, 4, seed=1) + 0.5
    one, same, other = (distance("frechet", real, fake, "X", seed) for seed in (0, 0, 1))
    assert one == same
    assert (other.value, other.low != one.low) == (one.value, True)
    assert asdict(one).keys() == {"name", "value", "low", "high", "n_real", "n_fake"}
    assert str(one).startswith(f"FD-X {one.value:.4g} [{one.low:.4g}, ")


# --- intervals ------------------------------------------------------------------------------------

SPREADS = {"kernel": 1.3, "cmmd": 1.3, "frechet": 1.3}  # widths over the right ones, at most


@few
@pytest.mark.parametrize(
    "kind, n, m, d", [*((kind, 100, 80, 8) for kind in KINDS), ("frechet", 40, 50, 60)]
)
def test_intervals_cover_what_they_say(kind: str, n: int, m: int, d: int) -> None:
    """95% of them hold the mean figure, at few pictures some 92%, less the luck of 150 trials.

    Those of neighbours are on the wide side, as a jackknife's are (Efron & Stein, 1981).
    """
    trials = 150
    found = []
    for trial in range(trials):
        real = noise(n, d, seed=2 * trial)
        fake = 1.2 * noise(m, d, seed=2 * trial + 1) + 1 / d**0.5
        found.append(distance(kind, real, fake, "X", seed=trial))
    values, lows, highs = torch.tensor([[x.value, x.low, x.high] for x in found]).double().T
    mean = values.mean()
    assert float(((lows <= mean) & (mean <= highs)).double().mean()) >= 0.88
    width = float((highs - lows).mean() / (2 * 1.96 * values.std()))
    assert 0.9 < width < SPREADS.get(kind, 2.0)


@few
def test_all_or_none_leave_room_for_others() -> None:
    """40 of 40 are seen one time in forty of a thing of 0.912 (Clopper & Pearson, 1934)."""
    real, fake = noise(50, 3), noise(40, 3, seed=1)
    every = distance("precision", real, 0.01 * fake, "X")
    assert (every.value, every.high) == (1, 1)
    assert every.low == pytest.approx(0.912, abs=5e-4)
    found = {kind: distance(kind, real, fake + 99, "X") for kind in KINDS[3:]}
    assert [each.value for each in found.values()] == [0] * 4
    assert [each.low for each in found.values()] == [0] * 4
    for kind, count in (("precision", 40), ("recall", 50), ("coverage", 50)):
        assert (1 - found[kind].high) ** count == pytest.approx(0.025)


@few
def test_intervals_stay_where_figures_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    wide = Estimate(0.5, 50 * (noise(9) - noise(9).mean()), torch.zeros(9).double())
    monkeypatch.setattr(
        room,
        "TOGETHER",
        {group: lambda *_, each=group: [wide] * len(each) for group in room.TOGETHER},
    )
    ends = {x.name: (x.low, x.high) for x in distances(noise(9, 2), noise(9, 2), "X")}
    assert {ends[name] for name in ("Precision-X", "Recall-X", "Coverage-X")} == {(0, 1)}
    assert {ends[name][0] for name in ("FD-X", "CMMD-X", "Density-X")} == {0}
    assert ends["FD-X"][1] > 1
    assert ends["KID-X"][0] < 0


# --- ladders --------------------------------------------------------------------------------------


@few
def test_worse_pictures_are_farther() -> None:
    """More noise, or fewer things drawn: every distance that ought to tell, tells, step by step."""
    real, fake = noise(200, 6), noise(200, 6, seed=1)
    blurred = [fake + step * noise(200, 6, seed=2) for step in (0, 0.5, 1, 2)]
    for kind in ("frechet", "kernel", "cmmd"):
        assert rises([distance(kind, real, rows, "X").value for rows in blurred])
    for kind in ("precision", "density", "coverage"):
        assert rises([-distance(kind, real, rows, "X").value for rows in blurred])
    for kind in ("frechet", "kernel", "cmmd"):
        collapsed = [fake[torch.arange(200) % count] for count in (200, 50, 12)]
        assert rises([distance(kind, real, rows, "X").value for rows in collapsed])
    for kind in ("recall", "coverage"):
        collapsed = [fake[torch.arange(200) % count] for count in (200, 100, 50)]
        assert rises([-distance(kind, real, rows, "X").value for rows in collapsed])


def rises(values: list[float]) -> bool:
    return all(one < other for one, other in pairwise(values))


# --- too few --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind, n, d, words",
    [
        ("frechet", 50, 60, "too high .*fewer than 60 pictures lack rank.*Give 2048 or more"),
        ("frechet", 2100, 2101, "fewer than 2101 pictures lack rank.*Give 2101 or more"),
        ("frechet", 2047, 1, "biased upward, by 1/n. Give 2048 or more, or compare only with"),
        ("kernel", 999, 1, "unbiased but noisy. Give 1000 or more"),
        ("cmmd", 999, 1, "biased upward, by 1/n. Give 1000 or more"),
        ("precision", 999, 1, "of wide balls. Give 1000 or more"),
        ("coverage", 999, 1, "of wide balls. Give 1000 or more"),
    ],
)
def test_few_pictures_are_told_where_it_was_asked(
    kind: str, n: int, d: int, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "TOGETHER", {(kind,): lambda *_: (Estimate(0.0, *noise(2, 5)),)})
    many, rows = torch.zeros(3000, d), torch.zeros(n, d)
    for sides in ((rows, many), (many, rows)):
        with pytest.warns(
            UserWarning, match=f"^{n} pictures are few. {name_of(kind, 'X')}: .*{words}"
        ) as seen:
            distance(kind, *sides, "X")
            list(distances(*sides, "X", [kind]))
        assert len(seen) == 2
        assert "\n" not in str(seen[0].message)


def test_all_that_have_too_few_share_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "TOGETHER", {})
    for n, kinds in ((999, KINDS), (1500, KINDS[:1])):
        with pytest.warns(UserWarning) as seen:
            distances(torch.zeros(n, 2), torch.zeros(3000, 2), "X")
        assert len(seen) == 1
        line = str(seen[0].message)
        assert [name_of(kind, "X") in line for kind in KINDS] == [kind in kinds for kind in KINDS]
        assert "Give 2048 or more" in line


def test_enough_pictures_are_passed_over_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "TOGETHER", {})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        list(distances(torch.zeros(2048, 2048), torch.zeros(2048, 2048), "X"))
        list(distances(torch.zeros(1000, 5), torch.zeros(1000, 5), "X", KINDS[1:]))


@few
@pytest.mark.parametrize(
    "kind, least",
    [("frechet", 2), ("kernel", 2), ("cmmd", 2), ("precision", 5), ("recall", 5), ("density", 7)],
)
def test_the_fewest_there_can_be(kind: str, least: int) -> None:
    rows = noise(least, 3)
    assert distance(kind, rows, noise(least, 3, seed=1), "X").value is not None
    for side, sides in (("real", (rows[1:], rows)), ("fake", (rows, rows[1:]))):
        with pytest.raises(
            ValueError, match=f"{kind} of {least - 1} {side} pictures: give at least {least}"
        ):
            distance(kind, *sides, "X")


def test_features_that_have_no_distance() -> None:
    rows = noise(10, 3)
    broken = rows.clone()
    broken[2, 1] = torch.inf
    with pytest.raises(ValueError, match="fake features are not finite: are the pictures"):
        distances(rows, broken, "X")  # before anything is asked of it
    with pytest.raises(ValueError, match="real features are not finite"):
        distance("kernel", broken, rows, "X")
    with pytest.raises(ValueError, match="3 real and 4 fake features a picture: use one network"):
        distance("frechet", rows, noise(10, 4), "X")
    with pytest.raises(ValueError, match="no distance 'fid': choose from frechet, kernel"):
        distances(rows, rows, "X", ["fid"])
