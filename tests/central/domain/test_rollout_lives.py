# SPDX-License-Identifier: Apache-2.0
"""Any life of a rollout: whatever stations say and people do, in whatever order, what must never happen does not."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from central.domain.rollout import abort, approve, pause, resume, set_aside, step, with_waves
from central.domain.rollout_conditions import BakePolicy, Seen
from central.domain.rollout_gates import WaveAnswer, WaveOutcome
from central.domain.rollout_plan import ShadowPlan, WavePlan, WaveScope, choose_waves
from central.domain.rollout_shapes import ENDED, Action, Assign, Progress, Rollout, Shadow
from central.domain.rollout_waves import waves_of
from contracts.vocabulary import PackageState, RolloutState, WaveState

NOW = datetime(2026, 1, 1, tzinfo=UTC)
POLICY = BakePolicy(bake_parts=20)
ACTIVE = PackageState.ACTIVE

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


def finished(rollout: Rollout) -> set[int]:
    return {wave.index for wave in rollout.waves if wave.state is WaveState.FINISHED}


class AnyLife(RuleBasedStateMachine):
    """Whatever stations say and people do, in whatever order."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        plan = (WavePlan(WaveScope.COUNT, 1, shadow=ShadowPlan()), WavePlan(needs_approval=True, max_away_share=0.4))
        self.rollout = with_waves(Rollout((), has_previous=True), waves_of(choose_waves(["a", "b", "c", "d"], plan)))
        self.given: list[str] = []
        self.shadowed: list[str] = []
        self.is_passed = False
        self.taken_back: list[str] = []
        self.aside: set[str] = set()
        self.shown: set[str] = set()
        self.was_ended = False

    @rule(
        seen=st.dictionaries(st.sampled_from("abcd"), SEEN),
        seconds=st.sampled_from([1, 30, 90, 700]),
        heard=st.booleans(),
        held=st.sets(st.sampled_from("abcd")),
        gate=st.sampled_from(
            [None, WaveOutcome.PASSED, WaveOutcome.PASSED, WaveOutcome.NOT_ENOUGH_EVIDENCE, WaveOutcome.FAILED]
        ),
        limit=st.sampled_from([None, *[WaveOutcome.PASSED] * 4, WaveOutcome.NOT_ENOUGH_EVIDENCE, WaveOutcome.FAILED]),
    )
    def look(
        self,
        *,
        seen: dict[str, Seen],
        seconds: float,
        heard: bool,
        held: set[str],
        gate: WaveOutcome | None,
        limit: WaveOutcome | None,
    ) -> None:
        self.now += timedelta(seconds=seconds)
        facts = {name: replace(item, heard_at=self.now if heard else None) for name, item in seen.items()}
        for name, item in facts.items():
            if item.package_state is ACTIVE and item.judged >= POLICY.bake_parts:
                self.shown.add(name)
        before = self.rollout
        gates = {} if gate is None or self.is_passed else {0: WaveAnswer(gate, ("seen",), {})}
        self.is_passed = self.is_passed or gate is WaveOutcome.PASSED
        limits = {} if limit is None else dict.fromkeys((0, 1), WaveAnswer(limit, ("counted",), {}))
        self.rollout, actions = step(
            before, facts, POLICY, self.now, held=dict.fromkeys(held, "frozen"), gates=gates, limits=limits
        )
        if limit is not WaveOutcome.PASSED:
            assert finished(self.rollout) == finished(before)
        if limit is WaveOutcome.FAILED and before.state not in (*ENDED, RolloutState.READY):
            assert self.rollout.state is RolloutState.ERROR
        touched = {action.station for action in actions if isinstance(action, Assign | Shadow)}
        assert not (held - set(self.shadowed)) & touched
        self.note(before, actions)

    @rule(seconds=st.integers(1, 500))
    def kind_looks(self, seconds: int) -> None:
        """Every station fine: without this few lives would get past the canary."""
        self.now += timedelta(seconds=seconds % 60)
        good = {name: Seen(ACTIVE, judged=30, heard_at=self.now) for name in "abcd"}
        self.shown.update("abcd")
        before = self.rollout
        passed = dict.fromkeys((0, 1), WaveAnswer(WaveOutcome.PASSED, (), {}))
        self.rollout, actions = step(before, good, POLICY, self.now, limits=passed)
        self.note(before, actions)

    @rule()
    def pause(self) -> None:
        self.rollout = pause(self.rollout, "anna", self.now)

    @rule()
    def resume(self) -> None:
        self.rollout = resume(self.rollout, "anna", self.now)

    @rule()
    def approve(self) -> None:
        before = self.rollout
        self.rollout = approve(before, "anna", self.now)
        assert (self.rollout != before) == (before.state is RolloutState.WAITING_FOR_APPROVAL)

    @rule(station=st.sampled_from("abcd"))
    def set_aside(self, station: str) -> None:
        before = self.rollout
        self.rollout, actions = set_aside(before, station, "anna", self.now)
        self.aside.update(action.station for action in actions)
        self.note(before, actions)

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
            elif isinstance(action, Shadow):
                assert action.station not in [*self.given, *self.shadowed]
                self.shadowed.append(action.station)
            else:
                assert action.station in [*self.given, *self.shadowed]
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
            assert {*self.given, *self.shadowed} == set(self.taken_back)
        if self.rollout.state is RolloutState.FINISHED:
            assert {*self.given, *self.aside} == {*"abcd"}
            assert set(self.taken_back) == self.aside

    @invariant()
    def nobody_of_a_wave_in_shadow_is_given_the_package_before_its_gates_have_passed(self) -> None:
        if not self.is_passed:
            assert not self.given

    @invariant()
    def nobody_is_touched_in_a_wave_that_was_not_approved(self) -> None:
        for wave in self.rollout.waves:
            if wave.plan.needs_approval and wave.approved_by is None:
                assert all(item.progress is Progress.WAITING for item in wave.stations)

    @invariant()
    def a_finished_wave_lacks_no_more_stations_than_its_plan_allows(self) -> None:
        for wave in self.rollout.waves:
            if wave.state is WaveState.FINISHED:
                away = sum(item.progress is Progress.AWAY for item in wave.stations)
                assert away <= wave.plan.max_away_share * len(wave.stations)

    @invariant()
    def asking_again_changes_nothing_once_it_has_ended(self) -> None:
        if self.rollout.state in ENDED:
            assert step(self.rollout, {}, POLICY, self.now) == (self.rollout, ())


TestAnyLife = AnyLife.TestCase
TestAnyLife.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
