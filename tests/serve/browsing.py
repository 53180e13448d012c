"""A real Chromium, and pages in it that must complain about nothing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
BROWSER_MARKS = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (apt-get install chromium)"),
]


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start Chromium for the block."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def opened(browser: Browser, url: str, **context: Any) -> Iterator[Page]:
    """Open ``url`` in a context of its own; at the block's end its console must hold no error."""
    own = browser.new_context(**{"locale": "en-GB", **context})
    page = own.new_page()
    complaints: list[str] = []

    def note(message: ConsoleMessage) -> None:
        # The browser reports a refused request as an error of its own, which is none of the page's.
        if message.type == "error" and "Failed to load resource" not in message.text:
            complaints.append(message.text)

    page.on("console", note)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(url)
    yield page
    own.close()
    assert complaints == []
