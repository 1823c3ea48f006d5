"""The page and the tables of a report: in a real Chromium without a network, and as Markdown."""

import random
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser
from things import THINGS, thing

from openimagen.evaluate.copying import Copying
from openimagen.evaluate.report.page import Pictures, page
from openimagen.evaluate.report.result import (
    Asked,
    Figure,
    Neighbour,
    Report,
    StageFacts,
    read_report,
)
from openimagen.evaluate.report.table import BEGIN, END, markdown, number, put_into
from openimagen.evaluate.speed import Speed, StageSpeed

EVIL = "<script>document.title = 'taken'</script> & \"quotes\" | pipe"


def made(texts: list[str], **changes: object) -> Report:
    """Figures of a model that does not exist."""
    stage = {"name": "base", "side": 64, "parameters": 11_200_000}
    return Report(
        asked=Asked(
            model="emoji", sha256="1234", licence="Apache-2.0", version="0.1",
            stages=(StageFacts(**stage, sha256="beef", sampling={"steps": 16, "guidance": 1.5}),),
            data="fluent", unseen="noto", names=200, seed=0, size=64, side=64,
            command="openimagen evaluate report emoji",
        ),
        figures=(
            Figure(name="R@1 (EffLite2)", better="higher", pictures=200, value=0.44, low=0.37,
                   high=0.51, real=0.64, chance=0.005),
            Figure(name="FD-EffLite2", better="lower", pictures=1200, value=137.2, low=120,
                   high=150),
        ),
        copying=Copying("EffLite2", 200, 1355, 0.25, 0.2, 0.3, (0.1, 0.2, 0.3)),
        neighbours=tuple(
            Neighbour(text=text, seed=n, training=f"{n}.png", distance=0.1, is_copy=n % 2 == 0)
            for n, text in enumerate(texts)
        ),
        speed=Speed("AMD EPYC", 2, 1024, (StageSpeed(**stage, calls=16, seconds=1.5, tflop=0.03),),
                    2.25, 6.3, 0.72, None),
        grid=tuple((text, n) for n, text in enumerate(texts)),
        left_out=(("CLIP score", "Give a CLIP: --clip FOLDER"),),
        **changes,
    )  # fmt: skip


def drawn(count: int) -> Pictures:
    images = [thing(name) for name in THINGS[:count]]
    svg = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><path d="M0 0h9v9z"/></svg>'
    ET.fromstring(svg)
    pairs = [(image, thing(name, "outlined")) for image, name in zip(images, THINGS, strict=False)]
    return Pictures(images, pairs, [("All pictures of retrieval", images[0])], svg)


def test_page_opens_without_a_network(browser: Browser, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text(page(made(THINGS[:4]), drawn(4)), "utf-8")
    context = browser.new_context(offline=True)
    tab, errors, failed, requests = context.new_page(), list[str](), list[str](), list[str]()
    tab.on("console", lambda message: errors.append(message.text))
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.on("requestfailed", lambda request: failed.append(request.url))
    tab.on("request", lambda request: requests.append(request.url))
    tab.goto(file.as_uri(), wait_until="networkidle")
    tab.locator("summary").first.click()
    tab.wait_for_function("[...document.images].every(each => each.complete)")
    widths = tab.evaluate("[...document.images].map(each => each.naturalWidth)")
    assert len(widths) == 4 + 8 + 1 + 1
    assert min(widths) > 0
    assert (errors, failed) == ([], [])
    assert [url for url in requests if not url.startswith("data:")] == [file.as_uri()]
    assert tab.locator("h1").inner_text() == "emoji"
    assert "0.37 to 0.51" in tab.locator("#figures ~ .wide").first.inner_text()
    assert tab.locator(".copy").count() == 2
    context.close()


@pytest.mark.parametrize("width", [360, 1280])
def test_page_is_no_wider_than_the_screen(browser: Browser, tmp_path: Path, width: int) -> None:
    file = tmp_path / "report.html"
    file.write_text(page(made(THINGS[:4]), drawn(4)), "utf-8")
    tab = browser.new_page(viewport={"width": width, "height": 800})
    tab.goto(file.as_uri())
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    tab.close()


def test_texts_stay_texts(browser: Browser, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text(page(made([EVIL]), drawn(1)), "utf-8")
    tab = browser.new_page()
    tab.goto(file.as_uri())
    assert tab.title() == "emoji: report"
    assert tab.locator("figcaption").first.inner_text() == f"{EVIL} · 0"
    assert tab.locator("script").count() == 0
    tab.close()


def test_page_says_by_lot_only_of_what_was_drawn_by_lot() -> None:
    report = made(THINGS[:1])
    given = report.model_copy(update={"asked": report.asked.model_copy(update={"given": True})})
    pages = [page(each, drawn(1)) for each in (report, given)]
    assert ["by lot" in each for each in pages] == [True, False]


def test_what_was_not_measured_is_not_shown() -> None:
    bare = Report(asked=made([]).asked, left_out=(("distances", "Give --data"),))
    html = page(bare, Pictures())
    assert "Not measured: distances. Give --data" in html
    for heading in ('id="figures"', 'id="copying"', 'id="speed"', 'id="guidance"', "<img"):
        assert heading not in html


def test_pictures_are_shown_no_larger_than_needed() -> None:
    noisy = Image.frombytes("RGB", (2048, 2048), random.Random(0).randbytes(3 * 2048 * 2048))
    pictures = Pictures(grid=[noisy])
    html = page(made([]).model_copy(update={"grid": (("noise", 0),), "copying": None}), pictures)
    assert len(html) < 200_000


# --- tables ---------------------------------------------------------------------------------------


def test_tables() -> None:
    assert (
        markdown(made([]))
        == """\
| | emoji | real pictures | chance |
|---|---|---|---|
| R@1 (EffLite2) ↑, 200 pictures | 0.44 (0.37-0.51) | 0.64 | 0.005 |
| FD-EffLite2 ↓, 1,200 pictures | 137 (120-150) | | |

| AMD EPYC, 2 threads | |
|---|---|
| from the command to a 1024x1024 PNG, cold | 6.3 s |
| a further 1024x1024 PNG, warm | 2.2 s |
| arithmetic of a picture, 16 network calls | 0.030 TFLOP |
| memory at the most | 0.72 GB |"""
    )


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0, "0.00"), (0.00512, "0.0051"), (0.4449, "0.44"), (1.0, "1.00"), (62.14, "62.1"),
     (137.2, "137"), (-0.02, "-0.02"), (0.0999, "0.10")],
)  # fmt: skip
def test_numbers(value: float, shown: str) -> None:
    assert number(value) == shown


def test_tables_go_between_the_marks(tmp_path: Path) -> None:
    card = tmp_path / "README.md"
    card.write_text(f"before\n\n{BEGIN}\nold\n{END}\n\nafter\n")
    put_into(card, made([]))
    once = card.read_text()
    assert once.startswith(f"before\n\n{BEGIN}\n\n| | emoji")
    assert once.endswith(f"GB |\n\n{END}\n\nafter\n")
    put_into(card, made([]))
    assert card.read_text() == once


def test_a_file_without_marks_is_left_alone(tmp_path: Path) -> None:
    card = tmp_path / "README.md"
    card.write_text("no place here\n")
    with pytest.raises(ValueError, match=r"README\.md has no place for the tables: write <!-- "):
        put_into(card, made([]))
    assert card.read_text() == "no place here\n"


def test_report_is_read_as_it_was_written(tmp_path: Path) -> None:
    report = made(THINGS[:3])
    report.write(tmp_path)
    assert read_report(tmp_path) == report


def test_damaged_report_is_refused(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text('{"format": 2}')
    with pytest.raises(ValueError, match="is damaged, or of another version: make it anew"):
        read_report(tmp_path)
