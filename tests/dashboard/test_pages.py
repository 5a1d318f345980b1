# SPDX-License-Identifier: Apache-2.0
"""The pages without a browser: full, empty, without central, without a token."""

from __future__ import annotations

from html import unescape

import pytest

from central.api.rollout_schemas import WayBack
from central.domain.audit import PoolCut
from contracts.vocabulary import RolloutState
from dashboard import words
from tests.dashboard.conftest import Opener, texts
from tests.dashboard.learning_story import NEW, OLD, STATIONS, TRIAL
from tests.dashboard.stub_central import StubCentral

PAGES = (
    "overview", "line", "quality", "audit", "packages", "gates", "experiments", "lineage", "rollouts", "recipes",
    "alarms",
)  # fmt: skip


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


@pytest.mark.parametrize("page", ["overview", "line"])
def test_shares_say_from_when_on_audits_are_counted(opened: Opener, central: StubCentral, page: str) -> None:
    assert "Audits of parts since" not in texts(opened(page))
    central.story.audits_since_cut = PoolCut.PACKAGE
    assert "only: the package was changed then" in texts(opened(page))
    central.story.audits_since_cut = PoolCut.ALARM
    assert "only: an alarm on escapes was raised or closed then" in texts(opened(page))


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


def test_packages_page_shows_what_each_station_measured_and_which_way_it_runs(opened: Opener) -> None:
    shown = texts(opened("packages"))
    assert "2 threads, 9.8" in shown
    rows = [row for row in shown.split("<tr>") if "<td>CPUExecutionProvider</td>" in row or "<td>CUDAEx" in row]
    assert [">runs<" in row for row in rows] == [False, True, False]
    assert f"16{words.THIN}ms" in rows[0] or f"16.1{words.THIN}ms" in rows[0]
    assert "cannot run so" in rows[2]
    assert "fell back to &lt;the CPU&gt;" in rows[2]


def test_time_of_capture_that_cannot_be_trusted_says_so(opened: Opener, central: StubCentral) -> None:
    assert "time not trusted" not in texts(opened("line"))
    central.story.clock_error_s = -3600.0
    said = f"time not trusted: by its station's steady clock 60{words.THIN}min behind"
    assert said in unescape(texts(opened("line")))


def test_rollout_buttons_reach_central_with_an_engineers_token(opened: Opener, central: StubCentral) -> None:
    app = opened("packages", token="engineer-secret")
    app.button(key="rollout-3-pause").click().run()
    assert central.story.actions == ["/rollouts/3/pause"]


def test_rollout_buttons_say_no_to_a_viewers_token(opened: Opener, central: StubCentral) -> None:
    app = opened("packages")
    after = app.button(key="rollout-3-abort").click().run()
    assert central.story.actions == []
    assert "expected role ENGINEER, got VIEWER" in texts(after)


def test_a_rollout_page_shows_what_each_gate_said_and_on_which_figures(opened: Opener) -> None:
    shown = texts(opened("rollouts"))
    assert "the new package right in 10 of 11 labelled discordant parts" in shown
    assert "alone right in 0, alone wrong in 0 of 12 parts, 12 wait for a label; may be worse by 2.0" in shown
    assert "in 1 of 12 parts, the champion itself in 0" in shown
    for said in ("promote", "not enough yet", "of a later version", "abort"):
        assert said in shown


def test_a_rollout_page_shows_each_step_with_its_facts_and_the_parts_it_was_exposed_to(opened: Opener) -> None:
    shown = texts(opened("rollouts"))
    assert "canary line-1/st-1 active" in shown
    assert f"judged 60, diverted 3, extra high 6.0{words.THIN}%" in shown
    assert "heard at 20" not in shown
    assert words.count(1204) in shown
    assert "Waits for" in shown
    assert "last word: DOWNLOADING" in shown


def test_a_rollout_page_lists_the_parts_that_its_package_let_pass_by_score(opened: Opener) -> None:
    shown = texts(opened("rollouts"))
    assert f"the 2 of {words.count(1204)} that came nearest to its limit" in shown
    assert "&lt;P-77&gt;" in shown
    assert "0.988" in shown
    assert "report 2/7" in shown


def test_a_rollout_page_shows_the_limits_with_numbers_denominators_and_what_has_none(opened: Opener) -> None:
    shown = texts(opened("rollouts"))
    assert "18 of 60 (30.0%)" in shown
    assert "60 of 400 (15.0%)" in shown
    assert "3 now, 2 before" in shown
    assert "of 80 in the wave" in shown
    assert "expected a past of at least 20 independent chunks" in shown


def test_a_wave_that_waits_is_approved_and_a_station_set_aside(opened: Opener, central: StubCentral) -> None:
    app = opened("rollouts", token="engineer-secret")
    app.button(key="rollout-3-aside").click().run()
    assert central.story.actions == [f"/rollouts/3/set-aside {STATIONS[1]}"]
    central.story.rollout_state = RolloutState.WAITING_FOR_APPROVAL
    app = opened("rollouts", token="engineer-secret")
    app.button(key="rollout-3-approve").click().run()
    assert central.story.actions[1:] == ["/rollouts/3/approve wave 2"]


def test_a_station_can_be_set_aside_while_the_rollout_is_paused(opened: Opener, central: StubCentral) -> None:
    central.story.rollout_state = RolloutState.PAUSED
    app = opened("rollouts", token="engineer-secret")
    app.button(key="rollout-3-aside").click().run()
    assert central.story.actions == [f"/rollouts/3/set-aside {STATIONS[1]}"]


def test_what_stations_ran_before_and_whether_they_are_back_is_shown(opened: Opener, central: StubCentral) -> None:
    shown = texts(opened("rollouts", token="engineer-secret"))
    # Not the champion alone: one of the stations ran the package of a trial.
    assert f"again what it ran before: package {words.short(TRIAL)} or package {words.short(OLD)}. Needs" in shown
    for state, said in (
        ("ORDERED", "ordered back to"),
        ("BACK", "by its own word"),
        ("REFUSED", "refuses to go back</b> to"),
    ):
        back = {"state": state, "package_id": TRIAL, "since": central.story.now, "detail": "disk <full>"}
        central.story.way_back = WayBack.model_validate(back)
        shown = texts(opened("rollouts"))
        assert said in shown
        assert "disk &lt;full&gt;" in shown


def test_a_station_that_holds_its_wave_up_in_shadow_can_be_set_aside(opened: Opener, central: StubCentral) -> None:
    central.story.rollout_progress = "SHADOW"
    app = opened("rollouts", token="engineer-secret")
    app.button(key="rollout-3-aside").click().run()
    assert central.story.actions == [f"/rollouts/3/set-aside {STATIONS[1]}"]


def test_a_freeze_is_made_from_its_form_and_lifted(opened: Opener, central: StubCentral) -> None:
    app = opened("rollouts", token="engineer-secret")
    app.text_input(key="freeze-reason").input("stock-taking")
    app.button(key="FormSubmitter:new-freeze-Freeze").click().run()
    assert central.story.actions == ["/freezes stock-taking"]
    app.button(key="freeze-1-lift").click().run()
    assert central.story.actions[1:] == ["/freezes/1/lift"]


def test_a_viewer_is_told_that_a_freeze_was_not_made(opened: Opener, central: StubCentral) -> None:
    app = opened("rollouts")
    app.text_input(key="freeze-reason").input("stock-taking")
    after = app.button(key="FormSubmitter:new-freeze-Freeze").click().run()
    assert central.story.actions == []
    assert "expected role ENGINEER, got VIEWER" in texts(after)


def test_policies_are_shown_with_names_that_nobody_knows_and_ended(opened: Opener, central: StubCentral) -> None:
    shown = texts(opened("rollouts"))
    assert "critical" in shown
    assert "begins by hand, 4 waves" in shown
    assert shown.count("never heard of") == 1
    assert "brakes: &lt;look&gt; first" in shown
    app = opened("rollouts", token="engineer-secret")
    app.button(key="policy-rign-end").click().run()
    assert central.story.actions == ["DELETE /rollout-policies/rign"]


def test_a_viewer_is_told_that_a_policy_was_not_ended(opened: Opener, central: StubCentral) -> None:
    after = opened("rollouts").button(key="policy-rign-end").click().run()
    assert central.story.actions == []
    assert "The policy was not ended" in texts(after)


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


def test_a_training_tells_where_it_ran_and_what_it_said_when_asked(opened: Opener, central: StubCentral) -> None:
    app = opened("packages")
    assert "on ray · attempt 2 · lost once · gave way once" in texts(app)
    assert "GET /trainings/t-2/log" not in central.asked
    app.toggle(key="log-of-t-2").set_value(True).run()
    (said,) = [each.value for each in app.code if "fitting" in each.value]
    assert said.endswith("fitting <head>: done")
    assert "the last 16" in texts(app)


def test_the_queue_of_trainings_says_what_each_waits_for(opened: Opener) -> None:
    shown = texts(opened("packages"))
    assert shown.index("t-4") < shown.index("t-3")
    assert "1 job of site &lt;demo&gt; run, its quota is 1" in shown


def test_a_training_tells_what_it_took_and_what_an_improvement_cost(opened: Opener) -> None:
    shown = texts(opened("packages"))
    assert f"waited {words.seconds(95)} · ran {words.seconds(61)} · CPU {words.seconds(118)} · 734.0" in shown
    assert "about 0.33 Wh (estimated) · 0.0123 EUR" in shown
    assert "For each promoted" in shown
