# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

from contracts.vocabulary import RolloutState, Verdict
from tests.central.services.bench import PRODUCT, Bench
from tests.central.services.lines import line

OK = Verdict.OK


def test_a_station_that_comes_later_gets_the_champion(bench: Bench, tmp_path: Path) -> None:
    _, champion = line(bench, tmp_path, "st-1")
    late = bench.add_station("st-9")
    bench.tick(2)
    assert late.running == {PRODUCT: champion}


def test_a_station_that_was_away_during_a_rollout_catches_up(bench: Bench, tmp_path: Path) -> None:
    (first, away), champion = line(bench, tmp_path, "st-1", "st-2")
    bench.stations.pop(str(away.address))
    bench.later(seconds=300)
    bench.heartbeat(first)
    candidate = bench.register(2, tmp_path, champion=champion)
    bench.tick(2)
    bench.report(first, [OK] * 20)
    bench.tick(3)
    assert bench.champion() == candidate
    assert away.running[PRODUCT] == champion
    bench.stations[str(away.address)] = away
    bench.heartbeat(away)
    bench.tick(2)
    assert away.running[PRODUCT] == candidate


def test_a_station_that_was_away_during_two_rollouts_catches_up(bench: Bench, tmp_path: Path) -> None:
    (first, away), champion = line(bench, tmp_path, "st-1", "st-2")
    bench.stations.pop(str(away.address))
    bench.later(seconds=300)
    bench.heartbeat(first)
    newest = champion
    for number in (2, 3):
        newest = bench.register(number, tmp_path, champion=newest)
        bench.tick(2)
        bench.report(first, [OK] * 20)
        bench.tick(3)
        assert bench.champion() == newest
    assert away.running[PRODUCT] == champion
    bench.stations[str(away.address)] = away
    bench.heartbeat(away)
    bench.tick(2)
    assert away.running[PRODUCT] == newest


def test_a_former_champion_given_to_a_station_on_purpose_stays_there(bench: Bench, tmp_path: Path) -> None:
    (first, second), champion = line(bench, tmp_path, "st-1", "st-2")
    candidate = bench.register(2, tmp_path, champion=champion)
    for station in (first, second):
        bench.tick(2)
        bench.report(station, [OK] * 20)
    bench.tick(3)
    assert bench.champion() == candidate
    bench.rollouts.start(champion, [str(second.address)], 1, "back here only", bench.clock.now())
    bench.tick(2)
    bench.report(second, [OK] * 20)
    bench.tick(5)
    assert bench.rollout().state is RolloutState.FINISHED
    assert (first.running[PRODUCT], second.running[PRODUCT]) == (candidate, champion)
