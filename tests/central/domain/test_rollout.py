# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from central.domain.rollout import (
    ENDED,
    Action,
    Assign,
    Progress,
    RollBack,
    Rollout,
    abort,
    pause,
    plan_waves,
    resume,
    step,
    with_waves,
)
from central.domain.rollout_conditions import BakePolicy, Seen, allowed_diverted
from contracts.vocabulary import PackageState, RolloutState, WaveState

NOW = datetime(2026, 1, 1, tzinfo=UTC)
POLICY = BakePolicy(bake_parts=20)
ACTIVE = PackageState.ACTIVE


def begun(*stations: str, canary: int = 1, has_previous: bool = True) -> Rollout:
    planned = with_waves(Rollout((), has_previous=has_previous), plan_waves(stations, canary))
    return step(planned, {}, POLICY, NOW)[0]


def look(
    rollout: Rollout, after_s: float, policy: BakePolicy = POLICY, **seen: Seen
) -> tuple[Rollout, tuple[Action, ...]]:
    now = NOW + timedelta(seconds=after_s)
    heard = {name: replace(facts, heard_at=facts.heard_at or now) for name, facts in seen.items()}
    return step(rollout, heard, policy, now)


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
        # Nothing heard at all.
        (Seen(heard_at=NOW), POLICY.lost_after_s + 1, "nothing heard of the station for"),
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


def test_an_active_station_without_parts_is_never_a_success() -> None:
    rollout, _ = look(begun("a"), 1, a=Seen(ACTIVE))
    rollout, _ = look(rollout, 1 + POLICY.bake_timeout_s, a=Seen(ACTIVE))
    assert rollout.state is RolloutState.RUNNING
    rollout, actions = look(rollout, 3 + POLICY.bake_timeout_s, a=Seen(ACTIVE))
    assert (rollout.state, actions) == (RolloutState.ERROR, (RollBack("a"),))


def test_a_station_that_is_done_and_errs_later_still_ends_the_rollout() -> None:
    rollout, _ = look(begun("a", "b"), 1, a=Seen(ACTIVE))
    rollout, _ = look(rollout, 2, a=BAKED)
    rollout, actions = look(rollout, 3, a=Seen(ACTIVE, judged=40, no_decision=30), b=BAKING)
    assert rollout.state is RolloutState.ERROR
    assert set(actions) == {RollBack("a"), RollBack("b")}


def test_pause_touches_no_further_station_and_stops_the_clock() -> None:
    rollout, _ = look(begun("a", "b"), 1, a=Seen(ACTIVE))
    rollout = pause(rollout, "anna", NOW)
    rollout, actions = look(rollout, POLICY.bake_timeout_s * 3, a=BAKED)
    assert (rollout.state, actions) == (RolloutState.PAUSED, ())
    rollout = resume(rollout, "anna", NOW + timedelta(seconds=POLICY.bake_timeout_s * 3))
    rollout, actions = look(rollout, POLICY.bake_timeout_s * 3 + 1, a=BAKED)
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


SEEN = st.builds(
    Seen,
    package_state=st.sampled_from([None, *PackageState]),
    refusal=st.sampled_from([None, None, None, "DISK"]),
    heard_at=st.none(),
    judged=st.integers(0, 60),
    diverted=st.integers(0, 3),
    no_decision=st.sampled_from([0, 0, 1, 40]),
    past_judged=st.sampled_from([0, 500]),
    past_diverted=st.integers(0, 20),
).map(
    # Counts that can be: no more diverted than judged.
    lambda seen: replace(
        seen, diverted=min(seen.diverted, seen.judged), past_diverted=min(seen.past_diverted, seen.past_judged)
    )
)


class AnyLife(RuleBasedStateMachine):
    """Whatever stations say and people do, in whatever order."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.rollout = with_waves(Rollout((), has_previous=True), plan_waves(["a", "b", "c", "d"], 1))
        self.given: list[str] = []
        self.taken_back: list[str] = []
        self.shown: set[str] = set()
        self.was_ended = False

    @rule(
        seen=st.dictionaries(st.sampled_from("abcd"), SEEN),
        seconds=st.sampled_from([1, 30, 90, 700]),
        heard=st.booleans(),
    )
    def look(self, seen: dict[str, Seen], seconds: float, heard: bool) -> None:
        self.now += timedelta(seconds=seconds)
        facts = {name: replace(item, heard_at=self.now if heard else None) for name, item in seen.items()}
        for name, item in facts.items():
            if item.package_state is ACTIVE and item.judged >= POLICY.bake_parts:
                self.shown.add(name)
        before = self.rollout
        self.rollout, actions = step(before, facts, POLICY, self.now)
        self.note(before, actions)

    @rule(seconds=st.integers(1, 500))
    def kind_looks(self, seconds: int) -> None:
        """Every station fine: without this few lives would get past the canary."""
        self.now += timedelta(seconds=seconds % 60)
        good = {name: Seen(ACTIVE, judged=30, heard_at=self.now) for name in "abcd"}
        self.shown.update("abcd")
        before = self.rollout
        self.rollout, actions = step(before, good, POLICY, self.now)
        self.note(before, actions)

    @rule()
    def pause(self) -> None:
        self.rollout = pause(self.rollout, "anna", self.now)

    @rule()
    def resume(self) -> None:
        self.rollout = resume(self.rollout, "anna", self.now)

    @precondition(lambda self: len(self.given) > 1)
    @rule()
    def abort(self) -> None:
        before = self.rollout
        self.rollout, actions = abort(before, "anna", self.now)
        self.note(before, actions)

    def note(self, before: Rollout, actions: tuple[Action, ...]) -> None:
        if before.state in ENDED:
            assert actions == ()
        for action in actions:
            if isinstance(action, Assign):
                assert before.state in (RolloutState.READY, RolloutState.RUNNING)
                assert self.rollout.state is RolloutState.RUNNING
                assert action.station not in self.given
                self.given.append(action.station)
            else:
                assert action.station in self.given
                assert action.station not in self.taken_back
                self.taken_back.append(action.station)

    @invariant()
    def never_two_waves_run(self) -> None:
        running = [wave for wave in self.rollout.waves if wave.state is WaveState.RUNNING]
        assert len(running) <= 1
        if self.rollout.state in ENDED:
            assert not running

    @invariant()
    def no_later_wave_before_an_earlier_one_is_done(self) -> None:
        canary, rest = self.rollout.waves
        if any(item.progress is not Progress.WAITING for item in rest.stations):
            assert canary.finished_at is not None

    @invariant()
    def no_data_is_never_success(self) -> None:
        for wave in self.rollout.waves:
            for item in wave.stations:
                if item.progress is Progress.DONE:
                    assert item.station in self.shown

    @invariant()
    def an_end_without_success_leaves_no_station_on_the_new_package(self) -> None:
        if self.rollout.state in (RolloutState.ERROR, RolloutState.STOPPED):
            assert sorted(self.given) == sorted(self.taken_back)
        if self.rollout.state is RolloutState.FINISHED:
            assert sorted(self.given) == ["a", "b", "c", "d"]
            assert self.taken_back == []

    @invariant()
    def asking_again_changes_nothing_once_it_has_ended(self) -> None:
        if self.rollout.state in ENDED:
            assert step(self.rollout, {}, POLICY, self.now) == (self.rollout, ())


TestAnyLife = AnyLife.TestCase
TestAnyLife.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
