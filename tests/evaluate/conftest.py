"""A real browser."""

import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium; in CI there must be one."""
    binary = shutil.which("chromium") or shutil.which("chromium-browser")
    if binary is None and "CI" not in os.environ:
        pytest.skip("no chromium on this machine: apt-get install chromium")
    assert binary, "no chromium: .ci/run installs it"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=binary, args=["--no-sandbox"])
        yield browser
        browser.close()
