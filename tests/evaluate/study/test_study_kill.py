"""A killed server has every vote that it said yes to; the command ends as commands should."""

import json
import socket
import sqlite3
from contextlib import closing
from http.client import HTTPException
from pathlib import Path
from threading import Timer
from urllib.error import URLError

import pytest
from served import ask, free_port, invite, served
from simulated_raters import make_study
from typer.testing import CliRunner, Result

from openimagen.cli import app


def run(*words: object) -> Result:
    return CliRunner().invoke(app, ["evaluate", "rate", *map(str, words)])


def vote_until_it_dies(address: str, token: str, taken: dict[tuple[str, str], str]) -> None:
    """Answers everything over and over, and notes what was taken."""
    pages = ask(address, token, "api/session")["pages"]
    for answer in ("left", "indifferent", "right") * 100:
        for page in pages:
            for question in page["answers"]:
                path = f"api/pages/{page['key']}/{question}"
                try:
                    assert ask(address, token, path, {"answer": answer}) == {"saved": True}
                except (URLError, ConnectionError, HTTPException):  # the last: half an answer
                    taken[page["key"], question] += f" or {answer}"  # it may be on the disk
                    return
                taken[page["key"], question] = answer
    raise AssertionError("it was not killed")


def test_a_killed_server_loses_nothing(tmp_path: Path) -> None:
    make_study(tmp_path, texts=3)
    token, taken = invite(tmp_path, "ann"), dict[tuple[str, str], str]()
    for seconds in (0.5, 0.8):
        with served(tmp_path) as server:
            for page in ask(server.address, token, "api/session")["pages"]:
                for question, answer in page["answers"].items():
                    before = taken.setdefault((page["key"], question), str(answer))
                    assert str(answer) in before.split(" or ")  # of the one killed before
            Timer(seconds, server.kill).start()
            vote_until_it_dies(server.address, token, taken)
    with closing(sqlite3.connect(tmp_path / "votes.sqlite")) as base:
        assert base.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        (votes,) = base.execute("SELECT count(*) FROM votes").fetchone()
        (kept,) = base.execute("SELECT count(*) FROM audit").fetchone()
    assert votes == len(taken) == 10 and kept > 20


def test_ctrl_c_ends_it_well(tmp_path: Path) -> None:
    make_study(tmp_path)
    with served(tmp_path) as server:
        assert "rater 1  http://127.0.0.1:" in server.said  # somebody to begin with
        assert "rater 1  0 of 12 answered" in server.said
        assert server.interrupt() == 0


def test_invitations_are_links(tmp_path: Path) -> None:
    make_study(tmp_path)
    result = run(tmp_path, "--invite", "ann", "--invite", "bob", "--port", 9000)
    lines = result.stdout.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["ann", "bob"]
    assert all("http://127.0.0.1:9000/#" in line for line in lines)
    tokens = {line.split("#")[1] for line in lines}
    assert len(tokens) == 2 and all(len(token) == 32 for token in tokens)
    result = run(tmp_path, "--invite", "ann", "--url", "https://x.org/study", "--json")
    (link,) = json.loads(result.stdout).values()
    assert link.startswith("https://x.org/study/#")


def test_results_as_table_json_and_chart(tmp_path: Path) -> None:
    make_study(tmp_path, controls=0)
    token = invite(tmp_path, "ann")
    with served(tmp_path) as server:
        for page in ask(server.address, token, "api/session")["pages"]:
            for question in page["answers"]:
                path = f"api/pages/{page['key']}/{question}"
                ask(server.address, token, path, {"answer": "indifferent"})
    result = run(tmp_path, "--results", "--chart", tmp_path / "chart.png")
    assert result.exit_code == 0 and "100.0 (100.0 to 100.0)" in result.stdout
    assert (tmp_path / "chart.png").stat().st_size > 1000
    content = json.loads(run(tmp_path, "--results", "--json").stdout)
    assert content["rows"][0]["shares"]["indifferent"]["value"] == 1


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["--results"], 2, "nobody has voted yet: invite raters with --invite"),
        (["--json"], 2, "--json prints a result: use it with --results or --invite"),
        (["--invite", ""], 2, "a rater's name has 1 to 80 letters"),
        (["--invite", "ann", "--port", "0"], 2, "give --port"),
        (["--port", "BUSY"], 1, "Address already in use; choose another --port"),
        (["--host", "no.such.host.invalid"], 2, "cannot serve at no.such.host.invalid: it"),
    ],
)
def test_wrong_requests_get_one_line(
    tmp_path: Path, words: list[str], status: int, message: str
) -> None:
    make_study(tmp_path)
    with closing(socket.create_server(("127.0.0.1", free_port()))) as busy:
        port = str(busy.getsockname()[1])
        result = run(tmp_path, *(port if word == "BUSY" else word for word in words))
    assert result.exit_code == status
    assert message in result.stderr and result.stderr.count("\n") == 1
