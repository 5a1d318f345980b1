# SPDX-License-Identifier: Apache-2.0
"""A station without any package holds every part: it gets the champion also beside a rollout, or somebody is called."""

import logging
from pathlib import Path

import pytest

from central.services.alarms.rows import close
from central.services.rollouts.assignment_watch import AssignmentWatch
from central.settings import RolloutSettings
from central.store.learning_tables import Alarm
from contracts.vocabulary import AlarmKind, AlarmState, RolloutState
from tests.central.services.bench import PRODUCT, Bench
from tests.central.services.lines import OK, line

_LOGGER = "central.services.rollouts.catching_up"


def alarms(bench: Bench) -> list[Alarm]:
    return [alarm for alarm in bench.alarms() if alarm.kind is AlarmKind.NOT_AS_ASSIGNED]


@pytest.mark.parametrize("is_paused", [False, True])
def test_new_station_gets_the_champion_while_a_rollout_is_open(bench: Bench, tmp_path: Path, is_paused: bool) -> None:
    (first, second), champion = line(bench, tmp_path, "st-1", "st-2")
    candidate = bench.register(2, tmp_path, champion=champion)
    bench.tick(2)
    assert sorted([first.running[PRODUCT], second.running[PRODUCT]]) == sorted([champion, candidate])
    if is_paused:
        bench.rollouts.pause(bench.rollout().id or 0, "anna", bench.clock.now())
    late = bench.add_station("st-9")
    bench.tick(3)
    assert late.running == {PRODUCT: champion}
    # Nobody else was touched by that, and the late one goes on with the rollout's package once it is champion.
    assert sorted([first.running[PRODUCT], second.running[PRODUCT]]) == sorted([champion, candidate])
    if is_paused:
        bench.rollouts.resume(bench.rollout().id or 0, "anna", bench.clock.now())
    for _ in range(2):
        bench.tick(2)
        for station in (first, second):
            bench.report(station, [OK] * 20)
    bench.tick(4)
    assert bench.rollout().state is RolloutState.FINISHED
    assert late.running == {PRODUCT: candidate}


def test_station_of_the_rollout_itself_waits_for_its_wave(bench: Bench, tmp_path: Path) -> None:
    (first,), champion = line(bench, tmp_path, "st-1")
    bench.build(rollout=RolloutSettings(is_automatic=False, bake_parts=20))
    candidate = bench.register(2, tmp_path, champion=champion)
    late = bench.add_station("st-9")
    names = [str(first.address), str(late.address)]
    bench.rollouts.start(candidate, names, 1, "both", bench.clock.now())
    bench.tick(3)
    assert [first.running, late.running] == [{PRODUCT: candidate}, {}]
    assert late.assignments == []


def test_station_that_only_has_an_older_package_waits_for_the_rollout_to_end(bench: Bench, tmp_path: Path) -> None:
    (first, away), champion = line(bench, tmp_path, "st-1", "st-2")
    bench.stations.pop(str(away.address))
    bench.later(seconds=300)
    bench.heartbeat(first)
    newer = bench.register(2, tmp_path, champion=champion)
    bench.tick(2)
    bench.report(first, [OK] * 20)
    bench.tick(3)
    assert bench.champion() == newer
    bench.register(3, tmp_path, champion=newer)
    bench.tick(2)
    bench.stations[str(away.address)] = away
    bench.heartbeat(away)
    bench.tick(3)
    assert bench.rollout().state is RolloutState.RUNNING
    assert away.running == {PRODUCT: champion}


def test_station_that_waits_for_a_withdrawn_champion_is_one_alarm_and_one_line(
    bench: Bench, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _, champion = line(bench, tmp_path, "st-1", "st-2")
    bench.repository.withdraw(champion, bench.clock.now())
    late = bench.add_station("st-9")
    watch = AssignmentWatch(bench.database, bench.rollout_settings, 120.0, lambda: True)
    with caplog.at_level(logging.WARNING, _LOGGER):
        for _ in range(30):
            bench.tick(seconds=10)
            watch.tick(bench.clock.now())
    assert sum("champions were withdrawn" in each.getMessage() for each in caplog.records) == 1
    (alarm,) = alarms(bench)
    assert (alarm.station, alarm.repeats, alarm.state) == (str(late.address), 0, AlarmState.RAISED)
    assert "waits for the champion, which was withdrawn" in alarm.message
    assert champion[:12] in alarm.message
    # A restart of central says it in the log once more, and calls nobody twice; nor does it after a person closed it.
    bench.build()
    bench.tick(2)
    assert [each.repeats for each in alarms(bench)] == [0]
    with bench.database.begin() as session:
        close(session.get_one(Alarm, alarm.id), "anna", bench.clock.now())
    bench.tick(2)
    assert [each.state for each in alarms(bench)] == [AlarmState.CLOSED]


def test_alarm_of_a_station_that_waits_closes_once_a_package_judges_there(bench: Bench, tmp_path: Path) -> None:
    (first,), champion = line(bench, tmp_path, "st-1")
    bench.build(rollout=RolloutSettings(is_automatic=False, bake_parts=20))
    bench.repository.withdraw(champion, bench.clock.now())
    late = bench.add_station("st-9")
    bench.tick(2)
    watch = AssignmentWatch(bench.database, bench.rollout_settings, 120.0, lambda: True)
    watch.tick(bench.clock.now())
    assert [each.state for each in alarms(bench)] == [AlarmState.RAISED]
    following = bench.register(2, tmp_path, champion=champion)
    bench.rollouts.start(following, [str(late.address)], None, "in its place", bench.clock.now())
    bench.tick(3)
    watch.tick(bench.clock.now())
    assert late.running == {PRODUCT: following}
    assert [each.state for each in alarms(bench)] == [AlarmState.CLOSED]
    assert first.running == {PRODUCT: champion}
