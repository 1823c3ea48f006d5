"""The studio for everybody: small screens, screen readers, dark and light."""

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from visits import PHONE, MakeVisit, draw, ready

from openimagen.serve import studio as pages

VIEWS = ("draw", "edit", "upscale", "explain", "verify")
PAGE = Path(pages.__file__).parent / "page"

UNNAMED = """() => {
  const name = (one) => one.getAttribute("aria-label") || one.textContent.trim() ||
    [...(one.labels ?? [])].map((label) => label.textContent.trim()).join("");
  const all = document.querySelectorAll("button, input, select, textarea, a, [tabindex='0']");
  return [...all].filter((one) => !name(one)).map((one) => one.outerHTML);
}"""
IDS = "() => [...document.querySelectorAll('[id]')].map(({id}) => id)"
REFERENCES = """() => [...document.querySelectorAll("*")].flatMap((one) =>
  ["for", "aria-labelledby", "aria-describedby", "aria-controls"].flatMap((name) =>
    one.getAttribute(name)?.split(" ") ?? []))"""


def wide(page: Page) -> list[int]:
    return page.evaluate("[document.documentElement.scrollWidth, innerWidth]")


def everything(page: Page, picture: Path) -> None:
    """Show all that can be shown."""
    draw(page, "red apple", number=2)
    page.locator("#settings-open").click()
    for view, opened in (("edit", "#edit-form"), ("upscale", "#upscale-form"), ("explain", "#lab")):
        page.evaluate("(view) => { location.hash = view }", view)
        page.locator(f"#{view}-drop input").set_input_files(picture)
        expect(page.locator(opened)).to_be_visible()


@pytest.mark.parametrize("width", [360, 1600])
def test_nothing_sticks_out(told: str, visit: MakeVisit, red_apple: Path, width: int) -> None:
    screen = PHONE if width == 360 else {"viewport": {"width": width, "height": 900}}
    page = visit(address=told, **screen)
    everything(page, red_apple)
    for view in VIEWS:
        page.evaluate("(view) => { location.hash = view }", view)
        expect(page.locator(f"#view-{view}")).to_be_visible()
        inside, screen_width = wide(page)
        assert inside <= screen_width, view
    page.evaluate("() => { location.hash = 'draw' }")
    page.locator("button.tile").first.click()
    sides = page.locator("#sheet").evaluate("(one) => [one.scrollWidth, one.clientWidth]")
    assert sides[0] <= sides[1]


def test_every_control_has_a_name(told: str, visit: MakeVisit, red_apple: Path) -> None:
    page = visit(address=told)
    everything(page, red_apple)
    page.evaluate("() => { location.hash = 'draw' }")
    page.locator("button.tile").first.click()
    assert page.evaluate(UNNAMED) == []
    ids = page.evaluate(IDS)
    assert len(ids) == len(set(ids))
    assert set(page.evaluate(REFERENCES)) <= set(ids)
    live = page.locator("#draw-easel .status")
    expect(live).to_have_attribute("aria-live", "polite")
    expect(page.locator("#draw-easel .notice")).to_have_attribute("role", "alert")


def test_dark_and_light_are_kept(told: str, visit: MakeVisit) -> None:
    page = ready(visit(address=told, color_scheme="dark"))
    root = page.locator("html")
    ground = "() => getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    page.locator("#theme").click()
    expect(root).to_have_attribute("data-theme", "light")
    light = page.evaluate(ground)
    assert dark != light
    page.reload()
    expect(root).to_have_attribute("data-theme", "light")
    assert page.evaluate(ground) == light


def luminance(colour: str) -> float:
    """WCAG's, of #rrggbb."""
    levels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in levels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def palettes() -> dict[str, dict[str, str]]:
    """The colours of each block of base.css that has a whole palette."""
    found = re.findall(r"([^{}]*)\{([^{}]*--page:[^{}]*)\}", (PAGE / "base.css").read_text())
    return {head.strip(): dict(re.findall(r"--([\w-]+): (#\w{6})", body)) for head, body in found}


def test_text_stands_out_from_its_ground() -> None:
    assert len(palettes()) == 3
    for colours in palettes().values():
        for ink in ("ink", "pale", "accent"):
            for ground in ("page", "card", "sunk"):
                assert contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)
        assert contrast(colours["on-accent"], colours["accent"]) >= 4.5
        assert contrast(colours["accent"], colours["wash"]) >= 4.5
        assert contrast(colours["ink"], colours["warn"]) >= 4.5
        assert contrast(colours["edge"], colours["page"]) >= 3


def test_both_dark_palettes_are_the_same() -> None:
    _, *dark = palettes().values()
    assert dark[0] == dark[1]


def test_modules_are_small_and_load_nothing_from_elsewhere() -> None:
    for path in PAGE.iterdir():
        text = path.read_text()
        assert len(text.splitlines()) <= 400, path
        addresses = set(re.findall(r"https?://[\w./-]+", text))
        assert addresses <= {"http://www.w3.org/2000/svg"}, path
        assert "innerHTML" not in text
        assert not re.search(r"<script>|<style|style=|onclick=", text), path


def test_the_policy_is_strict(told: str, visit: MakeVisit) -> None:
    page = ready(visit(address=told))
    answer = page.request.get(page.url)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in json.dumps(policy)
