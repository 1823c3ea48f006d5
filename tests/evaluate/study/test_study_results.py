"""The table recovers what simulated raters prefer; the intervals cover; failed raters stay out."""

import json
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from simulated_raters import Visitor, judge, make_study, open_booth

from openimagen.evaluate.study.chart import BAR, COLOURS, draw_chart, save_chart
from openimagen.evaluate.study.order import turns
from openimagen.evaluate.study.results import OVERALL, Results, Row, Share, count
from openimagen.evaluate.study.statistics import agreement, two_way
from openimagen.evaluate.study.votes import Rater, Vote

LIKES = (0.75, 0.1, 0.15)  # of the first model, indifferent, of the second


@pytest.fixture(scope="module")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Eight raters who look at the pictures over HTTP, and one who presses A all the time."""
    folder, rng = tmp_path_factory.mktemp("study"), random.Random(4)
    make_study(folder, texts=12, controls=4)
    booth = open_booth(folder)
    for number in range(8):
        judge(Visitor(booth, f"rater {number}"), LIKES, rng)
    lazy = Visitor(booth, "lazy")
    for page in lazy.pages():
        for question in page["answers"]:
            lazy.vote(page["key"], question, "left")
    return count(booth.study, booth.votes.votes(), booth.votes.raters())


def overall(results: Results, question: str) -> Row:
    (row,) = (r for r in results.rows if (r.question, r.category) == (question, OVERALL))
    return row


@pytest.mark.parametrize("question", ["quality", "alignment"])
def test_a_scripted_study_recovers_the_preference(scripted: Results, question: str) -> None:
    row = overall(scripted, question)
    assert (row.texts, row.raters, row.votes) == (12, 8, 96)
    for likes, share in zip(LIKES, row.shares.values(), strict=True):
        assert share.low < likes < share.high
    first, _, second = row.shares.values()
    assert first.low > second.high  # narrow enough to say who wins


def test_categories_add_up(scripted: Results) -> None:
    for question in ("quality", "alignment"):
        rows = [row for row in scripted.rows if row.question == question]
        assert [row.category for row in rows] == [OVERALL, "Colors", "Counting"]
        assert rows[0].votes == rows[1].votes + rows[2].votes
        for row in rows:
            assert sum(share.value for share in row.shares.values()) == pytest.approx(1)


def test_who_fails_the_controls_is_marked_and_left_out(scripted: Results) -> None:
    *honest, lazy = scripted.raters
    assert {(rater.right, rater.controls, rater.excluded) for rater in honest} == {(4, 4, False)}
    assert (lazy.right, lazy.controls, lazy.failed, lazy.excluded) == (2, 4, True, True)
    assert lazy.left == 1.0
    assert "lazy: 32 votes, controls 2 of 4 right, A in 100%, failed: left out" in str(scripted)


def votes_of(answers: dict[tuple[int, int], str], question: str = "quality") -> list[Vote]:
    return [
        Vote(rater, f"p{text:04}", question, answer, (0, 1))
        for (rater, text), answer in answers.items()
    ]


def test_failed_raters_can_be_kept(tmp_path: Path) -> None:
    study = make_study(tmp_path, controls=1)
    votes = [*votes_of({(1, 0): "first"}), Vote(1, "c0000", "alignment", "second", (0, 1))]
    with pytest.raises(ValueError, match="count them all the same with --all-raters"):
        count(study, votes, [Rater(1, "ann")])
    kept = count(study, votes, [Rater(1, "ann")], keep_failed=True)
    assert kept.raters[0].failed and not kept.raters[0].excluded
    assert overall(kept, "quality").votes == 1  # the control itself is no vote


def test_nothing_to_count_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nobody has voted yet"):
        count(make_study(tmp_path), [], [Rater(1, "ann")])


def test_shares_are_plain_shares(tmp_path: Path) -> None:
    study = make_study(tmp_path, texts=4)
    said = {(1, 0): "first", (1, 1): "first", (2, 0): "second", (2, 2): "indifferent"}
    found = count(study, votes_of(said), [Rater(1, "a"), Rater(2, "b")])
    values = {name: share.value for name, share in overall(found, "quality").shares.items()}
    assert values == {"ours": 0.5, "indifferent": 0.25, "theirs": 0.25}


def test_realism_counts_preference_and_what_the_captions_score(tmp_path: Path) -> None:
    study = make_study(tmp_path, "realism", texts=4, controls=0)
    votes, scores = [], Counter[int]()
    for turn in turns(study, 1):
        drawn = turn.shown == (0,)
        answer = "second" if turn.questions == ("realism",) else ("somewhat" if drawn else "yes")
        votes.append(Vote(1, turn.item.id, turn.questions[0], answer, turn.shown))
        scores[turn.shown[0]] += turn.questions == ("caption",)
    found = count(study, votes, [Rater(1, "ann")])
    assert overall(found, "realism").shares["theirs"].value == 1
    captions = {name: share.value for name, share in overall(found, "caption").shares.items()}
    assert captions == {"ours": 0.5, "theirs": 1.0} and scores == {0: 2, 1: 2}


def test_the_intervals_cover_the_truth_of_new_texts_and_new_raters() -> None:
    """200 small studies: texts and raters differ, which a bootstrap of votes alone does not see."""
    rng, hits = np.random.default_rng(0), 0
    for _ in range(200):
        raters, texts = rng.normal(0, 0.15, (12, 1)), rng.normal(0, 0.2, (1, 20))
        said = (rng.random((12, 20)) < 0.5 + raters + texts).astype(float)
        asked = (rng.random((12, 20)) < 0.8).astype(float)
        _, (low,), (high,) = two_way((said * asked)[None], asked[None], rng, draws=200)
        hits += bool(low <= 0.5 <= high)
    assert 180 <= hits <= 199  # 95%, and a little wide


def test_one_rater_is_an_interval_over_texts() -> None:
    values = np.array([[[1.0, 0, 1, 0, 1, 1]]])
    (mean,), (low,), (high,) = two_way(values, np.ones_like(values), np.random.default_rng(0))
    assert mean == pytest.approx(4 / 6) and low < mean < high


def test_agreement_is_krippendorff_s() -> None:
    """The example with four observers in Krippendorff (2011), nominal: 0.743."""
    observers = [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, 0, 0, 0],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, 0, 3],
        [0, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, 0],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, 0],
    ]
    table = np.array(
        [[unit.count(value) for value in range(1, 6)] for unit in zip(*observers, strict=True)]
    )
    alpha, _ = agreement(table.astype(float))
    assert alpha == pytest.approx(0.743, abs=5e-4)


def test_agreement_at_its_ends() -> None:
    assert agreement(np.array([[2.0, 0], [0, 2]])) == (1.0, 1.0)
    assert agreement(np.array([[1.0, 1], [1, 1]]))[1] == 0
    assert agreement(np.array([[1.0, 0], [0, 1]])) == (None, None)  # nobody to agree with
    assert agreement(np.array([[2.0, 0], [2, 0]])) == (None, 1.0)  # nothing to differ about


def test_the_json_is_the_table(scripted: Results) -> None:
    content = json.loads(json.dumps(scripted.as_json()))
    row = overall(scripted, "quality")
    assert content["rows"][0]["shares"]["ours"] == row.shares["ours"]._asdict()
    assert content["raters"][-1]["excluded"] is True
    assert set(content["agreement"]) == {"quality", "alignment"}


# --- the chart ------------------------------------------------------------------------------------


def bar_heights(image: Image.Image, colour: tuple[int, int, int]) -> list[int]:
    """Heights in pixels of the bars of a colour, from left to right, below the legend."""
    pixels = np.asarray(image)[50:]
    columns = (pixels == colour).all(axis=2).sum(axis=0)
    heights, end = list[int](), 0
    for column in np.flatnonzero(columns):
        if column > end:  # a whisker may part a bar
            heights.append(int(columns[column + 3]))
            end = column + BAR
    return heights


def test_bars_are_as_high_as_the_shares(scripted: Results, tmp_path: Path) -> None:
    rows = [row for row in scripted.rows if row.question == "quality"]
    results = Results("drawbench", scripted.models, rows, {}, [])
    image = draw_chart(results)
    for place, name in enumerate(("ours", "indifferent", "theirs")):
        expected = [240 * row.shares[name].value for row in rows]
        assert bar_heights(image, COLOURS[place]) == pytest.approx(expected, abs=2)
    save_chart(scripted, tmp_path / "new" / "chart.png")
    with Image.open(tmp_path / "new" / "chart.png") as saved:
        assert saved.format == "PNG" and saved.height > image.height  # a panel for each question


def test_whiskers_span_the_interval() -> None:
    shares = {"a": Share(0.5, 0.25, 0.75), "b": Share(0.5, 0.5, 0.5)}
    row = Row("realism", OVERALL, 1, 1, 1, shares)
    pixels = np.asarray(draw_chart(Results("realism", ("a", "b"), [row], {}, []))).astype(int)
    plot = pixels[100:352]  # without the words above and below
    bar = (plot == COLOURS[0]).all(axis=2).any(axis=0)
    middle = int(np.flatnonzero(bar).mean().round())
    inside = np.flatnonzero((plot[:, middle - 1 : middle + 2].sum(axis=2) < 200).any(axis=1))
    assert inside[-1] - inside[0] == pytest.approx(120, abs=3)
