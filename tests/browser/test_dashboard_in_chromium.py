# SPDX-License-Identifier: Apache-2.0
"""The dashboard as a person sees it: real broker, real central, real browser."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Error as PlaywrightError

from contracts.vocabulary import Verdict
from tests.browser.chromium import Tab, browser_tab, missing_for_browser
from tests.browser.little_plant import PARTS, STATION, LittlePlant, until
from tests.dashboard.learning_story import PRODUCT

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    # One worker, so that the plant is made once.
    pytest.mark.xdist_group("dashboard"),
    pytest.mark.skipif(missing_for_browser() is not None, reason=str(missing_for_browser())),
]

PAGES = {
    "Live line": "Live line",
    "Packages & rollouts": "Packages & rollouts",
    "Gate": "Gate",
    "Experiments": "Experiments",
    "Lineage": "Lineage",
    "Rollout evidence": "Rollout evidence",
    "Alarms": "Alarms",
    "Overview": "Overview",
}


@pytest.fixture(scope="module", name="plant")
def _plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LittlePlant]:
    with LittlePlant(tmp_path_factory.mktemp("plant")) as plant:
        plant.run_line()
        yield plant


@pytest.fixture(name="tab")
def _tab(plant: LittlePlant) -> Iterator[Tab]:
    with browser_tab() as tab:
        until(lambda: plant.site.supervisor.pid("dashboard") is not None, "the dashboard runs")
        tab.page.set_default_timeout(60_000)
        until(lambda: _opens(tab, plant), "the dashboard answers")
        yield tab


def _opens(tab: Tab, plant: LittlePlant) -> bool:
    try:
        tab.open(plant.site.dashboard_url)
    except PlaywrightError as error:
        if "ERR_CONNECTION_REFUSED" not in str(error):
            raise
        return False
    return True


def test_every_page_shows_the_plant_without_errors(tab: Tab) -> None:
    for name, heading in PAGES.items():
        tab.go(name, heading)
        shown = tab.text()
        assert "Traceback" not in shown
        assert "SIMULATED" in shown or name == "Alarms"
        assert "Europe/Berlin" in shown
        assert "Connected to central" in shown
    assert "1 of 1" in tab.text()
    tab.go("Live line", "Live line")
    tab.page.wait_for_selector(".sl-pictures img[alt=heatmap]")
    assert f"of {PARTS} parts" in tab.text()
    assert tab.page.locator(".sl-strip .sl-bar-ng").count() >= 3
    assert tab.errors == []


def test_a_part_is_judged_by_keyboard_and_stored(tab: Tab, plant: LittlePlant) -> None:
    with plant.api() as api:
        before = api.get("/audits/summary").json()
        tab.go("Audit", "Audit")
        tab.page.get_by_label("Your name").fill("anna")
        tab.page.get_by_role("button", name="Begin judging").click()
        tab.page.wait_for_selector(".stage img[src^=data]")
        assert tab.page.locator(".sl-verdict").count() == 0
        tab.page.keyboard.press("g")
        until(lambda: api.get("/audits/summary").json()["judged"] == before["judged"] + 1, "G is stored")
        tab.page.wait_for_selector("text=Stored:")
        tab.page.wait_for_selector(".desk[aria-busy=false]")
        tab.page.keyboard.press("u")
        until(lambda: api.get("/audits/summary").json()["judged"] == before["judged"] + 2, "U is stored")
        after = api.get("/audits/summary").json()
    assert after["by_judgement"]["GOOD"] == before["by_judgement"]["GOOD"] + 1
    assert after["by_judgement"]["UNSURE"] == before["by_judgement"]["UNSURE"] + 1
    assert "Traceback" not in tab.text()
    assert tab.errors == []


def test_live_page_stays_readable_on_a_phone(plant: LittlePlant) -> None:
    with browser_tab(width=390, height=844) as tab:
        until(lambda: _opens(tab, plant), "the dashboard answers")
        wide = tab.page.evaluate("document.documentElement.scrollWidth")
    assert wide <= 390


def test_verdicts_differ_by_sign_not_only_by_colour(tab: Tab) -> None:
    tab.go("Live line", "Live line")
    tab.page.wait_for_selector(".sl-legend")
    legend = tab.page.inner_text(".sl-legend")
    signs = {legend[legend.index(word) - 2] for word in ("OK", "NG", "Review", "No decision")}
    assert len(signs) == len(Verdict)


def test_a_station_is_pinned_to_a_version_and_let_go_by_a_person(tab: Tab, plant: LittlePlant) -> None:
    where = f"/stations/{STATION}/recipes/{PRODUCT}/pin"
    with plant.api() as api:
        for based_on, deadline_ms, note in ((None, 90, "first"), (1, 80, "faster")):
            body = {"document": {"deadline_ms": deadline_ms}, "note": note, "based_on": based_on}
            api.post(f"/recipes/{PRODUCT}", json=body).raise_for_status()

        def at_station() -> tuple[int, bool]:
            (product,) = api.get("/recipes").json()
            return product["stations"][0]["version"], product["stations"][0]["is_pinned"]

        tab.go("Recipes", "Recipes")
        tab.page.get_by_role("button", name="Pin st-1").click()
        tab.page.get_by_role("combobox", name="Version").click()
        tab.page.get_by_role("option", name="version 1: first").click()
        tab.page.get_by_test_id("stPopoverBody").get_by_role("textbox", name="Why").fill("the camera is being moved")
        tab.page.keyboard.press("Tab")
        tab.page.get_by_role("button", name="Keep st-1 at this version").click()
        until(lambda: at_station() == (1, True), "the pin is stored")
        tab.page.wait_for_selector("text=stays at version 1 of ring")
        deed = api.get(f"/recipes/{PRODUCT}").json()["deeds"][0]
        assert (deed["act"], deed["version"], deed["note"]) == ("PINNED", 1, "the camera is being moved")
        tab.page.get_by_role("button", name="Unpin st-1").click()
        tab.page.get_by_test_id("stPopoverBody").get_by_role("textbox", name="Why").fill("it stands again")
        tab.page.keyboard.press("Tab")
        tab.page.get_by_role("button", name="Let st-1 use the newest").click()
        until(lambda: at_station() == (2, False), "the pin is gone")
        assert api.delete(where, params={"note": "again"}).status_code == 404
    assert "Traceback" not in tab.text()
    assert tab.errors == []
