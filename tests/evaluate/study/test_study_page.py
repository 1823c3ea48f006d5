"""The page in a real Chromium: keys, undo, fingers, a server that dies; quiet, and at home."""

import re
from pathlib import Path

from playwright.sync_api import Browser, Page, expect
from served import Served, free_port, invite, served
from simulated_raters import make_study

from openimagen.evaluate.study.design import load_study
from openimagen.evaluate.study.votes import Votes

PHONE = {
    "viewport": {"width": 390, "height": 844},
    "device_scale_factor": 2,
    "is_mobile": True,
    "has_touch": True,
}
DEADLINE = 60_000  # ms; a busy machine is slow
expect.set_options(timeout=DEADLINE)


class Watched:
    """A tab, and what went wrong or astray in it."""

    def __init__(self, browser: Browser, **settings: object) -> None:
        self.context = browser.new_context(**settings)
        self.context.set_default_timeout(DEADLINE)
        self.page: Page = self.context.new_page()
        self.errors, self.requests = list[str](), list[str]()
        self.page.on("console", lambda message: self.errors.append(message.text))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))

    def open(self, server: Served, token: str) -> Page:
        self.page.goto(f"{server.address}#{token}")
        return self.page


def votes_in(folder: Path) -> list[str]:
    """All answers ever given, in order."""
    return [entry.answer for entry in Votes(folder, load_study(folder)).audit()]


def answered(page: Page, done: int, total: int) -> None:
    """Wait until so many are."""
    expect(page.locator("#count")).to_have_text(f"{done} / {total}")


def press(page: Page, key: str) -> None:
    """A key, once an answer can be given."""
    page.locator(".choice:enabled").first.wait_for()
    page.keyboard.press(key)


def test_a_study_by_keyboard(browser: Browser, tmp_path: Path) -> None:
    make_study(tmp_path, texts=2, controls=1)
    token, tab = invite(tmp_path, "Ann <b>"), Watched(browser)
    with served(tmp_path) as server:
        page = tab.open(server, token)
        expect(page.locator("h2").first).to_have_text("Welcome, Ann <b>")  # text, not markup
        page.keyboard.press("Enter")
        press(page, "1")
        answered(page, 1, 6)
        press(page, "ArrowRight")
        answered(page, 2, 6)
        press(page, "2")
        answered(page, 3, 6)
        page.locator(".choice:enabled").first.wait_for()
        page.keyboard.press("u")
        expect(page.locator('[data-answer="indifferent"]')).to_have_attribute(
            "aria-pressed", "true"
        )
        press(page, "3")  # replaces it
        for done in (4, 5):
            answered(page, done - 1, 6)
            press(page, "ArrowDown")
            answered(page, done, 6)
        page.reload()  # goes on where it was
        expect(page.locator("h2").first).to_have_text("Welcome back, Ann <b>")
        page.keyboard.press("Enter")
        press(page, "z")
        expect(page.locator("#zoom-name")).to_have_text("A, 1 of 2")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowRight")
        expect(page.locator("#zoom-name")).to_have_text("B, 1 of 2")
        page.keyboard.press("1")  # not an answer here
        page.keyboard.press("Escape")
        press(page, "ArrowLeft")
        expect(page.locator("h2").first).to_have_text("Thank you, that is all")
        answered(page, 6, 6)
    assert len(votes_in(tmp_path)) == 7  # six, and one replaced
    assert tab.errors == []
    assert {re.sub(r"(//[^/]+/).*", r"\1", url) for url in tab.requests} == {server.address}
    assert not any(token in url for url in tab.requests)
    tab.context.close()


def test_a_study_by_finger_on_a_phone(browser: Browser, tmp_path: Path) -> None:
    make_study(tmp_path, "realism", texts=2, controls=0)
    token, tab = invite(tmp_path, "ann"), Watched(browser, **PHONE)
    with served(tmp_path) as server:
        page = tab.open(server, token)
        page.get_by_role("button", name="Start").tap()
        for done, answer in enumerate(["A", "B", "Somewhat", "No"]):
            answered(page, done, 4)
            page.locator(".choice:enabled", has_text=answer).first.tap()
            size = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
            assert size[0] <= size[1]  # nothing sticks out
        answered(page, 4, 4)
        page.get_by_role("button", name="Undo").tap()
        page.locator(".tile").first.tap()
        expect(page.locator("#zoom-picture")).to_be_visible()
        page.get_by_role("button", name="Close").tap()
        page.locator(".choice:enabled", has_text="Yes").tap()
        expect(page.locator("h2").first).to_have_text("Thank you, that is all")
    assert votes_in(tmp_path)[2:] == ["somewhat", "no", "yes"]
    assert tab.errors == []
    tab.context.close()


def test_an_answer_outlives_the_server(browser: Browser, tmp_path: Path) -> None:
    make_study(tmp_path, texts=2, controls=0)
    token, tab, port = invite(tmp_path, "ann"), Watched(browser), free_port()
    with served(tmp_path, port) as server:
        page = tab.open(server, token)
        page.get_by_role("button", name="Start").click()
        press(page, "1")
        answered(page, 1, 4)
        page.locator(".choice:enabled").first.wait_for()
        server.kill()
        page.keyboard.press("2")
        expect(page.locator("#notice")).to_contain_text("Your answer is kept")
    with served(tmp_path, port):
        answered(page, 2, 4)
        expect(page.locator("#notice")).to_be_hidden()
    assert votes_in(tmp_path)[-1] == "indifferent"
    tab.context.close()


def test_a_dead_invitation_says_so(browser: Browser, tmp_path: Path) -> None:
    make_study(tmp_path)
    tab = Watched(browser)
    with served(tmp_path) as server:
        page = tab.open(server, "no-such-token")
        expect(page.locator("h2").first).to_have_text("This invitation is not valid")
        page.goto(server.address)
        expect(page.locator("h2").first).to_have_text("You need an invitation")
    tab.context.close()
