"""Votes: one counts, all are kept; tokens are not; the study stays as it was voted on."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from simulated_raters import make_study, open_booth

from openimagen.evaluate.study.booth import UnknownPage
from openimagen.evaluate.study.design import load_study
from openimagen.evaluate.study.votes import Vote, Votes


def cast(answer: str, item: str = "p0000", rater: int = 1) -> Vote:
    return Vote(rater, item, "quality", answer, (1, 0))


@pytest.fixture
def votes(tmp_path: Path) -> Votes:
    votes = Votes(tmp_path, make_study(tmp_path))
    votes.invite("ann")
    return votes


def test_a_second_vote_replaces_the_first_and_both_stay_in_the_audit(votes: Votes) -> None:
    votes.record(cast("first"))
    votes.record(cast("second"))
    assert votes.votes() == [cast("second")]
    assert [entry.answer for entry in votes.audit()] == ["first", "second"]


def test_the_same_vote_again_changes_nothing(votes: Votes) -> None:
    for _ in range(3):
        votes.record(cast("first"))
    assert len(votes.votes()) == len(votes.audit()) == 1


def test_the_disk_is_synced_and_the_log_written_ahead(votes: Votes) -> None:
    assert votes._all("PRAGMA synchronous") == [(2,)]  # FULL
    assert votes._all("PRAGMA journal_mode") == [("wal",)]


def test_many_threads_lose_nothing(votes: Votes) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: votes.record(cast("first", f"p{n:04}")), range(40)))
    assert len(votes.votes()) == len(votes.audit()) == 40


def test_a_token_is_kept_as_a_hash_and_a_new_one_ends_the_old(votes: Votes) -> None:
    old = votes.invite("bob")
    new = votes.invite("bob")
    assert votes.rater(old) is None
    assert votes.rater(new) == (2, "bob")
    votes.close()
    for path in votes.path.parent.glob("votes.sqlite*"):
        assert new.encode() not in path.read_bytes()


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 81])
def test_a_name_must_be_one(votes: Votes, name: str) -> None:
    with pytest.raises(ValueError, match="choose another"):
        votes.invite(name)


def test_a_study_may_change_before_the_first_vote_not_after(tmp_path: Path) -> None:
    make_study(tmp_path)
    booth = open_booth(tmp_path)
    booth.votes.invite("ann")
    booth.votes.close()
    changed = load_study(tmp_path).model_copy(update={"seed": 99})
    with closing(Votes(tmp_path, changed)) as votes:
        votes.record(cast("first"))
    with pytest.raises(ValueError, match="has changed since the first vote"):
        open_booth(tmp_path)


def test_a_foreign_file_is_refused(tmp_path: Path) -> None:
    study = make_study(tmp_path)
    (tmp_path / "votes.sqlite").write_text("no database " * 100)
    with pytest.raises(ValueError, match="is no database of votes"):
        Votes(tmp_path, study)


def test_votes_that_are_not_one_s_own_are_refused_and_written_down(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make_study(tmp_path)
    booth = open_booth(tmp_path)
    ann, bob = (booth.votes.rater(booth.votes.invite(name)) for name in ("ann", "bob"))
    assert ann and bob
    mine, theirs = (booth.overview(rater)["pages"][0]["key"] for rater in (ann, bob))
    for key, question, answer, error in [
        (theirs, "quality", "left", UnknownPage),
        ("0" * 32, "quality", "left", UnknownPage),
        (mine, "realism", "left", ValueError),
        (mine, "quality", "yes", ValueError),
        (mine, "quality", "first", ValueError),  # nobody names a set that way
    ]:
        with pytest.raises(error):
            booth.vote(ann, key, question, answer)
    assert booth.votes.votes() == []
    refused = booth.votes.audit()
    assert len(refused) == 5 and all(entry.event != "vote" for entry in refused)
    assert [entry.item for entry in refused[:2]] == [theirs, "0" * 32]
    assert "refused a vote of rater 1 (ann): no such pair among yours" in caplog.text


def test_audit_stays_though_the_table_changes(votes: Votes) -> None:
    """Rows of the audit table are numbered without reuse, so a gap would show."""
    votes.record(cast("first"))
    with closing(sqlite3.connect(votes.path)) as other:
        (schema,) = other.execute("SELECT sql FROM sqlite_master WHERE name = 'audit'").fetchone()
    assert "AUTOINCREMENT" in schema
