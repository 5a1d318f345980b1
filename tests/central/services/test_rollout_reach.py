# SPDX-License-Identifier: Apache-2.0
"""Whom a rollout is for, on real rows: a trial moves no champion, whoever is silent, idle or yet to come."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from central.domain.calendar import MaintenanceWindow
from central.domain.rollout_plan import RolloutPlan, ShadowPlan, TargetFilter, WavePlan, WaveScope
from central.services.rollouts.planning import plan_of
from central.services.rollouts.state import state_of
from central.settings import RolloutSettings
from contracts.vocabulary import RolloutState, Verdict
from tests.central.services.bench import PRODUCT, Bench, FakeStation
from tests.central.services.lines import line
from tests.central.services.test_rollout_plans import set_policy

OK, NG = Verdict.OK, Verdict.NG
ST1, ST2, ST3 = (f"plant/line-1/st-{number}" for number in (1, 2, 3))
FIRST_ALONE = TargetFilter(stations=(ST1,))
ANY_ALL = (WavePlan(WaveScope.ALL),)
NIGHT = MaintenanceWindow(opens="22:00", closes="04:00")
Away = Callable[[Bench, FakeStation], None]


def by_hand(bench: Bench) -> None:
    bench.build(rollout=RolloutSettings(is_automatic=False, bake_parts=20))


def silenced(bench: Bench, station: FakeStation) -> None:
    bench.stations.pop(str(station.address))
    bench.tick(1, seconds=130)


def idle_for_a_weekend(bench: Bench, station: FakeStation) -> None:
    assert str(station.address) in bench.stations
    bench.clock.advance(26 * 3600)
    bench.tick(1)


def back(bench: Bench, station: FakeStation) -> None:
    bench.stations[str(station.address)] = station
    bench.heartbeat(station)
    bench.tick(4)


def finish(bench: Bench, *stations: FakeStation) -> None:
    for _ in range(4):
        bench.tick(2)
        for station in stations:
            bench.report(station, [OK] * 20)
    bench.tick(2)
    assert bench.rollout().state is RolloutState.FINISHED, state_of(bench.rollout()).history


@pytest.mark.parametrize("plan", [None, RolloutPlan((WavePlan(WaveScope.COUNT, 1),))])
def test_a_trial_stays_one_though_the_others_are_silent_as_it_ends(
    bench: Bench, tmp_path: Path, plan: RolloutPlan | None
) -> None:
    (first, second), champion = line(bench, tmp_path, "st-1", "st-2")
    by_hand(bench)
    package = bench.register(2, tmp_path, champion=champion)
    bench.rollouts.start(package, [ST1], None, "a trial", bench.clock.now(), plan=plan)
    bench.tick(2)
    silenced(bench, second)
    finish(bench, first)
    assert f"moves no champion: leaves out {ST2}" in state_of(bench.rollout()).history[-1]
    back(bench, second)
    assert bench.champion() == champion
    assert second.running[PRODUCT] == champion
    assert first.running[PRODUCT] == package


@pytest.mark.parametrize("away", [silenced, idle_for_a_weekend])
def test_a_station_that_the_policy_leaves_out_is_given_nothing_when_it_is_back(
    bench: Bench, tmp_path: Path, away: Away
) -> None:
    (first, second), champion = line(bench, tmp_path, "st-1", "st-2")
    set_policy(bench, RolloutPlan(target=FIRST_ALONE))
    away(bench, second)
    bench.report(first, [OK] * 20)
    package = bench.register(2, tmp_path, champion=champion)
    finish(bench, first)
    assert bench.champion() == package
    back(bench, second)
    assert second.running[PRODUCT] == champion


def test_a_station_that_the_policy_leaves_out_is_given_no_first_package_either(bench: Bench, tmp_path: Path) -> None:
    first, second = bench.add_station("st-1"), bench.add_station("st-2")
    set_policy(bench, RolloutPlan(target=FIRST_ALONE))
    package = bench.register(1, tmp_path, champion=None)
    bench.tick(8)
    third = bench.add_station("st-3")
    bench.tick(4)
    assert first.running[PRODUCT] == bench.champion() == package
    assert PRODUCT not in second.running
    assert PRODUCT not in third.running


def test_a_filter_for_once_is_a_trial_though_it_takes_all_that_are_there(bench: Bench, tmp_path: Path) -> None:
    (first, second), champion = line(bench, tmp_path, "st-1", "st-2")
    by_hand(bench)
    package = bench.register(2, tmp_path, champion=champion)
    plan = RolloutPlan(ANY_ALL, TargetFilter(lines=("plant/line-1",)))
    bench.rollouts.start(package, [], None, "line 1", bench.clock.now(), plan=plan)
    finish(bench, first, second)
    assert (first.running[PRODUCT], second.running[PRODUCT]) == (package, package)
    assert bench.champion() == champion
    assert "whoever its target does not take" in state_of(bench.rollout()).history[-1]


def test_naming_every_station_there_is_moves_the_champion(bench: Bench, tmp_path: Path) -> None:
    (first, second), champion = line(bench, tmp_path, "st-1", "st-2")
    by_hand(bench)
    package = bench.register(2, tmp_path, champion=champion)
    bench.rollouts.start(package, [ST2, ST1], 2, "both", bench.clock.now())
    finish(bench, first, second)
    assert bench.champion() == package


def test_naming_all_whom_the_policy_takes_moves_the_champion(bench: Bench, tmp_path: Path) -> None:
    (first, second), champion = line(bench, tmp_path, "st-1", "st-2")
    by_hand(bench)
    set_policy(bench, RolloutPlan(target=FIRST_ALONE))
    package = bench.register(2, tmp_path, champion=champion)
    bench.rollouts.start(package, [ST1], None, "the one there is", bench.clock.now())
    finish(bench, first)
    assert (bench.champion(), second.running[PRODUCT]) == (package, champion)


def test_waves_that_end_before_all_are_reached_move_no_champion(bench: Bench, tmp_path: Path) -> None:
    (first, second), champion = line(bench, tmp_path, "st-1", "st-2")
    by_hand(bench)
    package = bench.register(2, tmp_path, champion=champion)
    plan = RolloutPlan((WavePlan(WaveScope.COUNT, 1),))
    bench.rollouts.start(package, [], None, "one", bench.clock.now(), plan=plan)
    silenced(bench, second)
    finish(bench, first)
    back(bench, second)
    assert (bench.champion(), second.running[PRODUCT]) == (champion, champion)


def test_without_a_champion_the_second_package_is_held_to_what_the_first_did(bench: Bench, tmp_path: Path) -> None:
    first, second = bench.add_station("st-1"), bench.add_station("st-2")
    by_hand(bench)
    one = bench.register(1, tmp_path, champion=None)
    bench.rollouts.start(one, [ST1], None, "a trial", bench.clock.now())
    bench.tick(6)
    assert bench.champion() is None
    bench.report(first, ([OK] * 19 + [NG]) * 20)
    two = bench.register(2, tmp_path, champion=None)
    bench.rollouts.start(two, [ST1], None, "the next", bench.clock.now())
    bench.tick(6)
    row = bench.rollout()
    assert (row.state, row.previous_package_id, row.bake_parts) == (RolloutState.RUNNING, one, 20)
    assert state_of(row).has_previous
    bench.rollouts.abort(row.id or 0, "anna", bench.clock.now())
    bench.tick(2)
    assert first.running[PRODUCT] == one
    assert PRODUCT not in second.running


def test_more_stations_for_a_first_package_wait_for_no_bake(bench: Bench, tmp_path: Path) -> None:
    bench.add_station("st-1")
    bench.add_station("st-2")
    by_hand(bench)
    one = bench.register(1, tmp_path, champion=None)
    for stations in ([ST1], [ST1, ST2]):
        bench.rollouts.start(one, stations, 2, "step by step", bench.clock.now())
        bench.tick(6)
        assert bench.rollout().state is RolloutState.FINISHED


def test_how_many_go_first_leaves_the_rest_of_the_policy_as_it_is(bench: Bench, tmp_path: Path) -> None:
    _, champion = line(bench, tmp_path, "st-1", "st-2", "st-3")
    by_hand(bench)
    waves = (WavePlan(WaveScope.COUNT, 1, shadow=ShadowPlan(), bake_parts=500), WavePlan(WaveScope.ALL))
    policy = RolloutPlan(waves, FIRST_ALONE, (NIGHT,))
    set_policy(bench, policy)
    package = bench.register(2, tmp_path, champion=champion)
    bench.rollouts.start(package, [], 2, "two first", bench.clock.now())
    assert plan_of(bench.rollout()) == replace(policy, waves=(replace(waves[0], amount=2), waves[1]))


@pytest.mark.parametrize("unsaid", [frozenset(), frozenset({"windows"}), frozenset({"target", "windows"})])
def test_what_a_plan_leaves_unsaid_is_as_the_policy_says(bench: Bench, tmp_path: Path, unsaid: frozenset[str]) -> None:
    _, champion = line(bench, tmp_path, "st-1", "st-2")
    by_hand(bench)
    set_policy(bench, RolloutPlan(target=FIRST_ALONE, windows=(NIGHT,)))
    package = bench.register(2, tmp_path, champion=champion)
    for is_new in (True, False):
        begun = bench.rollouts.start(
            package, [], None, "by hand", bench.clock.now(), plan=RolloutPlan(ANY_ALL), inherits=unsaid
        )
        assert begun.is_new is is_new
    plan = plan_of(bench.rollout())
    assert plan.windows == ((NIGHT,) if "windows" in unsaid else ())
    assert plan.target == (FIRST_ALONE if "target" in unsaid else TargetFilter())
    assert plan.waves == ANY_ALL
