"""Closed forms and a brute-force oracle."""

from collections.abc import Sequence
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from openimagen.evaluate.bootstrap import share_interval
from openimagen.evaluate.retrieval import KS, look_up

NAMES = [f"name {n}" for n in range(20)]


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class Share(NamedTuple):
    value: float
    low: float
    high: float
    chance: float


def retrieval(
    queries: Tensor, names: list[str], gallery: Tensor, of: list[str], ks: Sequence[int] = KS
) -> dict[str, Share]:
    found = look_up(queries, names, gallery, of, ks)
    return {f"R@{k}": Share(*share_interval(found.hits[k], names), found.chance[k]) for k in ks}


def values(queries: Tensor, names: list[str], gallery: Tensor, of: list[str], *ks: int) -> list:
    return [share.value for share in retrieval(queries, names, gallery, of, ks).values()]


# --- closed forms ---------------------------------------------------------------------------------


def test_what_is_in_the_gallery_finds_itself() -> None:
    gallery = noise(20, 8)
    shares = retrieval(gallery, NAMES, gallery, NAMES)
    assert list(shares) == ["R@1", "R@5"]
    for share, chance in zip(shares.values(), (1 / 20, 5 / 20), strict=True):
        assert (share.value, share.high, share.chance) == (1, 1, chance)
        assert share.low == pytest.approx(0.025 ** (1 / 20))  # Clopper and Pearson's, of 20 of 20


def test_three_names_by_hand() -> None:
    """Angles in degrees: the third query is nearest to b, then to its own name."""
    gallery, queries = angles(0, 60, 150), angles(10, 50, 100)
    names = ["a", "b", "c"]
    assert values(queries, names, gallery, names, 1, 2) == pytest.approx([2 / 3, 1])
    assert look_up(queries, names, gallery, names).nearest == ["a", "b", "b"]
    assert values(queries, ["b", "a", "a"], gallery, names, 1, 2, 3) == pytest.approx([0, 2 / 3, 1])
    assert values(queries[:1], ["c"], gallery, names, 1, 2, 3) == [0, 0, 1]


def angles(*degrees: float) -> Tensor:
    radians = torch.tensor(degrees).deg2rad()
    return torch.stack([radians.cos(), radians.sin()], dim=1)


def test_near_is_an_angle_not_a_distance() -> None:
    """b's arrow ends nearer, a's points nearer; lengths change nothing."""
    gallery = angles(0, 40) * torch.tensor([[9.0], [1.0]])
    assert values(0.1 * angles(10), ["a"], gallery, ["a", "b"], 1) == [1]
    assert values(50 * angles(10), ["b"], gallery, ["a", "b"], 1) == [0]


def test_names_shifted_round_hit_chance_exactly() -> None:
    """Of all ways to turn the names round, k in m put the own name among the k nearest."""
    queries, gallery = noise(20, 8, seed=1), noise(20, 8, seed=2)
    turned = [NAMES[n:] + NAMES[:n] for n in range(20)]
    for k in (1, 5, 19):
        mean = sum(values(queries, names, gallery, NAMES, k)[0] for names in turned) / 20
        assert mean == pytest.approx(k / 20)


def test_features_that_tell_nothing_score_chance() -> None:
    flat = torch.ones(20, 8)
    shares = retrieval(flat, NAMES, flat, NAMES, ks=(1, 5, 19))
    for share in shares.values():
        assert share.value == share.low == share.high == pytest.approx(share.chance)


def test_one_picture_for_everything_scores_chance() -> None:
    """Mode collapse: a single name is hit, whatever the gallery."""
    collapsed = noise(1, 8).expand(20, 8)
    assert values(collapsed, NAMES, noise(20, 8, seed=1), NAMES, 1, 5) == [1 / 20, 5 / 20]


def test_tied_names_share_the_places_they_fill() -> None:
    """Nearest c, then a and b and d alike: a has the second place one time in three."""
    gallery = angles(0, 40, 40, 40)
    names = ["c", "a", "b", "d"]
    found = values(angles(10), ["a"], gallery, names, 1, 2, 3, 4)
    assert found == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert look_up(angles(50), ["a"], gallery, names).nearest == ["a"]


def test_k_over_the_gallery_is_everything() -> None:
    share = retrieval(noise(2, 4), ["a", "b"], noise(3, 4), ["a", "b", "c"], ks=(7,))["R@7"]
    assert share.value == 1 and share.chance == 1


def test_a_name_is_as_near_as_its_nearest_picture() -> None:
    """Three pictures of b do not push a down: names are ranked, not pictures."""
    gallery, names = angles(0, 90, 30, 35, 40), ["a", "a", "b", "b", "b"]
    assert values(angles(80), ["a"], gallery, names, 1) == [1]
    assert values(angles(25), ["a"], gallery, names, 1, 2) == [0, 1]
    share = retrieval(angles(25), ["a"], gallery, names)["R@1"]
    assert share.chance == 1 / 2


def test_against_brute_force() -> None:
    queries, gallery = noise(40, 6), noise(60, 6, seed=1)
    names = [NAMES[n % 17] for n in range(40)]
    of = [NAMES[n % 20] for n in range(60)]
    expected = []
    for k in (1, 2, 5):
        hits = 0
        for query, own in zip(queries, names, strict=True):
            near = [-torch.cosine_similarity(query, other, dim=0).item() for other in gallery]
            ranked = dict.fromkeys(of[n] for n in sorted(range(60), key=near.__getitem__))
            hits += own in list(ranked)[:k]
        expected.append(hits / 40)
    assert 0 < expected[0] < expected[1] < expected[2] < 1
    assert values(queries, names, gallery, of, 1, 2, 5) == pytest.approx(expected)


# --- the interval ---------------------------------------------------------------------------------


def half_hits(n: int, pictures: int = 1) -> Share:
    """n names of which every other one is hit, each by all of its pictures."""
    names = [f"{number}" for number in range(n)]
    gallery = torch.eye(n)
    queries = gallery.roll(1, 0).where(torch.arange(n)[:, None] % 2 == 0, gallery)
    rows = queries.repeat_interleave(pictures, 0)
    asked = [name for name in names for _ in range(pictures)]
    return retrieval(rows, asked, gallery, names)["R@1"]


def test_the_interval_is_the_binomial_one_and_narrows() -> None:
    for n in (20, 80, 320):
        share = half_hits(n)
        assert share.value == 0.5
        margin = 1.96 * 0.5 / n**0.5
        assert share.low == pytest.approx(0.5 - margin, abs=0.08 * margin + 0.5 / n)
        assert share.high == pytest.approx(0.5 + margin, abs=0.08 * margin + 0.5 / n)


def test_more_pictures_of_the_same_names_do_not_narrow_it() -> None:
    assert half_hits(40, pictures=5) == half_hits(40)


def test_the_same_pictures_the_same_interval() -> None:
    assert half_hits(30) == half_hits(30)


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("queries", "names", "gallery_names", "complaint"),
    [
        (noise(2, 4), ["a", "z"], ["a", "b"], "no picture of 'z'"),
        (noise(2, 4), ["a"], ["a", "b"], "2 pictures and 1 names: give one name for each"),
        (noise(0, 4), [], ["a", "b"], "0 pictures and 0 names"),
        (noise(1, 4), ["a"], ["a", "b", "c"], "2 pictures and 3 names in the gallery"),
        (noise(1, 4) / 0, ["a"], ["a", "b"], "features are not finite"),
    ],
)
def test_what_cannot_be_measured(
    queries: Tensor, names: list[str], gallery_names: list[str], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        retrieval(queries, names, noise(2, 4), gallery_names)
