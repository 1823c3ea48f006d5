"""The tables of a report as Markdown, and where they stand in a README or a model card."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from openimagen.evaluate.report.result import Figure, Report

BEGIN, END = "<!-- figures: openimagen evaluate report -->", "<!-- end of figures -->"


def markdown(report: Report) -> str:
    """Figures and speed, a table each."""
    return "\n\n".join("\n".join(table) for table in (_figures(report), _speed(report)) if table)


def _figures(report: Report) -> list[str]:
    if not report.figures:
        return []
    head = ["", report.asked.model, "real pictures", "chance"]
    return list(_table([head, *(_row(figure) for figure in report.figures)]))


def _row(figure: Figure) -> list[str]:
    arrow = {"higher": " ↑", "lower": " ↓", "neither": ""}[figure.better]
    drawn = f"{number(figure.value)} ({number(figure.low)}-{number(figure.high)})"
    more = [number(each) if each is not None else "" for each in (figure.real, figure.chance)]
    return [f"{figure.name}{arrow}, {figure.pictures:,} pictures", drawn, *more]


def _speed(report: Report) -> list[str]:
    speed = report.speed
    if speed is None:
        return []
    calls = " + ".join(str(stage.calls) for stage in speed.stages)
    tflop = sum(stage.tflop for stage in speed.stages)
    side = f"{speed.size}x{speed.size}"
    rows = [
        [f"{speed.machine}, {speed.threads} threads", ""],
        [f"from the command to a {side} PNG, cold", f"{speed.cold_s:.1f} s"],
        [f"a further {side} PNG, warm", f"{speed.warm_s:.1f} s"],
        [f"arithmetic of a picture, {calls} network calls", f"{tflop:.3f} TFLOP"],
    ]
    if speed.peak_gb is not None:
        rows.append(["memory at the most", f"{speed.peak_gb:.2f} GB"])
    if speed.peak_gpu_gb is not None:
        rows.append(["memory of the GPU at the most", f"{speed.peak_gpu_gb:.2f} GB"])
    return list(_table(rows))


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for count, row in enumerate(rows):
        cells = (cell.replace("|", "/") for cell in row)
        yield "".join(f"| {cell} " if cell else "| " for cell in cells) + "|"
        if not count:
            yield "|---" * len(row) + "|"


def number(value: float) -> str:
    """With the digits that a reader can use: 0.44, 0.005, 62.1, 137."""
    if value and abs(value) < 0.095:
        return f"{value:.2g}"
    return (
        f"{value:.2f}"
        if abs(value) < 10
        else f"{value:.1f}"
        if abs(value) < 100
        else f"{value:.0f}"
    )


PLACE = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)


def check_place(path: Path) -> None:
    """ValueError if a Markdown file has no place for the tables."""
    if not path.is_file() or not PLACE.search(path.read_text("utf-8")):
        raise ValueError(f"{path} has no place for the tables: write {BEGIN} and {END} into it")


def put_into(path: Path, report: Report) -> None:
    """Replace what stands between the two marks of a Markdown file by the report's tables.

    Raises ValueError if the file has no such place.
    """
    check_place(path)
    tables = f"{BEGIN}\n\n{markdown(report)}\n\n{END}"
    path.write_text(PLACE.sub(lambda _: tables, path.read_text("utf-8")), encoding="utf-8")
