"""Drawing in the studio: live through the stages, by keyboard, kept, taken home."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
from playwright.sync_api import Page, expect
from visits import MakeVisit, downloaded, draw, facts, finished, kept, pixels, ready

from openimagen.verify import verify

WATCH = """
window.seen = [];
new MutationObserver(() => {
  const image = document.querySelector("#draw-easel button.tile img");
  if (!image?.src || image.src === window.last) return;
  window.last = image.src;
  const words = document.querySelector(".tile-words").textContent;
  const probe = new Image();
  probe.onload = () => window.seen.push([probe.naturalWidth, words]);
  probe.src = image.src;
}).observe(document, {subtree: true, childList: true, attributes: true});
"""


def test_a_picture_clears_up_in_place_stage_by_stage(visit: MakeVisit) -> None:
    page = visit()
    page.evaluate(WATCH)
    draw(page, "red apple", side=1024)
    expect(page.locator("#draw-easel button.tile img")).not_to_have_class("pixels")
    seen = page.evaluate("window.seen")
    sides = [side for side, _ in seen]
    assert sides == sorted(sides)
    assert {64, 256, 1024} == set(sides)
    assert sides.count(64) >= 4  # of eight: a busy browser skips some
    assert "base · 3 of 8" in [words for _, words in seen]
    page.locator("button.tile").click()
    expect(page.locator(".frame")).to_have_count(10)  # 8 + 1 calls, and the picture
    page.locator(".frame").first.focus()
    expect(page.locator("#strip-words")).to_contain_text("call 1 of 8")
    expect(page.locator("#sheet-picture")).to_have_class("pixels")


def test_every_strip_begins_in_noise(visit: MakeVisit) -> None:
    """The first picture is checked, encoded and signed while the others' noise clears up."""
    page = visit()
    ready(page)
    page.locator("#number").select_option("4")
    page.locator("#prompt").fill("red apple")
    page.locator("#prompt").press("Enter")
    expect(page.locator("#draw-easel .status")).to_have_text(
        re.compile("4 pictures in"), timeout=60_000
    )
    page.locator("button.tile").first.click()
    for place in range(1, 5):
        expect(page.locator("#sheet-place")).to_have_text(f"Picture {place} of 4")
        expect(page.locator(".frame")).to_have_count(10)
        expect(page.locator(".frame").first).to_have_attribute(
            "aria-label", re.compile("call 1 of 8")
        )
        page.keyboard.press("ArrowRight")


def test_a_locked_seed_repeats_the_picture(visit: MakeVisit) -> None:
    page = visit()
    shown: list[np.ndarray] = []
    draw(page, "ghost")
    shown.append(pixels(page, "button.tile img"))
    page.locator("#prompt").blur()
    page.keyboard.press("l")
    draw(page, "ghost")
    shown.append(pixels(page, "button.tile img"))
    page.locator("#prompt").blur()
    page.keyboard.press("l")
    draw(page, "ghost")
    shown.append(pixels(page, "button.tile img"))
    assert (shown[0] == shown[1]).all()
    assert (shown[1] != shown[2]).any()


def test_the_settings_reach_the_server(visit: MakeVisit) -> None:
    page = ready(visit())
    page.locator("#settings-open").click()
    page.locator("#steps").fill("3")
    page.locator("#guidance").fill("3")
    page.locator("#negative").fill("blue")
    page.locator("#sampler").select_option("heun")
    page.locator("#transparent").click()
    page.locator("#format").select_option("webp")
    page.locator(".chip[data-words='in noto style']").click()
    with page.expect_request("**/generations") as asked:
        draw(page, "fox")
    said = json.loads(asked.value.post_data or "")
    seed = int(page.locator("#seed").input_value())
    assert said == {
        **{"model": "emoji", "prompt": "fox, in noto style", "n": 1, "size": "64x64", "seed": seed},
        **{"steps": [3, 1, 1], "guidance": [3, 1, 1], "negative_prompt": "blue"},
        **{"sampler": "heun", "background": "transparent", "output_format": "webp"},
        **{"stream": True, "progress": True, "partial_images": 3},
    }
    page.get_by_role("button", name="Back to the defaults").click()
    expect(page.locator("#steps")).to_have_value("8")
    expect(page.locator("#transparent")).to_have_attribute("aria-pressed", "false")


def test_the_pictures_by_keyboard(told: str, visit: MakeVisit) -> None:
    page = visit(address=told)
    draw(page, "rocket", number=3)
    tiles = page.locator("button.tile")
    tiles.first.focus()
    page.keyboard.press("ArrowRight")
    expect(tiles.nth(1)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#sheet-place")).to_have_text("Picture 2 of 3")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")  # there is no fourth
    expect(page.locator("#sheet-place")).to_have_text("Picture 3 of 3")
    expect(page.locator("#sheet-on")).to_be_disabled()
    page.keyboard.press("Escape")
    expect(page.locator("#sheet")).to_be_hidden()
    expect(tiles.nth(1)).to_be_focused()
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("2")
    expect(page.locator("#view-edit")).to_be_visible()
    page.keyboard.press("/")
    expect(page.locator("#prompt")).to_be_focused()


def test_what_was_drawn_outlives_a_reload_and_goes_when_told(told: str, visit: MakeVisit) -> None:
    page = visit(address=told)
    draw(page, "snowman", number=2)
    before = pixels(page, "li:nth-child(2) > button.tile img")
    seed = page.locator("#seed").input_value()
    kept(page)
    page.reload()
    ready(page)
    page.locator(".card-open").click()
    expect(page.locator("#prompt")).to_have_value("snowman")
    expect(page.locator("#number")).to_have_value("2")
    expect(page.locator("#seed")).to_have_value(seed)
    assert (pixels(page, "li:nth-child(2) > button.tile img") == before).all()
    page.locator("button.tile").first.click()
    expect(page.locator(".frame")).to_have_count(9)  # the strip is kept too
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Delete snowman").click()
    expect(page.locator(".card")).to_have_count(0)
    for prompt in ("moon", "sun"):
        draw(page, prompt)
    expect(page.locator(".card-title")).to_have_text(["sun", "moon"])
    page.get_by_role("button", name="Delete all").click()
    expect(page.locator(".card")).to_have_count(2)  # it asks once more
    page.get_by_role("button", name="Really delete all?").click()
    expect(page.locator(".card")).to_have_count(0)
    page.reload()
    expect(page.locator("#empty")).to_be_visible()


FILL = """async () => {
  const history = await import("/page/history.js");
  const commission = {path: "", fields: {}, files: {}};
  const set = {commission, pictures: [{blob: null, frames: []}]};
  for (let n = 0; n < 63; n += 1) await history.keep({...set, prompt: String(n)});
  return (await history.all()).map(({prompt}) => prompt);
}"""


def test_the_oldest_make_room(told: str, visit: MakeVisit) -> None:
    kept = ready(visit(address=told)).evaluate(FILL)
    assert kept == [str(number) for number in range(62, 2, -1)]


def test_a_prompt_stays_text(told: str, visit: MakeVisit) -> None:
    page = visit(address=told)
    evil = '<img src=x onerror=alert(1)>"><script>alert(2)</script>'
    draw(page, evil)
    expect(page.locator(".card-title")).to_have_text(evil)
    page.locator("button.tile").click()
    expect(page.locator("#sheet-title")).to_have_text(evil)
    page.keyboard.press("c")
    assert evil.replace('"', '\\"') in (page.locator("#code-text").text_content() or "")
    assert page.locator("img[src=x], main script").count() == 0


def test_the_download_is_the_servers_bytes(visit: MakeVisit, tmp_path: Path) -> None:
    page = visit()
    sent: list[str] = []
    page.on("response", lambda answer: sent.append(answer.url))
    draw(page, "octopus", side=256)
    path = downloaded(page, "#draw-easel", tmp_path)
    assert path.name == f"octopus-{page.locator('#seed').input_value()}.png"
    found = verify(path)
    assert found.credentials.status == "untrusted"  # signed, by nobody that one must know
    assert found.credentials.model == "emoji"
    assert found.mark is not None


def code(page: Page, language: str) -> str:
    page.get_by_role("button", name=language).click()
    return page.locator("#code-text").text_content() or ""


def test_the_code_draws_the_same_picture(visit: MakeVisit, tmp_path: Path) -> None:
    page = visit()
    draw(page, 'it\'s a "cat" $HOME', number=2)
    shown = pixels(page, "li:nth-child(2) > button.tile img")
    page.locator("button.tile").nth(1).click()
    page.keyboard.press("c")
    words = shlex.split(code(page, "curl").replace("\\\n", " "))
    said = json.loads(words[words.index("-d") + 1])
    assert (said["prompt"], said["n"]) == ('it\'s a "cat" $HOME', 1)
    assert "stream" not in said
    program = code(page, "Python")
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, timeout=60)
    from PIL import Image

    drawn = np.asarray(Image.open(tmp_path / "picture-0.png").convert("RGB"))
    assert (drawn == shown).all()


def test_more_like_it(told: str, visit: MakeVisit) -> None:
    page = visit(address=told)
    draw(page, "cat face")
    page.locator("button.tile").click()
    page.get_by_role("button", name="More like this").click()
    expect(page.locator("button.tile")).to_have_count(4)
    finished(page)
    page.locator("button.tile").last.click()
    assert facts(page)["Strength"] == "0.65"
