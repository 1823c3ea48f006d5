"""Pictures of somebody's own: painted over, changed, made large, looked into."""

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Page, expect
from visits import PHONE, MakeVisit, downloaded, draw, finished, kept, ready

MASK = "#edit-mask"


def bench(page: Page, picture: Path, *, side: int = 64, number: int = 1) -> None:
    """A picture on the edit view's bench."""
    ready_to_edit(page)
    page.locator("#edit-drop input").set_input_files(picture)
    page.locator("#edit-size").select_option(str(side))
    page.locator("#edit-number").select_option(str(number))


def ready_to_edit(page: Page) -> None:
    expect(page.locator("#edit-size option")).to_have_count(3)


def at(page: Page, x: float, y: float) -> tuple[float, float]:
    """A place on the mask, from shares of its sides, on the screen."""
    box = page.locator(MASK).bounding_box()
    assert box
    return box["x"] + x * box["width"], box["y"] + y * box["height"]


def test_what_is_not_painted_stays_exactly(
    visit: MakeVisit, red_apple: Path, tmp_path: Path
) -> None:
    page = visit("edit")
    bench(page, red_apple)
    page.locator("#edit-prompt").fill("green apple")
    page.mouse.move(*at(page, 0.5, 0.4))
    page.mouse.down()
    page.mouse.move(*at(page, 0.5, 0.6), steps=4)
    page.mouse.up()
    expect(page.locator("#mask-said")).to_have_text("1 stroke painted")
    expect(page.locator("#strength")).to_have_value("1")
    page.locator("#edit-prompt").press("Enter")
    finished(page, "#edit-easel")
    before = np.asarray(Image.open(red_apple))
    after = np.asarray(Image.open(downloaded(page, "#edit-easel", tmp_path)).convert("RGB"))
    same = (before == after).all(axis=2)
    assert same[:20].all()
    assert same[:, :26].all()
    assert same[:, 38:].all()
    assert not same[28:36, 31:33].any()


def test_the_brush_by_keyboard(visit: MakeVisit, red_apple: Path) -> None:
    page = visit("edit")
    bench(page, red_apple)
    page.locator(MASK).focus()
    expect(page.locator("#brush-cursor")).to_be_visible()
    page.keyboard.press("]")
    expect(page.locator("#brush-size")).to_have_value("136")
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
    page.keyboard.press(" ")
    expect(page.locator("#mask-said")).to_have_text("1 stroke painted")
    page.keyboard.press("e")
    page.keyboard.press(" ")  # takes away all of it
    expect(page.locator("#mask-said")).to_have_text("Nothing painted")
    page.keyboard.press("Control+z")
    expect(page.locator("#mask-said")).to_have_text("1 stroke painted")
    page.keyboard.press("Control+z")
    expect(page.locator("#brush-undo")).to_be_disabled()
    page.locator("#brush-area").select_option("around")
    expect(page.locator("#mask-said")).to_have_text("1 stroke painted")


def test_a_finger_paints_on_a_wide_picture(visit: MakeVisit, tmp_path: Path) -> None:
    before = np.random.default_rng(0).integers(0, 256, (32, 64, 3), dtype=np.uint8)
    Image.fromarray(before).save(tmp_path / "wide.png")
    page = visit("edit", **PHONE)
    bench(page, tmp_path / "wide.png")
    page.locator("#edit-prompt").fill("sun")
    page.locator(MASK).scroll_into_view_if_needed()
    page.touchscreen.tap(*at(page, 0.25, 0.5))
    expect(page.locator("#mask-said")).to_have_text("1 stroke painted")
    page.get_by_role("button", name="Redraw").tap()
    finished(page, "#edit-easel")
    drawn = Image.open(downloaded(page, "#edit-easel", tmp_path)).convert("RGB")
    assert drawn.size == (64, 32)
    assert (np.asarray(drawn)[:, 40:] == before[:, 40:]).all()


def test_little_noise_keeps_the_picture(visit: MakeVisit, red_apple: Path, tmp_path: Path) -> None:
    page = visit("edit")
    bench(page, red_apple)
    before = np.asarray(Image.open(red_apple)).astype(float)
    apart = []
    for strength in ("0.2", "1"):
        page.locator("#strength").fill(strength)
        page.get_by_role("button", name="Redraw").click()
        finished(page, "#edit-easel")
        path = downloaded(page, "#edit-easel", tmp_path)
        apart.append(np.abs(np.asarray(Image.open(path).convert("RGB")) - before).mean())
    assert apart[0] < 12
    assert apart[1] > 3 * apart[0]


def test_an_edit_is_found_again(visit: MakeVisit, red_apple: Path) -> None:
    page = visit("edit")
    bench(page, red_apple, number=2)
    page.locator("#edit-prompt").fill("moon")
    page.locator("#brush-area").select_option("left")
    page.locator("#edit-prompt").press("Enter")
    finished(page, "#edit-easel")
    kept(page)
    page.goto(page.url.replace("#edit", "#draw"))
    page.reload()
    ready(page)
    page.locator(".card-open").click()
    expect(page.locator("#edit-prompt")).to_have_value("moon")
    expect(page.locator("#mask-said")).to_have_text("1 stroke painted")
    expect(page.locator("#edit-easel button.tile")).to_have_count(2)


def test_a_drawn_picture_goes_to_the_bench(visit: MakeVisit) -> None:
    page = visit()
    draw(page, "ghost")
    page.locator("button.tile").click()
    page.keyboard.press("e")
    expect(page.locator("#edit-prompt")).to_have_value("ghost")
    expect(page.locator("#edit-size")).to_have_value("64")


def test_a_small_picture_is_made_large(visit: MakeVisit, red_apple: Path, tmp_path: Path) -> None:
    page = visit("upscale")
    expect(page.locator("#upscale-size option")).to_have_count(2)
    page.locator("#upscale-drop input").set_input_files(red_apple)
    page.locator("#upscale-size").select_option("256")
    page.get_by_role("button", name="Upscale").click()
    finished(page, "#upscale-easel")
    edge = page.locator("#compare-edge")
    edge.focus()
    page.keyboard.press("ArrowRight")
    expect(edge).to_have_value("51")
    page.get_by_role("button", name="Open").click()
    with page.expect_download() as saving:
        page.keyboard.press("d")
    saving.value.save_as(tmp_path / "large.png")
    large = Image.open(tmp_path / "large.png").convert("RGB")
    assert large.size == (256, 256)
    small = np.asarray(large.resize((64, 64), Image.Resampling.BOX)).astype(float)
    assert np.abs(small - np.asarray(Image.open(red_apple))).mean() < 8


def test_only_larger_sizes_are_offered(told: str, visit: MakeVisit, tmp_path: Path) -> None:
    page = visit("upscale", address=told)
    sizes, drop = page.locator("#upscale-size option"), page.locator("#upscale-drop input")
    expect(sizes).to_have_text(["Large · 1024", "Medium · 256"])
    for side in (1024, 256):
        Image.new("RGB", (side, side // 2)).save(tmp_path / f"{side}.png")
    drop.set_input_files(tmp_path / "1024.png")
    expect(page.locator("#upscale-drop [role=alert]")).to_contain_text("a side of 1024 pixels")
    expect(page.locator("#upscale-form")).to_be_hidden()
    drop.set_input_files(tmp_path / "256.png")
    expect(sizes).to_have_text(["Large · 1024"])


def test_what_is_no_picture_is_said_to_be_none(visit: MakeVisit, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("no picture")
    (tmp_path / "a.png").write_bytes(b"\x89PNG no picture either")
    page = visit("edit")
    ready_to_edit(page)
    page.locator("#edit-drop input").set_input_files(tmp_path / "a.txt")
    expect(page.locator("#edit-drop [role=alert]")).to_have_text(
        "That is no PNG, JPEG or WebP picture."
    )
    page.locator("#edit-drop input").set_input_files(tmp_path / "a.png")
    expect(page.locator("#edit-drop [role=alert]")).to_have_text("That picture cannot be read.")


GIVE = """(zone, [event, bytes]) => {
  const files = new DataTransfer();
  files.items.add(new File([new Uint8Array(bytes)], "a.png", {type: "image/png"}));
  const told = {bubbles: true, cancelable: true};
  zone.dispatchEvent(event === "drop"
    ? new DragEvent("drop", {...told, dataTransfer: files})
    : new ClipboardEvent("paste", {...told, clipboardData: files}));
}"""


def test_a_picture_can_be_dropped_or_pasted(visit: MakeVisit, red_apple: Path) -> None:
    page = visit("verify")
    ready(page)
    for event in ("drop", "paste"):
        page.locator("#verify-drop label").evaluate(GIVE, [event, [*red_apple.read_bytes()]])
        expect(page.locator(".finding h2").first).to_have_text("No watermark found")
        page.locator("#verify-result").evaluate("(result) => result.replaceChildren()")


def test_a_picture_is_verified(visit: MakeVisit, red_apple: Path, tmp_path: Path) -> None:
    page = visit("verify", troubled=True)
    page.locator("#verify-drop input").set_input_files(red_apple)
    titles = page.locator(".finding h2")
    expect(titles).to_have_text(["No watermark found", "No content credentials"])
    page.goto(page.url.replace("#verify", "#draw"))
    draw(page, "rocket", side=256)
    path = downloaded(page, "#draw-easel", tmp_path)
    page.keyboard.press("5")
    page.locator("#prompt").blur()
    page.keyboard.press("5")
    page.locator("#verify-drop input").set_input_files(path)
    expect(titles).to_have_text(
        ["Marked by this program: drawn or changed by it", "Signed, and unchanged since"]
    )
    body = b"tEXtComment\0mine"
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    data = path.read_bytes()
    path.write_bytes(data[:-12] + chunk + data[-12:])
    page.locator("#verify-drop input").set_input_files(path)
    expect(titles.last).to_have_text("Changed after it was signed")
    for name in ("words.txt", "a.png"):
        (tmp_path / name).write_bytes(b"\x89PNG no picture")
        page.locator("#verify-drop input").set_input_files(tmp_path / name)
        expect(page.locator("#verify-drop [role=alert]")).not_to_be_empty()
        expect(page.locator("#verify-result")).to_be_hidden()
        page.locator("#verify-drop input").set_input_files(path)
        expect(page.locator("#verify-result")).to_be_visible()
        expect(titles.last).to_have_text("Changed after it was signed")
