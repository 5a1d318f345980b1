# SPDX-License-Identifier: Apache-2.0
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from central.domain.rollout import abort, approve, pause, resume, set_aside, step, with_waves
from central.domain.rollout_conditions import BakePolicy, Seen, allowed_diverted
from central.domain.rollout_gates import WaveAnswer, WaveOutcome
from central.domain.rollout_plan import WavePlan, WaveScope, choose_waves
from central.domain.rollout_shapes import Action, Assign, Progress, RollBack, Rollout, Wave
from central.domain.rollout_waves import waves_of
from contracts.vocabulary import PackageState, RolloutState, WaveState

NOW = datetime(2026, 1, 1, tzinfo=UTC)
POLICY = BakePolicy(bake_parts=20)
ACTIVE = PackageState.ACTIVE
# Nothing against the package by the stations' own past; test_rollout_limits.py is about that.
LIMITS = {wave: WaveAnswer(WaveOutcome.PASSED, (), {}) for wave in range(9)}


def plan_waves(stations: Sequence[str], canary: int) -> tuple[Wave, ...]:
    return waves_of(choose_waves(stations, (WavePlan(WaveScope.COUNT, canary), WavePlan(WaveScope.ALL))))


def begun(*stations: str, canary: int = 1, has_previous: bool = True) -> Rollout:
    planned = with_waves(Rollout((), has_previous=has_previous), plan_waves(stations, canary))
    return step(planned, {}, POLICY, NOW)[0]


def begun_by(stations: Sequence[str], *plan: WavePlan) -> Rollout:
    planned = with_waves(Rollout((), has_previous=True), waves_of(choose_waves(stations, plan)))
    return step(planned, {}, POLICY, NOW)[0]


def look(
    rollout: Rollout, after_s: float, policy: BakePolicy = POLICY, **seen: Seen
) -> tuple[Rollout, tuple[Action, ...]]:
    now = NOW + timedelta(seconds=after_s)
    heard = {name: replace(facts, heard_at=facts.heard_at or now) for name, facts in seen.items()}
    return step(rollout, heard, policy, now, limits=LIMITS)


BAKED = Seen(ACTIVE, judged=20)
BAKING = Seen(ACTIVE, judged=5)


def test_canary_goes_first_and_the_rest_only_after_it_has_baked() -> None:
    rollout = begun("a", "b", "c")
    assert rollout.touched == ("a",)
    rollout, actions = look(rollout, 1, a=BAKING)
    assert actions == ()
    rollout, actions = look(rollout, 2, a=BAKED)
    assert actions == (Assign("b"), Assign("c"))
    assert [wave.state for wave in rollout.waves] == [WaveState.FINISHED, WaveState.RUNNING]


def test_rollout_finishes_when_every_station_has_baked() -> None:
    rollout, _ = look(begun("a", "b"), 1, a=BAKING)
    rollout, _ = look(rollout, 2, a=BAKED)
    rollout, _ = look(rollout, 3, a=BAKED, b=BAKING)
    rollout, actions = look(rollout, 4, a=BAKED, b=BAKED)
    assert (rollout.state, actions) == (RolloutState.FINISHED, ())
    assert rollout.history[-1].endswith("finished")


def test_a_station_that_waits_for_its_window_is_no_error_and_its_time_runs_from_the_opening() -> None:
    opens = NOW + timedelta(seconds=POLICY.install_timeout_s * 10)
    waiting = Seen(PackageState.DOWNLOADING, heard_at=opens + timedelta(days=1), waits_until=opens)
    rollout = begun("a", "b")
    for after_s in (1, POLICY.install_timeout_s + 1, POLICY.install_timeout_s * 9):
        rollout, actions = look(rollout, after_s, a=waiting)
        assert (rollout.state, actions) == (RolloutState.RUNNING, ())
    assert "maintenance window, which opens at" in rollout.waves[0].stations[0].detail
    same, _ = look(rollout, POLICY.install_timeout_s * 9, a=waiting)
    assert same == rollout
    rollout, _ = look(rollout, POLICY.install_timeout_s * 10.5, a=waiting)
    assert rollout.state is RolloutState.RUNNING
    rollout, actions = look(rollout, POLICY.install_timeout_s * 11 + 2, a=waiting)
    assert (rollout.state, actions) == (RolloutState.ERROR, (RollBack("a"),))


def test_without_a_station_a_rollout_waits() -> None:
    rollout, actions = step(Rollout((), has_previous=False), {}, POLICY, NOW)
    assert (rollout.state, actions) == (RolloutState.READY, ())


def test_a_first_package_needs_only_to_be_active() -> None:
    policy = replace(POLICY, bake_parts=0)
    rollout, _ = look(begun("a", has_previous=False), 1, policy, a=Seen(ACTIVE))
    rollout, _ = look(rollout, 2, policy, a=Seen(ACTIVE))
    assert rollout.state is RolloutState.FINISHED


@pytest.mark.parametrize(
    ("facts", "after_s", "why"),
    [
        (Seen(PackageState.REFUSED, refusal="SELF_TEST worst error 3"), 1, "refused: SELF_TEST"),
        (Seen(PackageState.DOWNLOADING), POLICY.install_timeout_s + 1, "not active within"),
    ],
)
def test_error_before_the_package_is_active_sends_the_station_back(facts: Seen, after_s: float, why: str) -> None:
    rollout, actions = look(begun("a", "b"), after_s, a=facts)
    assert rollout.state is RolloutState.ERROR
    assert actions == (RollBack("a"),)
    assert why in rollout.history[-2]


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        (Seen(ACTIVE, judged=10, no_decision=10), "without a decision"),
        (Seen(ACTIVE, judged=30, diverted=25, past_judged=500, past_diverted=10), "diverted"),
        # No past to compare with: only a flood is an error.
        (Seen(ACTIVE, judged=30, diverted=29), "diverted"),
    ],
)
def test_error_while_baking_sends_every_touched_station_back(facts: Seen, why: str) -> None:
    rollout, _ = look(begun("a", "b", canary=2), 1, a=Seen(ACTIVE), b=Seen(ACTIVE))
    rollout, actions = look(rollout, 2, a=facts, b=BAKING)
    assert rollout.state is RolloutState.ERROR
    assert set(actions) == {RollBack("a"), RollBack("b")}
    assert why in rollout.waves[0].stations[0].detail
    assert [item.progress for item in rollout.waves[0].stations] == [Progress.ERRED, Progress.ROLLED_BACK]


def test_an_active_station_without_parts_is_never_a_success_and_says_that_evidence_is_lacking() -> None:
    rollout, _ = look(begun("a"), 1, a=Seen(ACTIVE))
    for after_s in (1 + POLICY.bake_patience_s, 3 + POLICY.bake_patience_s, 100 * POLICY.bake_patience_s):
        rollout, actions = look(rollout, after_s, a=Seen(ACTIVE))
        assert (rollout.state, actions) == (RolloutState.RUNNING, ())
    assert rollout.waves[0].stations[0].detail.startswith("not enough evidence since 2026-01-01 00:00 UTC: 0 of 20")


def test_a_slow_shift_only_takes_longer() -> None:
    rollout, _ = look(begun("a"), 1, a=Seen(ACTIVE))
    rollout, _ = look(rollout, 20 * POLICY.bake_patience_s, a=BAKING)
    rollout, _ = look(rollout, 40 * POLICY.bake_patience_s, a=BAKED)
    assert rollout.state is RolloutState.FINISHED


def test_a_station_out_of_reach_holds_its_wave_up_and_goes_on_when_it_is_back() -> None:
    rollout, _ = look(begun("a", "b"), POLICY.lost_after_s + 1, a=Seen(heard_at=NOW))
    away = rollout.waves[0].stations[0]
    assert (rollout.state, away.progress) == (RolloutState.RUNNING, Progress.AWAY)
    assert "nothing heard of the station for 121 s, last step ASSIGNED, last word: nothing" in away.detail
    # Nothing it said before it was given up brings it back, however often one looks.
    rollout, actions = look(rollout, 5_000, a=Seen(heard_at=NOW + timedelta(seconds=100)))
    assert (rollout.waves[0].stations[0].progress, actions) == (Progress.AWAY, ())
    rollout, _ = look(rollout, 9_000, a=Seen(PackageState.DOWNLOADING))
    assert rollout.waves[0].stations[0].progress is Progress.ASSIGNED
    rollout, _ = look(rollout, 9_000 + POLICY.install_timeout_s, a=Seen(ACTIVE))
    rollout, actions = look(rollout, 9_001 + POLICY.install_timeout_s, a=BAKED)
    assert actions == (Assign("b"),)


def test_time_in_which_a_station_is_not_heard_is_not_held_against_its_installing() -> None:
    """Silent from 100 s on, given up at 220 s: at 181 s it has had 100 s, not 181."""
    heard = Seen(PackageState.DOWNLOADING, heard_at=NOW + timedelta(seconds=100))
    rollout, _ = look(begun("a"), POLICY.install_timeout_s + 1, a=heard)
    assert (rollout.state, rollout.waves[0].stations[0].progress) == (RolloutState.RUNNING, Progress.ASSIGNED)


def test_a_station_out_of_reach_is_sent_back_too_when_the_rollout_errs() -> None:
    rollout, _ = look(begun("a", "b", canary=2), POLICY.lost_after_s + 1, a=Seen(heard_at=NOW), b=BAKING)
    rollout, actions = look(rollout, 200, a=Seen(heard_at=NOW), b=Seen(PackageState.REFUSED, refusal="DISK"))
    assert set(actions) == {RollBack("a"), RollBack("b")}


def test_a_person_may_set_a_station_aside_that_holds_its_wave_up() -> None:
    rollout, _ = look(begun("a", "b", "c"), 1, a=BAKING)
    rollout, _ = look(rollout, 2, a=BAKED)
    rollout, _ = look(rollout, 3 + POLICY.lost_after_s, a=BAKED, b=Seen(heard_at=NOW), c=BAKING)
    assert set_aside(rollout, "a", "anna", NOW) == (rollout, ())
    rollout, actions = set_aside(rollout, "b", "anna", NOW + timedelta(seconds=200))
    assert actions == (RollBack("b"),)
    rollout, actions = look(rollout, 300, a=BAKED, c=BAKED)
    assert (rollout.state, actions) == (RolloutState.FINISHED, ())
    assert set_aside(rollout, "b", "anna", NOW) == (rollout, ())


def test_a_wave_of_nobody_but_those_set_aside_is_no_success() -> None:
    assert set_aside(begun("a", "b"), "a", "anna", NOW) == (begun("a", "b"), ())
    rollout, actions = set_aside(begun("a", "b", canary=2), "a", "anna", NOW)
    assert actions == (RollBack("a"),)
    assert set_aside(rollout, "b", "anna", NOW) == (rollout, ())
    # As a version that allowed it left it.
    canary = rollout.waves[0]
    aside = tuple(replace(item, progress=Progress.SET_ASIDE) for item in canary.stations)
    hung = replace(rollout, waves=(replace(canary, stations=aside), *rollout.waves[1:]))
    ended, _ = look(hung, 1, a=BAKED, b=BAKED)
    assert ended.state is RolloutState.ERROR
    assert "nobody is left to show it in canary: every station was set aside" in ended.history[-1]


def test_as_many_stations_as_the_plan_allows_may_be_out_of_reach_and_no_more() -> None:
    names = [f"s{number}" for number in range(10)]
    for away, state in ((2, RolloutState.FINISHED), (3, RolloutState.RUNNING)):
        rollout = begun_by(names, WavePlan(max_away_share=0.2))
        seen = {name: Seen(ACTIVE) for name in names} | {name: Seen(heard_at=NOW) for name in names[:away]}
        rollout, _ = look(rollout, POLICY.lost_after_s + 1, POLICY, **seen)
        baked = {name: Seen(ACTIVE, judged=20) if name in names[away:] else Seen(heard_at=NOW) for name in names}
        rollout, _ = look(rollout, POLICY.lost_after_s + 2, POLICY, **baked)
        assert rollout.state is state


def test_a_wave_bakes_as_long_and_on_as_many_parts_as_its_plan_says() -> None:
    rollout = begun_by(["a"], WavePlan(bake_parts=50, bake_s=3_600))
    rollout, _ = look(rollout, 1, a=Seen(ACTIVE))
    for after_s, judged, state in (
        (3_600, 60, RolloutState.RUNNING),
        (3_601, 49, RolloutState.RUNNING),
        (3_602, 50, RolloutState.FINISHED),
    ):
        rollout, _ = look(rollout, after_s, a=Seen(ACTIVE, judged=judged))
        assert rollout.state is state


def test_a_wave_that_needs_approval_waits_for_it_and_one_approval_opens_one_wave() -> None:
    plan = (WavePlan(WaveScope.COUNT, 1), WavePlan(WaveScope.COUNT, 1, needs_approval=True))
    rollout = begun_by(["a", "b", "c"], *plan, WavePlan(needs_approval=True))
    rollout, _ = look(rollout, 1, a=Seen(ACTIVE))
    rollout, actions = look(rollout, 2, a=BAKED)
    assert (rollout.state, actions) == (RolloutState.WAITING_FOR_APPROVAL, ())
    assert look(rollout, 3, a=BAKED) == (rollout, ())
    rollout = approve(rollout, "anna", NOW)
    assert (rollout.state, rollout.waves[1].approved_by) == (RolloutState.RUNNING, "anna")
    rollout, actions = look(rollout, 4, a=BAKED)
    assert actions == (Assign("b"),)
    assert approve(rollout, "anna", NOW) == rollout
    rollout, _ = look(rollout, 5, a=BAKED, b=Seen(ACTIVE))
    rollout, actions = look(rollout, 6, a=BAKED, b=BAKED)
    assert (rollout.state, actions) == (RolloutState.WAITING_FOR_APPROVAL, ())


def test_waiting_for_approval_does_not_hide_an_error() -> None:
    rollout = begun_by(["a", "b"], WavePlan(WaveScope.COUNT, 1), WavePlan(needs_approval=True))
    rollout, _ = look(rollout, 1, a=Seen(ACTIVE))
    rollout, _ = look(rollout, 2, a=BAKED)
    rollout, actions = look(rollout, 3, a=Seen(ACTIVE, judged=40, no_decision=30))
    assert (rollout.state, actions) == (RolloutState.ERROR, (RollBack("a"),))


def test_a_station_that_may_not_be_touched_now_waits_and_the_others_of_its_wave_do_not() -> None:
    planned = with_waves(Rollout((), has_previous=True), plan_waves(["a", "b"], 2))
    rollout, actions = step(planned, {}, POLICY, NOW, held={"b": "frozen until Monday"})
    assert actions == (Assign("a"),)
    assert rollout.waves[0].stations[1].detail == "frozen until Monday"
    facts = {"a": Seen(ACTIVE, judged=20, heard_at=NOW)}
    for seconds in (1, 2, 3):
        now = NOW + timedelta(seconds=seconds)
        rollout, actions = step(rollout, facts, POLICY, now, held={"b": "frozen until Monday"}, limits=LIMITS)
        assert (rollout.state, actions) == (RolloutState.RUNNING, ())
    assert rollout.waves[0].stations[0].progress is Progress.DONE
    rollout, actions = step(rollout, facts, POLICY, NOW + timedelta(seconds=3), limits=LIMITS)
    assert actions == (Assign("b"),)


def test_going_back_is_never_held() -> None:
    rollout, _ = look(begun("a"), 1, a=Seen(ACTIVE))
    facts = {"a": Seen(PackageState.REFUSED, refusal="DISK", heard_at=NOW)}
    _, actions = step(rollout, facts, POLICY, NOW, held={"a": "frozen until Monday"})
    assert actions == (RollBack("a"),)


def test_a_station_that_is_done_and_errs_later_still_ends_the_rollout() -> None:
    rollout, _ = look(begun("a", "b"), 1, a=Seen(ACTIVE))
    rollout, _ = look(rollout, 2, a=BAKED)
    rollout, actions = look(rollout, 3, a=Seen(ACTIVE, judged=40, no_decision=30), b=BAKING)
    assert rollout.state is RolloutState.ERROR
    assert set(actions) == {RollBack("a"), RollBack("b")}


def test_pause_touches_no_further_station_and_stops_the_clock() -> None:
    rollout, _ = look(begun("a", "b"), 1, a=Seen(ACTIVE))
    rollout = pause(rollout, "anna", NOW)
    rollout, actions = look(rollout, POLICY.bake_patience_s * 3, a=BAKED)
    assert (rollout.state, actions) == (RolloutState.PAUSED, ())
    rollout = resume(rollout, "anna", NOW + timedelta(seconds=POLICY.bake_patience_s * 3))
    rollout, actions = look(rollout, POLICY.bake_patience_s * 3 + 1, a=BAKED)
    assert actions == (Assign("b"),)


def test_a_pause_does_not_hide_an_error() -> None:
    rollout, _ = look(begun("a", "b"), 1, a=Seen(ACTIVE))
    rollout, actions = look(pause(rollout, "anna", NOW), 2, a=Seen(PackageState.REFUSED, refusal="DISK"))
    assert (rollout.state, actions) == (RolloutState.ERROR, (RollBack("a"),))


def test_abort_sends_back_what_was_touched_and_nothing_else() -> None:
    rollout, actions = abort(begun("a", "b"), "anna", NOW)
    assert (rollout.state, actions) == (RolloutState.STOPPED, (RollBack("a"),))
    assert rollout.waves[1].stations[0].progress is Progress.WAITING
    assert abort(rollout, "anna", NOW) == (rollout, ())


def test_escapes_that_audits_found_excuse_more_rejects() -> None:
    """A package that mends escapes rejects more, and rightly so."""
    past = Seen(ACTIVE, past_judged=500, past_diverted=5)
    assert allowed_diverted(replace(past, extra_high=0.2), POLICY) == pytest.approx(
        allowed_diverted(past, POLICY) + 0.2
    )


def test_a_short_past_excuses_no_flood_of_rejects() -> None:
    assert allowed_diverted(Seen(ACTIVE, past_judged=80, past_diverted=10), POLICY) <= POLICY.max_diverted_without_past
    assert allowed_diverted(Seen(ACTIVE, past_judged=80, past_diverted=60), POLICY) > 60 / 80


@pytest.mark.parametrize("canary", [1, 2, 5])
def test_waves_hold_each_station_once(canary: int) -> None:
    waves = plan_waves(["a", "b", "a", "c"], canary)
    assert [item.station for wave in waves for item in wave.stations] == ["a", "b", "c"]
    assert len(waves[0].stations) == min(canary, 3)


def test_history_of_a_whole_fleet_is_lines_that_a_person_can_read() -> None:
    names = [f"st-{number:04}" for number in range(2_000)]
    rollout = begun(*names, canary=2_000)
    rollout, actions = abort(rollout, "why", NOW)
    assert len(actions) == 2_000
    assert rollout.history[-1].endswith(
        "sent back to the previous package: st-0000, st-0001, st-0002, st-0003, st-0004 and 1,995 more"
    )
    assert max(len(line) for line in rollout.history) < 200
