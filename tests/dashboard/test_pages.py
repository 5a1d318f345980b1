# SPDX-License-Identifier: Apache-2.0
"""The pages without a browser: full, empty, without central, without a token."""

from __future__ import annotations

import pytest

from tests.dashboard.conftest import Opener, texts
from tests.dashboard.learning_story import NEW, OLD
from tests.dashboard.stub_central import StubCentral

PAGES = ("overview", "line", "audit", "packages", "alarms")


@pytest.mark.parametrize("page", PAGES)
def test_page_draws_without_an_exception(opened: Opener, page: str) -> None:
    assert not opened(page).exception


@pytest.mark.parametrize("page", PAGES)
def test_simulated_parts_are_marked_on_every_page(opened: Opener, page: str) -> None:
    assert "SIMULATED" in texts(opened(page))


@pytest.mark.parametrize("page", PAGES)
def test_real_parts_carry_no_simulated_badge(opened: Opener, central: StubCentral, page: str) -> None:
    central.story.is_simulated = False
    assert "SIMULATED" not in texts(opened(page))


@pytest.mark.parametrize("page", PAGES)
def test_times_name_their_zone(opened: Opener, page: str) -> None:
    assert "UTC" in texts(opened(page))


@pytest.mark.parametrize("page", PAGES)
def test_empty_plant_says_what_to_do(opened: Opener, central: StubCentral, page: str) -> None:
    central.story.has_stations = False
    central.story.audits.clear()
    app = opened(page)
    assert not app.exception
    assert "sl-empty" in texts(app)


@pytest.mark.parametrize("page", PAGES)
def test_central_away_shows_a_banner_and_no_traceback(opened: Opener, page: str) -> None:
    app = opened(page, url="http://127.0.0.1:9")
    assert not app.exception
    assert "No answer from central" in texts(app)


@pytest.mark.parametrize("page", PAGES)
def test_stranger_on_the_address_is_named_not_drawn(opened: Opener, central: StubCentral, page: str) -> None:
    central.broken = (200, b"<html>a router</html>")
    app = opened(page)
    assert not app.exception
    assert "same version" in texts(app)


def test_last_known_values_stay_when_central_goes_away(opened: Opener, central: StubCentral) -> None:
    app = opened("line")
    central.broken = (503, b"")
    later = app.run()
    shown = texts(later)
    assert not later.exception
    assert "Live line" in shown
    assert "INSPECTING".lower() in shown.lower()


@pytest.mark.parametrize("page", ["overview", "line"])
def test_station_that_only_ever_beat_was_heard_of(opened: Opener, central: StubCentral, page: str) -> None:
    central.story.are_stations_away = True
    shown = texts(opened(page))
    assert "last heard of" in shown
    assert "last heard of never" not in shown


def test_rate_without_audits_is_not_known_never_zero(opened: Opener, central: StubCentral) -> None:
    central.story.has_audits_judged = False
    shown = texts(opened("overview"))
    assert "not known" in shown
    assert "absence of complaints is not a figure" in shown


def test_rate_stands_with_interval_and_denominator(opened: Opener) -> None:
    shown = texts(opened("line"))
    assert "4 of 331 audited parts" in shown
    assert "interval 0.43\u202f% to 2.8\u202f%" in shown


def test_audit_page_is_blind_to_verdict_and_score(opened: Opener, central: StubCentral) -> None:
    shown = texts(opened("audit")).lower()
    assert "sl-verdict" not in shown
    assert "score" not in shown
    assert "GET /inspections" not in central.asked


def test_packages_page_names_both_packages_and_the_reasons(opened: Opener) -> None:
    shown = texts(opened("packages"))
    assert NEW[:10] in shown
    assert OLD[:10] in shown
    assert "at most 2.1\u202f% of sound parts judged NG" in shown
    assert "lets 1 of 12 held-out defective parts through" in shown
    assert "self-test passed, worst error 0.0021" in shown


def test_rollout_buttons_reach_central_with_an_engineers_token(opened: Opener, central: StubCentral) -> None:
    app = opened("packages", token="engineer-secret")
    app.button(key="rollout-3-pause").click().run()
    assert central.story.actions == ["/rollouts/3/pause"]


def test_rollout_buttons_say_no_to_a_viewers_token(opened: Opener, central: StubCentral) -> None:
    app = opened("packages")
    after = app.button(key="rollout-3-abort").click().run()
    assert central.story.actions == []
    assert "expected role ENGINEER, got VIEWER" in texts(after)


def test_alarm_can_be_taken_on_and_closed(opened: Opener, central: StubCentral) -> None:
    app = opened("alarms", token="engineer-secret")
    app = app.button(key="acknowledge-7").click().run()
    assert central.story.actions == ["/alarms/7/acknowledge"]
    app.button(key="close-7").click().run()
    assert central.story.actions == ["/alarms/7/acknowledge", "/alarms/7/close"]


def test_app_opens_on_the_overview(opened: Opener) -> None:
    app = opened()
    assert not app.exception
    assert "Overview" in texts(app)


def test_without_a_token_the_sign_in_page_asks_for_one(opened: Opener, central: StubCentral) -> None:
    app = opened(token=None)
    assert not app.exception
    assert "Sign in to Sightline" in texts(app)
    assert central.asked == []


def test_sign_in_with_a_good_token_opens_the_overview(opened: Opener) -> None:
    app = opened(token=None)
    app.text_input[0].input("viewer-secret")
    after = app.button[0].click().run()
    assert "Overview" in texts(after)


def test_wrong_token_leads_back_to_sign_in(opened: Opener) -> None:
    shown = texts(opened(token="made-up"))
    assert "Sign in to Sightline" in shown
    assert "unknown token" in shown
