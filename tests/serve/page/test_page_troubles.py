"""What the page says when things go wrong: in words, with a way on."""

import asyncio
import json
import re
from pathlib import Path

from fake_engine import FakeEngine
from playwright.sync_api import Page, Route, expect
from servers import keys_file, listening
from visits import MakeVisit, draw, finished, ready

from openimagen.config import ModelConfig
from openimagen.serve.config import ServeConfig
from openimagen.serve.orders import Busy
from openimagen.serve.service import Service

NOTICE = "#draw-easel .notice"


def ask(page: Page, prompt: str = "red apple", number: int = 1) -> None:
    ready(page)
    page.locator("#number").select_option(str(number))
    page.locator("#size").select_option("64")
    page.locator("#prompt").fill(prompt)
    page.locator("#prompt").press("Enter")


def test_a_busy_studio_counts_down_and_tries_again(
    told: str, visit: MakeVisit, engine: FakeEngine
) -> None:
    page = visit(address=told, troubled=True)
    engine.refusal = Busy("the queue is full", 2)
    ask(page)
    expect(page.locator(NOTICE)).to_contain_text("The studio is busy")
    expect(page.locator(NOTICE)).to_contain_text(
        re.compile("The queue is full. Trying again in [12] s.")
    )
    engine.refusal = None
    finished(page)
    expect(page.locator(NOTICE)).to_be_hidden()


def test_waiting_can_be_given_up(told: str, visit: MakeVisit, engine: FakeEngine) -> None:
    page = visit(address=told, troubled=True)
    engine.refusal = Busy("the queue is full", 60)
    ask(page)
    page.get_by_role("button", name="Give up").click()
    expect(page.locator("#draw-easel .status")).to_have_text("Cancelled")
    expect(page.locator(NOTICE)).to_be_hidden()


def test_the_queue_is_told_and_can_be_left(told: str, visit: MakeVisit, engine: FakeEngine) -> None:
    engine.holds = asyncio.Event()  # for ever
    page = visit(address=told)
    ask(page)
    status = page.locator("#draw-easel .status")
    expect(status).to_have_text("In the queue: 2 pictures before yours")
    page.keyboard.press("Escape")
    expect(status).to_have_text("Cancelled")
    for _ in range(100):
        if engine.tickets[0].is_cancelled:
            return
        page.wait_for_timeout(50)
    raise AssertionError("the server was not told")


def test_a_withheld_picture_says_why(told: str, visit: MakeVisit, engine: FakeEngine) -> None:
    engine.withheld = {1}
    page = visit(address=told)
    ask(page, number=3)
    finished(page)
    expect(page.locator(".withheld")).to_have_text(re.compile("Withheld.*indecent"))
    expect(page.locator("button.tile:disabled")).to_have_count(1)
    page.locator("button.tile").first.click()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#sheet-place")).to_have_text("Picture 3 of 3")


def test_a_failure_is_told_and_can_be_tried_again(
    told: str, visit: MakeVisit, engine: FakeEngine
) -> None:
    engine.failing = {0}
    page = visit(address=told)
    ask(page)
    expect(page.locator(NOTICE)).to_contain_text("It could not be drawn.")
    engine.failing = set()
    page.get_by_role("button", name="Try again").click()
    finished(page)


def test_a_refused_prompt_says_why(visit: MakeVisit) -> None:
    page = visit(troubled=True)
    ask(page, "a bloody corpse")
    expect(page.locator(NOTICE)).to_contain_text("This is not drawn here")
    expect(page.locator(NOTICE)).to_contain_text("The prompt asks for gore")
    expect(page.get_by_role("button", name="Try again")).to_have_count(0)
    page.get_by_role("button", name="Dismiss").click()
    expect(page.locator(NOTICE)).to_be_hidden()


def test_a_server_that_went_away(visit: MakeVisit) -> None:
    page = ready(visit(troubled=True))
    page.route("**/generations", lambda route: route.abort())
    ask(page)
    expect(page.locator(NOTICE)).to_contain_text("The server is away")
    expect(page.locator(NOTICE)).to_contain_text("The server is back")  # it looks out for it
    page.unroute("**/generations")
    page.get_by_role("button", name="Try again").click()
    finished(page)


def test_a_stream_that_is_cut(visit: MakeVisit) -> None:
    page = visit()
    queued = json.dumps({"type": "openimagen.queued", "position": 1})
    page.route(
        "**/generations",
        lambda route: route.fulfill(content_type="text/event-stream", body=f"data: {queued}\n\n"),
    )
    ask(page)
    expect(page.locator(NOTICE)).to_contain_text("The line was cut before the picture was done")


def test_a_key_is_asked_for_only_where_one_is_wanted(
    visit: MakeVisit, emoji: ModelConfig, engine: FakeEngine, tmp_path: Path
) -> None:
    path, key = keys_file(tmp_path)
    with listening(Service.of(ServeConfig(keys=path), emoji), lambda: engine) as address:
        page = visit(address=address, troubled=True)
        expect(page.locator("#key")).to_be_visible()
        expect(page.locator("#key-why")).to_contain_text("Ask whoever runs it")
        page.locator("#key-text").fill("wrong")
        page.keyboard.press("Enter")
        expect(page.locator("#key-text")).to_have_value("")  # asked for again
        expect(page.locator("#key-why")).to_contain_text("not known here")
        page.locator("#key-text").fill(key)
        page.keyboard.press("Enter")
        draw(page, "moon")
        page.locator("button.tile").click()
        page.keyboard.press("c")
        shown = page.locator("#code-text").text_content() or ""
        assert "$OPENIMAGEN_API_KEY" in shown
        assert key not in shown
        page.reload()
        ready(page)  # the tab remembers it
    ready(visit()).wait_for_timeout(200)


def test_an_empty_prompt_asks_for_words(visit: MakeVisit) -> None:
    page = ready(visit())
    page.locator("#prompt").fill("   ")
    page.locator("#draw").click()
    expect(page.locator("#prompt")).to_be_focused()
    expect(page.locator("button.tile")).to_have_count(0)


def test_a_request_before_the_model_is_known_is_not_lost(told: str, visit: MakeVisit) -> None:
    page = ready(visit(address=told))
    held: list[Route] = []
    page.route("**/v1/models", lambda route: held.append(route))
    with page.expect_request("**/v1/models"):
        page.reload()
    page.locator("#number").select_option("2")
    page.locator("#prompt").fill("moon")
    page.locator("#prompt").press("Enter")
    expect(page.locator("#draw")).to_be_disabled()
    held[0].continue_()
    finished(page)
    expect(page.locator("button.tile")).to_have_count(2)
