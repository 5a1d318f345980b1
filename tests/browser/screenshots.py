# SPDX-License-Identifier: Apache-2.0
"""`python -m tests.browser.screenshots`: write docs/images from a running plant, in the machine's Chromium.

Without `--url` it plays `sightline demo` itself and takes the pictures once the line runs and parts wait to
be judged. Not a test; run by `make screenshots`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import httpx
from PIL import Image

from plant.processes.broker import free_port
from tests.browser.chromium import Tab, browser_tab

IMAGES: Final = Path(__file__).parents[2] / "docs" / "images"
MAX_BYTES: Final = 190_000
MAX_HEIGHT_PX: Final = 1500
# The live page goes on with control charts; its picture ends where they begin.
HEIGHT_PX: Final = {"line": 1200}
START_TIMEOUT_S: Final = 600.0
LEARNING_TIMEOUT_S: Final = 600.0
PAGES: Final = {
    "packages": ("Packages & rollouts", "Packages & rollouts"),
    "overview": ("Overview", "Overview"),
    "line": ("Live line", "Live line"),
    "audit": ("Audit", "Audit"),
}
# What must be on a page before its picture is worth taking.
READY: Final = {
    "overview": ".sl-log li",
    "line": ".sl-pictures img[alt=heatmap]",
    "audit": ".stage",
    "packages": ".sl-step",
}


def take(tab: Tab, url: str, token: str | None, pages: Sequence[str], *, patience_s: float) -> None:
    """Take the pictures of these pages; each waits until it has something to show."""
    tab.page.goto(url, wait_until="domcontentloaded", timeout=60_000)
    tab.page.wait_for_selector(".sl-head h1", timeout=120_000)
    if token is not None and tab.page.get_by_label("Access token").count():
        tab.page.get_by_label("Access token").fill(token)
        tab.page.get_by_role("button", name="Sign in").click()
    for name in pages:
        link, heading = PAGES[name]
        if name == "audit":
            # The name in the address spares the question for it.
            tab.open(f"{url}/audit?name=anna")
        else:
            tab.go(link, heading)
        tab.page.wait_for_selector(READY[name], timeout=patience_s * 1000)
        tab.settle()
        tab.page.wait_for_timeout(1500)
        shoot(tab, IMAGES / f"{name}.png")


def shoot(tab: Tab, file: Path) -> None:
    """Write the whole page, as high as it is within reason, as a PNG small enough for a repository."""
    width = 1440
    high = int(tab.page.evaluate("document.querySelector('.stMainBlockContainer').scrollHeight"))
    tab.page.set_viewport_size({"width": width, "height": min(HEIGHT_PX.get(file.stem, MAX_HEIGHT_PX), max(900, high))})
    tab.page.wait_for_timeout(1500)
    file.parent.mkdir(parents=True, exist_ok=True)
    tab.page.screenshot(path=str(file))
    tab.page.set_viewport_size({"width": width, "height": 900})
    if file.stat().st_size > MAX_BYTES:
        # A screen has few colours: 256 of them lose nothing that one would see.
        with Image.open(file) as picture:
            picture.convert("RGB").quantize(256).save(file, optimize=True)
    sys.stdout.write(f"{file.name}: {file.stat().st_size / 1000:.0f} kB\n")


def _play_demo(pages: Sequence[str]) -> int:
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        # More parts and time than the pictures need: the demo must not end before them; it is stopped afterwards.
        command = [sys.executable, "-m", "plant.cli", "demo", "--parts", "100000", "--time-limit", "1800"]
        command += ["--dashboard-port", str(port), "--data", folder]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as demo:
            try:
                wait_for(f"http://127.0.0.1:{port}/_stcore/health", demo)
                with browser_tab() as tab:
                    tab.open(f"http://127.0.0.1:{port}/packages")
                    _wait_for_learning(tab, demo)
                    take(tab, f"http://127.0.0.1:{port}", None, pages, patience_s=START_TIMEOUT_S)
            finally:
                # No effect when it has ended already.
                demo.terminate()
                demo.wait(timeout=60)
    return 0


def _wait_for_learning(tab: Tab, demo: subprocess.Popen[bytes]) -> None:
    """The second rollout is the one that the line taught; pictures without it are better than none."""
    deadline = time.monotonic() + LEARNING_TIMEOUT_S
    while not tab.page.get_by_text("Rollout 2", exact=True).count():
        if demo.poll() is not None:
            raise ChildProcessError(f"the demo ended with code {demo.returncode} before the pictures were taken")
        if time.monotonic() > deadline:
            sys.stdout.write(f"no second rollout within {LEARNING_TIMEOUT_S:.0f} s; taking the pictures without it\n")
            return
        tab.page.wait_for_timeout(1000)


def wait_for(url: str, demo: subprocess.Popen[Any]) -> None:
    """Until the dashboard of a demo answers."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            httpx.get(url, timeout=2, trust_env=False).raise_for_status()
        except httpx.HTTPError as error:
            if demo.poll() is not None or time.monotonic() > deadline:
                raise TimeoutError(f"the demo's dashboard did not answer at {url}") from error
            time.sleep(0.5)
        else:
            return


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m tests.browser.screenshots", description=__doc__)
    parser.add_argument("--url", help="address of a running dashboard; without it a demo is played")
    parser.add_argument("--token", help="access token, when that dashboard asks for one")
    parser.add_argument("--only", choices=list(PAGES), action="append", help="this page alone; may be repeated")
    given = parser.parse_args()
    pages = given.only or list(PAGES)
    if given.url is None:
        return _play_demo(pages)
    with browser_tab() as tab:
        take(tab, given.url, given.token, pages, patience_s=180)
    return 0


if __name__ == "__main__":
    sys.exit(main())
