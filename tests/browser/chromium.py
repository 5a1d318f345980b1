# SPDX-License-Identifier: Apache-2.0
"""Opens the dashboard in the Chromium of this machine and collects what goes wrong in the browser.

Downloads no browser. Used by the browser tests and by the screenshots.
"""

from __future__ import annotations

import ctypes
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from playwright.sync_api import Page, sync_playwright

ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")


def find_chromium() -> str | None:
    """Path of a Chromium or Chrome on the PATH."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def missing_for_browser() -> str | None:
    """What this machine lacks to drive a browser, and what to install; None: nothing."""
    if find_chromium() is None:
        return "no Chromium on the PATH (Debian: apt-get install chromium)"
    try:
        ctypes.CDLL("libatomic.so.1")
    except OSError:
        return "no libatomic.so.1, which Playwright's driver needs (Debian: apt-get install libatomic1)"
    return None


@dataclass
class Tab:
    """A page, and the errors that its console and its scripts gave."""

    page: Page
    errors: list[str] = field(default_factory=list)

    def settle(self) -> None:
        """Wait until Streamlit has drawn what it knows and every picture is there."""
        self.page.wait_for_selector("[data-testid=stApp][data-test-script-state=notRunning]", timeout=60_000)
        self.page.wait_for_function("[...document.images].every(image => image.complete)", timeout=60_000)

    def open(self, url: str) -> None:
        """Open an address and let it settle."""
        self.page.goto(url, wait_until="domcontentloaded", timeout=60_000)
        self.page.wait_for_selector(".sl-head h1", timeout=60_000)
        self.settle()

    def go(self, name: str, heading: str) -> None:
        """Choose a page in the side bar."""
        self.page.get_by_role("link", name=name).click()
        self.page.wait_for_function(
            "wanted => document.querySelector('.sl-head h1')?.textContent === wanted", arg=heading, timeout=60_000
        )
        self.settle()

    def text(self) -> str:
        """What can be read."""
        return self.page.inner_text("[data-testid=stApp]")


@contextmanager
def browser_tab(width: int = 1440, height: int = 900, *, scale: float = 1.0) -> Iterator[Tab]:
    """A fresh tab in the machine's own Chromium.

    Raises:
        FileNotFoundError: something it needs is not there; says what to install.
    """
    if (missing := missing_for_browser()) is not None:
        raise FileNotFoundError(missing)
    program = find_chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(ARGUMENTS))
        try:
            context = browser.new_context(
                viewport={"width": width, "height": height}, device_scale_factor=scale, timezone_id="Europe/Berlin"
            )
            tab = Tab(context.new_page())
            tab.page.on("pageerror", lambda error: tab.errors.append(str(error)))
            tab.page.on("console", lambda message: tab.errors.append(message.text) if message.type == "error" else None)
            yield tab
        finally:
            browser.close()
