# SPDX-License-Identifier: Apache-2.0
"""What becomes of stations with the package of a trial once a rollout to everybody ends, well or not."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlmodel import select

from central.domain.rollout_plan import RolloutPlan, ShadowPlan, WavePlan, WaveScope
from central.domain.rollout_shapes import Progress
from central.errors import ConflictError
from central.services.rollouts.state import state_of
from central.settings import RolloutSettings
from central.store.learning_tables import Alarm
from contracts.vocabulary import AlarmKind, RolloutState, Verdict
from tests.central.services.bench import PRODUCT, Bench, FakeStation
from tests.central.services.lines import line
from tests.central.services.test_called_back import come_back, leave, said
from tests.central.services.test_rollout_shadow import Line

OK, NG = Verdict.OK, Verdict.NG
TWO_WAVES = RolloutPlan(waves=(WavePlan(WaveScope.COUNT, 1, control=None), WavePlan(WaveScope.ALL, control=None)))
SHADOWED = RolloutPlan(
    waves=(
        WavePlan(WaveScope.COUNT, 1, shadow=ShadowPlan(margin=0.05), control=None),
        WavePlan(WaveScope.ALL, control=None),
    )
)


@dataclass
class Trial:
    """`first` runs the package `trial` by a trial, all others the champion."""

    bench: Bench
    first: FakeStation
    second: FakeStation
    champion: str
    trial: str

    def start(self, package_id: str, plan: RolloutPlan | None = None) -> None:
        self.bench.rollouts.start(package_id, [], None, "to all", self.bench.clock.now(), plan=plan)
        self.bench.tick(3)

    def show(self, station: FakeStation, parts: int = 20) -> None:
        self.bench.report(station, [OK] * parts)
        self.bench.tick(5)

    def alarms(self) -> list[Alarm]:
        with self.bench.database.read() as session:
            return list(session.exec(select(Alarm).where(Alarm.kind == AlarmKind.ROLLOUT_FAILED)).all())


@pytest.fixture(name="trial")
def _trial(bench: Bench, tmp_path: Path) -> Trial:
    (first, second), champion = line(bench, tmp_path, "st-1", "st-2")
    bench.build(rollout=RolloutSettings(is_automatic=False, bake_parts=20))
    package = bench.register(2, tmp_path, champion=champion)
    bench.rollouts.start(package, [str(first.address)], None, "trial", bench.clock.now())
    bench.tick(2)
    bench.report(first, [OK] * 20)
    bench.tick(4)
    assert bench.rollout().state is RolloutState.FINISHED
    assert (first.running[PRODUCT], bench.champion()) == (package, champion)
    return Trial(bench, first, second, champion, package)


@pytest.mark.parametrize("is_withdrawn", [False, True])
def test_who_was_away_as_the_champion_was_rolled_out_again_gets_it(trial: Trial, is_withdrawn: bool) -> None:
    bench = trial.bench
    leave(bench, trial.first)
    if is_withdrawn:
        bench.repository.withdraw(trial.trial, bench.clock.now())
    trial.start(trial.champion)
    trial.show(trial.second)
    assert bench.rollout().state is RolloutState.FINISHED
    come_back(bench, trial.first)
    bench.tick(3)
    assert trial.first.running == {PRODUCT: trial.champion}


def test_who_made_another_product_meanwhile_gets_it_too(trial: Trial) -> None:
    bench = trial.bench
    bench.clock.advance(25 * 3600)
    bench.heartbeat(trial.first)
    bench.heartbeat(trial.second)
    bench.report(trial.second, [OK] * 5)
    trial.start(trial.champion)
    trial.show(trial.second)
    assert bench.rollout().state is RolloutState.FINISHED
    bench.tick(5)
    assert trial.first.running == {PRODUCT: trial.champion}


def test_who_missed_the_trial_is_not_given_it_after_the_champion_was_rolled_out_again(
    bench: Bench, tmp_path: Path
) -> None:
    (first, second), champion = line(bench, tmp_path, "st-1", "st-2")
    third = bench.add_station("st-3")
    bench.tick(2)
    bench.report(third, ([OK] * 19 + [NG]) * 5)
    bench.build(rollout=RolloutSettings(is_automatic=False, bake_parts=20))
    plant = object.__new__(Line)
    plant.bench, plant.first, plant.champion = bench, first, champion
    package = plant.challenger = bench.register(2, tmp_path, champion=champion)
    wave = WavePlan(WaveScope.COUNT, 2, max_away_share=0.5, shadow=ShadowPlan(margin=0.05), control=None)
    some = [str(first.address), str(second.address)]
    bench.rollouts.start(package, some, None, "a trial", bench.clock.now(), plan=RolloutPlan(waves=(wave,)))
    bench.tick(2)
    leave(bench, second)
    plant.judge([(OK, OK)] * 900)
    bench.tick(3)
    bench.report(first, [OK] * 20)
    bench.tick(4)
    assert bench.rollout().state is RolloutState.FINISHED
    bench.rollouts.start(champion, [], None, "everybody back", bench.clock.now())
    for _ in range(6):
        bench.tick(3)
        for station in (first, third):
            bench.report(station, [OK] * 20)
    assert (bench.rollout().package_id, bench.rollout().state) == (champion, RolloutState.FINISHED)
    come_back(bench, second)
    bench.tick(5)
    assert second.running == {PRODUCT: champion}


def fails(trial: Trial) -> None:
    trial.show(trial.second)
    assert trial.second.running[PRODUCT] == trial.trial
    # By now the second wave, st-1, has been given it as well.
    trial.bench.report(trial.second, [NG] * 60)
    trial.bench.tick(6)
    assert trial.bench.rollout().state is RolloutState.ERROR


def is_aborted(trial: Trial) -> None:
    trial.show(trial.second)
    trial.bench.rollouts.abort(trial.bench.rollout().id or 0, "anna", trial.bench.clock.now())
    trial.bench.tick(3)


def is_withdrawn(trial: Trial) -> None:
    trial.show(trial.second)
    trial.bench.repository.withdraw(trial.trial, trial.bench.clock.now())
    trial.bench.tick(5)


@pytest.mark.parametrize("ends", [fails, is_aborted, is_withdrawn])
def test_package_that_is_taken_back_stays_nowhere_though_it_was_there_by_a_trial(
    trial: Trial, ends: Callable[[Trial], None]
) -> None:
    trial.start(trial.trial, TWO_WAVES)
    ends(trial)
    assert {PRODUCT: trial.champion} == trial.first.running == trial.second.running
    told = " ".join(said(trial.bench))
    assert f"st-1 goes back to package {trial.champion[:12]}: the one before, {trial.trial[:12]}, is the one" in told
    assert all("before was ordered back at plant/line-1/st-1" not in alarm.remedy for alarm in trial.alarms())


def test_station_of_a_trial_that_the_rollout_had_not_come_to_is_named(trial: Trial) -> None:
    trial.start(trial.trial, TWO_WAVES)
    trial.bench.report(trial.second, [NG] * 60)
    trial.bench.tick(6)
    assert trial.bench.rollout().state is RolloutState.ERROR
    assert trial.first.running[PRODUCT] == trial.trial
    assert said(trial.bench)[-1].endswith(f"where this rollout had not come: {trial.first.address}")
    (alarm,) = trial.alarms()
    assert f"still judges at {trial.first.address}, where this rollout had not come" in alarm.remedy


def test_champion_that_is_rolled_out_again_and_called_off_stays_where_it_was(trial: Trial) -> None:
    trial.start(trial.champion, TWO_WAVES)
    trial.show(trial.first)
    assert str(trial.second.address) in state_of(trial.bench.rollout()).touched
    trial.bench.rollouts.abort(trial.bench.rollout().id or 0, "anna", trial.bench.clock.now())
    trial.bench.tick(3)
    ordered = {item.package_id for order in trial.second.assignments for item in order.packages}
    assert ordered == {trial.champion}
    assert trial.first.running == {PRODUCT: trial.trial}
    assert "still judges" not in " ".join(said(trial.bench))


def test_shadow_is_judged_where_the_package_does_not_run_already(trial: Trial) -> None:
    trial.start(trial.trial, SHADOWED)
    canary, rest = state_of(trial.bench.rollout()).waves
    assert [(item.station, item.progress) for item in canary.stations] == [(str(trial.second.address), Progress.SHADOW)]
    assert [item.has_it for item in (*canary.stations, *rest.stations)] == [False, True]


def test_station_that_has_it_already_is_assigned_beside_those_in_shadow(trial: Trial) -> None:
    shadow = WavePlan(WaveScope.ALL, max_away_share=0.5, shadow=ShadowPlan(margin=0.05), control=None)
    trial.start(trial.trial, RolloutPlan(waves=(shadow,)))
    for _ in range(3):
        trial.show(trial.first, 30)
    (wave,) = state_of(trial.bench.rollout()).waves
    assert {item.station: item.progress for item in wave.stations} == {
        str(trial.first.address): Progress.DONE,
        str(trial.second.address): Progress.SHADOW,
    }
    # Nobody but the second can show it: the wave does not end, nor go on without it.
    assert trial.bench.rollout().state is RolloutState.RUNNING
    leave(trial.bench, trial.second)
    assert state_of(trial.bench.rollout()).waves[0].finished_at is None
    with pytest.raises(ConflictError, match="st-2"):
        trial.bench.rollouts.set_aside(
            trial.bench.rollout().id or 0, str(trial.second.address), "anna", trial.bench.clock.now()
        )


def test_product_of_trials_alone_goes_back_to_the_one_that_finished_a_rollout(bench: Bench, tmp_path: Path) -> None:
    bench.build(rollout=RolloutSettings(is_automatic=False, bake_parts=20))
    first, second = bench.add_station("st-1"), bench.add_station("st-2")
    bad, good = bench.register(1, tmp_path, champion=None), bench.register(2, tmp_path, champion=None)
    for package, station in ((good, second), (bad, first)):
        bench.rollouts.start(package, [str(station.address)], None, "trial", bench.clock.now())
        bench.tick(3)
        bench.report(station, [OK] * 20)
        bench.tick(4)
        assert bench.rollout().state is RolloutState.FINISHED
    assert bench.champion() is None
    plan = RolloutPlan(waves=(WavePlan(WaveScope.ALL, control=None),))
    bench.rollouts.start(bad, [], None, "to all", bench.clock.now(), plan=plan)
    bench.tick(3)
    bench.rollouts.abort(bench.rollout().id or 0, "anna", bench.clock.now())
    bench.tick(3)
    assert {PRODUCT: good} == first.running == second.running
