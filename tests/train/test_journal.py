"""What a run writes down, and what it takes back when it starts again from a checkpoint."""

import json
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from openimagen.train.journal import Journal


def lines(out: Path) -> list[dict[str, Any]]:
    return [*map(json.loads, (out / "log.jsonl").read_text().splitlines())]


def write(out: Path, stage: str, start: int, stop: int) -> None:
    with Journal(out, stage, start, 100) as journal:
        for images in range(start + 10, stop + 1, 10):
            journal.advance(images)
            journal.record(images, loss=1 / images)


def test_a_line_has_the_figures_and_the_rate(tmp_path: Path) -> None:
    write(tmp_path, "base", 0, 20)
    first, second = lines(tmp_path)
    assert (first["stage"], first["images"], first["loss"]) == ("base", 10, 0.1)
    assert second["images_per_second"] > 0 and second["time"] >= first["time"]


@pytest.mark.parametrize("cut", ['{"stage": "ba', '{"stage": "base", "images": 15}'])
def test_going_back_takes_back_what_came_after(tmp_path: Path, cut: str) -> None:
    write(tmp_path, "base", 0, 40)
    write(tmp_path, "sr", 0, 40)
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write(cut)  # killed, or out of room, while writing
    write(tmp_path, "base", 20, 50)
    images = {
        stage: [e["images"] for e in lines(tmp_path) if e["stage"] == stage]
        for stage in ("base", "sr")
    }
    assert images == {"base": [10, 20, 30, 40, 50], "sr": [10, 20, 30, 40]}


def test_tensorboard_reads_the_same_curve(tmp_path: Path) -> None:
    write(tmp_path, "base", 0, 40)
    write(tmp_path, "base", 20, 50)
    events = EventAccumulator(str(tmp_path / "events/base")).Reload()
    scalars = events.Scalars("base/loss")
    assert [event.step for event in scalars] == [10, 20, 30, 40, 50]
    assert [event.value for event in scalars] == pytest.approx([e["loss"] for e in lines(tmp_path)])


def test_a_note_is_logged_and_said_and_no_bar_is_drawn_without_a_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Journal(tmp_path, "base", 0, 100) as journal:
        journal.advance(10)
        journal.note(10, "something [red] odd " + 100 * "x")
    assert lines(tmp_path)[0]["note"].startswith("something [red] odd")
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == f"base at 10 images: something [red] odd {100 * 'x'}\n"


def test_a_line_tells_the_rate_and_the_time_left_at_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forty images in ten seconds; sixty are left."""
    clock = iter([100.0, 110.0])
    monkeypatch.setattr("openimagen.train.journal.time.monotonic", lambda: next(clock))
    with Journal(tmp_path, "base", 0, 100, writes=False) as journal:
        journal._write = lambda images, **values: seen.update(values)  # type: ignore[method-assign]
        seen: dict[str, float] = {}
        journal.record(40, loss=1.0)
    assert (seen["images_per_second"], seen["seconds_left"]) == (4.0, 15.0)


def test_no_loss_is_told_before_one_is_known(tmp_path: Path) -> None:
    with Journal(tmp_path, "base", 0, 100, writes=False) as journal:
        task = journal.bars.tasks[0]
        journal.advance(10)
        assert journal.bars.line(task).startswith("base: 10 of 100 images")
        assert "loss" not in journal.bars.line(task)
        journal.record(10, loss=0.25)
        assert "images, loss 0.2500" in journal.bars.line(task)
