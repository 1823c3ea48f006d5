"""The command `evaluate sweep`: what it leaves, what it says, how it stops."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sweeps import WORDS, Thumbnails, encoder, write_real
from torch import Tensor
from typer.testing import CliRunner, Result

from openimagen import model_folder
from openimagen.cascade import Cascade
from openimagen.cli import app
from openimagen.evaluate import exams, networks
from openimagen.text import TextEncoder

Sweep = Callable[..., Result]


@pytest.fixture
def sweep(tiny: Cascade, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sweep:
    """The command on a tiny model and ten captioned shapes, at 16 pixels, into `out`.

    In place of EfficientNet stand features that need no weights.
    """
    model_folder.save(tiny, tmp_path / "tiny")
    write_real(tmp_path / "real")
    monkeypatch.setattr(TextEncoder, "load", lambda *_, **__: encoder())
    monkeypatch.setattr(exams, "EffLite2", lambda device: Thumbnails())
    monkeypatch.setitem(networks.NETWORKS, "efflite2", lambda weights, device: Thumbnails())
    monkeypatch.chdir(tmp_path)

    def sweep(words: str, **more: object) -> Result:
        options = {"prompts": "real", "out": "out", "size": 16, "device": "cpu"} | more
        given = [f"--{key}={value}" for key, value in options.items() if value is not None]
        return CliRunner().invoke(app, ["evaluate", "sweep", *words.split(), *given])

    return sweep


def test_the_command(sweep: Sweep, tmp_path: Path) -> None:
    first = sweep("tiny --over guidance=1 --limit 4")
    assert first.exit_code == 0, first.stderr
    assert first.stdout.splitlines()[0] == "4 prompts drawn at 16 pixels, against 10 real"
    assert first.stdout.splitlines()[-2:] == ["out/sweep.json", "out/sweep.png"]
    assert first.stderr.startswith("openimagen: 4 pictures are few.")
    more = sweep("tiny --over guidance=3 --limit 4 --json")
    found = json.loads(more.stdout)
    assert found == json.loads((tmp_path / "out/sweep.json").read_text())
    assert [point["values"]["guidance"] for point in found["points"]] == [1, 3]
    names = [each["name"] for kind in ("scores", "distances") for each in found["points"][0][kind]]
    assert names == ["R@1 (Thumbnails)", "R@5 (Thumbnails)", "FD-Thumbnails", "KID-Thumbnails"]
    assert found["points"][0]["scores"][0]["chance"] == 1 / 4
    other = sweep("tiny --over guidance=3 --limit 4 --ceiling real")
    assert other.exit_code == 2
    assert "out holds a sweep with another alignment: choose another folder" in other.stderr


@pytest.mark.parametrize(
    ("words", "options", "message"),
    [
        ("nowhere", {}, "no model nowhere"),
        ("tiny", {"prompts": "nowhere.txt"}, "nowhere.txt does not exist"),
        ("tiny", {"prompts": "names.txt"}, "names.txt has no pictures: give real ones as --real"),
        ("tiny", {"prompts": "names.txt", "real": "none"}, "none is no folder"),
        ("tiny", {"prompts": "strange.txt", "real": "real"}, "gallery has no picture of 'a whale'"),
        ("tiny", {"size": 20}, "size 20 is no stage of tiny: choose one of 16, 32, 64"),
        ("tiny --over guidence=1", {}, "no setting 'guidence': did you mean guidance?"),
        ("tiny --over sr32.steps=1", {}, "stage sr32 comes after the --size that is drawn"),
        ("tiny --features vgg", {}, "no features 'vgg': choose from efflite2"),
        ("tiny --limit 1", {}, "give at least 2 prompts"),
        ("tiny", {"prompts": "long.txt", "real": "real"}, "leave them out, or say --cut"),
        ("tiny", {"prompts": None}, "missing option '--prompts' (see"),
        ("tiny", {"out": None}, "missing option '--out'"),
    ],
)
def test_a_wrong_request_is_one_line_and_draws_nothing(
    sweep: Sweep, tmp_path: Path, words: str, options: dict[str, Any], message: str
) -> None:
    long = " ".join(WORDS[:4])
    for name, text in (("names", "red disc"), ("strange", "a whale"), ("long", long)):
        (tmp_path / f"{name}.txt").write_text(f"{text}\nred bar\n")
    (tmp_path / f"real/{WORDS[0]}-long.txt").write_text(long)
    (tmp_path / f"real/{WORDS[0]}-long.png").write_bytes(
        (tmp_path / "real/red-bar.png").read_bytes()
    )
    result = sweep(words, **options)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_ctrl_c_leaves_a_line_that_says_how_to_go_on(
    sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample, calls = Cascade.sample, 0

    def stopped(self: Cascade, *given: Any, **more: Any) -> list[Tensor]:  # noqa: ANN401
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        return sample(self, *given, **more)

    monkeypatch.setattr(Cascade, "sample", stopped)
    words = "tiny --limit 4 --over guidance=1,3"
    result = sweep(words)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines()[-1] == (
        "openimagen: stopped: the same command goes on with out"
    )
    assert len(json.loads((tmp_path / "out/sweep.json").read_text())["points"]) == 1
    assert sweep(words).exit_code == 0 and calls == 3
