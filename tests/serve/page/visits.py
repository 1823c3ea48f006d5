"""A tab that watches itself, and what a person does in it."""

import base64
import re
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Page, expect

MakeVisit = Callable[..., Page]

DEADLINE = 10_000  # ms; a busy machine is slow
LOGGED = "Failed to load resource"  # by the browser itself, for any error status
PHONE = {
    "viewport": {"width": 360, "height": 740},
    "device_scale_factor": 2,
    "is_mobile": True,
    "has_touch": True,
}


class Visit:
    """A tab, and what went wrong or astray in it."""

    def __init__(
        self, browser: Browser, address: str, *, troubled: bool = False, **settings: object
    ) -> None:
        self.address, self.troubled = address, troubled
        self.context = browser.new_context(**settings)
        self.context.set_default_timeout(DEADLINE)
        self.page: Page = self.context.new_page()
        self.errors, self.requests = list[str](), list[str]()
        self.page.on("console", lambda message: self.errors.append(message.text))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("dialog", lambda dialog: self.errors.append(dialog.message))
        self.page.on("request", lambda request: self.requests.append(request.url))

    def open(self, view: str) -> Page:
        self.page.goto(f"{self.address}/#{view}")
        return self.page

    def close(self) -> None:
        self.context.close()

    def check(self) -> None:
        errors = [text for text in self.errors if not (self.troubled and text.startswith(LOGGED))]
        assert errors == [], errors
        home = (f"{self.address}/", "blob:", "data:")
        astray = [url for url in self.requests if not url.startswith(home)]
        assert astray == [], astray


def ready(page: Page) -> Page:
    """Once the model is known."""
    expect(page.locator("#draw")).to_be_enabled()
    return page


def draw(page: Page, prompt: str, *, number: int = 1, side: int = 64) -> None:
    """Ask for pictures by keyboard, and wait for them."""
    ready(page)
    page.locator("#number").select_option(str(number))
    page.locator("#size").select_option(str(side))
    page.locator("#prompt").fill(prompt)
    page.locator("#prompt").press("Enter")
    finished(page)


def finished(page: Page, easel: str = "#draw-easel") -> None:
    """Wait until all pictures of an easel are there."""
    expect(page.locator(f"{easel} .status")).to_have_text(re.compile(r"pictures? in \d"))


def kept(page: Page, sets: int = 1) -> None:
    """Wait until the browser keeps them: a moment after they are there to be seen."""
    expect(page.locator(".card")).to_have_count(sets)


def pixels(page: Page, selector: str) -> np.ndarray:
    """What an image on the page shows, [h w 3], losslessly."""
    image = page.locator(selector)
    url = image.evaluate(
        """async (image) => {
            await image.decode();
            const canvas = document.createElement("canvas");
            [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
            canvas.getContext("2d").drawImage(image, 0, 0);
            return canvas.toDataURL().split(",")[1];
        }"""
    )
    return np.asarray(Image.open(BytesIO(base64.b64decode(url))).convert("RGB"))


def facts(page: Page) -> dict[str, str]:
    """What the open sheet says of its picture."""
    rows = page.locator("#sheet-facts > div")
    return {row.locator("dt").inner_text(): row.locator("dd").inner_text() for row in rows.all()}


def downloaded(page: Page, easel: str, folder: Path, number: int = 0) -> Path:
    """The file that the download of a picture gives."""
    page.locator(f"{easel} button.tile").nth(number).click()
    with page.expect_download() as saving:
        page.get_by_role("button", name="Download").click()
    page.keyboard.press("Escape")
    path = folder / saving.value.suggested_filename
    saving.value.save_as(path)
    return path
