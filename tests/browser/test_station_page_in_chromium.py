# SPDX-License-Identifier: Apache-2.0
"""The station's own page as a browser shows it, over a station that is at work.

Waits by asking again: the page's own policy forbids the `eval` that Playwright's waiting for a function needs.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from plant.processes.broker import free_port
from tests.browser.chromium import browser_tab, missing_for_browser
from tests.edge import tiny_package
from tests.edge.commissioning.rig import StationFolder
from tests.fakes.waiting import wait_until

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(missing_for_browser() is not None, reason=str(missing_for_browser())),
]
NASTY = "<img src=x onerror=alert(1)>"


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """A station at work on a folder of pictures, one of them with a name that must stay text."""
    station = StationFolder(tmp_path / "station")
    station.show(*(tiny_package.part(level, 256) for level in (40, 128, 220)))
    (station.pictures / "0.png").rename(station.pictures / f"{NASTY}.png")
    port = free_port()
    station.values |= {"page.port": port, "source.loop": True, "source.rate_hz": 10}
    station.values |= {"recipe.ring.roi_xywh": [32, 32, 128, 128], "recipe.ring.budget_ms.infer": 0.001}
    environ = {name: value for name, value in os.environ.items() if not name.startswith("SIGHTLINE_")}
    log = (tmp_path / "log.txt").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", "edge_agent", "run", "--settings", str(station.settings())],
        stdout=log,
        stderr=log,
        env=environ,
    )
    log.close()
    made = f"http://127.0.0.1:{port}/"

    def is_judging() -> bool:
        try:
            verdicts = httpx.get(f"{made}status.json", trust_env=False).json()["verdict_counts"]
        except httpx.HTTPError:
            return False
        return {"OK", "NG", "REVIEW"} <= set(verdicts)

    try:
        wait_until(is_judging, lambda: (tmp_path / "log.txt").read_text()[-3000:])
        yield made
    finally:
        process.terminate()
        process.wait(timeout=60)


@pytest.mark.parametrize("width_px", [390, 1280])
def test_page_shows_picture_verdicts_and_aid_without_an_error_and_asks_nobody_else(url: str, width_px: int) -> None:
    with browser_tab(width_px, 1000) as tab:
        asked: list[str] = []
        tab.page.on("request", lambda request: asked.append(request.url))
        tab.page.on("dialog", lambda dialog: tab.errors.append(f"a script ran: {dialog.message}"))
        tab.page.goto(url)
        wait_until(lambda: tab.page.locator("#parts tr").count() >= 3)
        wait_until(lambda: bool(tab.page.evaluate("document.getElementById('picture').naturalWidth === 256")))
        words = tab.page.inner_text("#parts")
        assert {"OK", "NG", "REVIEW"} <= set(words.split())
        wait_until(lambda: NASTY in tab.page.inner_text("#parts"))
        assert tab.page.locator("#parts img").count() == 0
        assert tab.page.inner_text("#station") == "plant / line-1 / st-1"
        assert "INFER" in tab.page.inner_text("#stages")
        assert "over-budget" in tab.page.inner_text("#faults")
        assert float(tab.page.inner_text("#sharpness")) > 0
        tab.page.wait_for_selector("#sharp-minute polyline", state="attached", timeout=60_000)
        first = tab.page.get_attribute("#picture", "src") or ""
        assert "roi" in first
        assert "heat" not in first
        tab.page.check("#heat")
        wait_until(lambda: "heat" in (tab.page.get_attribute("#picture", "src") or ""))
        assert tab.page.evaluate("document.documentElement.scrollWidth") <= width_px
        assert tab.errors == []
        assert {address for address in asked if not address.startswith(url)} == set()


def test_page_of_a_station_that_has_gone_says_so(url: str) -> None:
    with browser_tab(800, 800) as tab:
        tab.page.goto(url)
        wait_until(lambda: tab.page.locator("#parts tr").count() >= 3)
        assert tab.page.is_hidden("#offline")
        tab.page.route("**/page.json", lambda route: route.abort())
        tab.page.wait_for_selector("#offline", state="visible", timeout=60_000)


def test_figures_of_a_station_at_work_are_read_by_the_parser_of_prometheus(url: str) -> None:
    text = httpx.get(f"{url}metrics", trust_env=False).text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    parts = {sample.labels["verdict"] for sample in families["sightline_parts"].samples}
    assert {"OK", "NG", "REVIEW"} <= parts
    assert families["sightline_stage_seconds"].type == "histogram"
