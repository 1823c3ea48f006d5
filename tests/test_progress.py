"""Progress where nobody watches a bar: a line a minute in whatever stderr is written to."""

import pytest

from openimagen import progress


def test_off_a_terminal_a_line_says_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [0.0]
    monkeypatch.setattr("rich.console.monotonic", lambda: clock[0])
    with progress.progress_bar("drawing", "steps") as advance:
        for done in range(1, 201):
            clock[0] += 1
            advance(done, 400)
    told = capsys.readouterr().err.splitlines()
    assert told == [f"drawing: {done} of 400 steps, 0:0{left} left" for done, left in (
        (60, "5:40"), (120, "4:40"), (180, "3:40")
    )]  # fmt: skip


def test_a_bar_that_is_quiet_tells_no_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "EVERY", 0)
    for quiet in (True, False):
        bars = progress.progress_bars("images")
        bars.console.quiet = quiet
        bars.update(bars.add_task("base", total=None, figure="loss 0.2500"), completed=3)
        assert capsys.readouterr().err == ("" if quiet else "base: 3 images, loss 0.2500\n")
