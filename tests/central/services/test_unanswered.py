# SPDX-License-Identifier: Apache-2.0
"""A station that is heard and does not follow its newest order is an alarm; grave where a package taken back judges."""

from pathlib import Path

import pytest

from central.domain.alarm_severity import severity_of
from central.domain.rollout_plan import RolloutPlan, WavePlan, WaveScope
from central.services.rollouts.assignment_watch import AssignmentWatch
from central.services.rollouts.taken_back import judging_taken_back
from central.settings import RolloutSettings
from central.store.learning_tables import Alarm
from central.store.repositories import stations
from contracts.reports import PackageProgress, PackageStatus
from contracts.vocabulary import AlarmKind, AlarmSeverity, AlarmState, PackageState, RefusalReason
from tests.central.services.bench import PRODUCT, Bench
from tests.central.services.lines import OK, line


class TakenBack:
    """A package was given to both stations and aborted; the first does not hear of it."""

    def __init__(self, bench: Bench, folder: Path) -> None:
        self.bench = bench
        (self.first, self.second), self.champion = line(bench, folder, "st-1", "st-2")
        bench.build(rollout=RolloutSettings(is_automatic=False, bake_parts=20))
        self.bad = bench.register(2, folder, champion=self.champion)
        self.watch = self.new_watch()
        plan = RolloutPlan(waves=(WavePlan(WaveScope.ALL),))
        bench.rollouts.start(self.bad, [], None, "to all", bench.clock.now(), plan=plan)
        bench.tick(2)
        assert self.first.running == {PRODUCT: self.bad}
        self.first.installs = False
        bench.rollouts.abort(bench.rollout().id or 0, "anna", bench.clock.now())

    def new_watch(self) -> AssignmentWatch:
        bench = self.bench
        return AssignmentWatch(bench.database, bench.rollout_settings, 120.0, lambda: bench.is_broker_there)

    def pass_time(self, seconds: int) -> None:
        for _ in range(seconds // 20):
            self.bench.tick(seconds=20)
            self.watch.tick(self.bench.clock.now())

    def alarms(self) -> list[Alarm]:
        return [alarm for alarm in self.bench.alarms() if alarm.kind is AlarmKind.NOT_AS_ASSIGNED]

    def open(self) -> list[Alarm]:
        return [alarm for alarm in self.alarms() if alarm.state is not AlarmState.CLOSED]

    def say_bytes(self, done: int | None, *, behind: int = 0) -> None:
        """The first station brings what it was assigned last, or speaks of an assignment of before."""
        now, last = self.bench.clock.now(), self.first.assignments[-1]
        rows = [
            PackageProgress(
                product=each.product,
                package_id=each.package_id,
                state=PackageState.DOWNLOADING,
                bytes_done=done,
                bytes_total=10**9,
                at=now,
            )
            for each in last.packages
        ]
        status = PackageStatus(
            station=self.first.address, assignment_number=last.number - behind, at=now, packages=rows
        )
        with self.bench.database.begin() as session:
            stations.keep_package_status(session, self.first.address, status.model_dump_json(), now)


@pytest.fixture(name="plant")
def _plant(bench: Bench, tmp_path: Path) -> TakenBack:
    return TakenBack(bench, tmp_path)


def test_silence_on_the_newest_order_of_a_station_that_judges_with_what_was_taken_back(plant: TakenBack) -> None:
    plant.pass_time(160)
    assert plant.alarms() == []
    plant.pass_time(100)
    (alarm,) = plant.alarms()
    assert (alarm.station, alarm.repeats) == (str(plant.first.address), 0)
    assert "has not answered assignment 3; its last word is on assignment 2" in alarm.message
    assert f"package {plant.bad[:12]} judges ring there, which was taken back" in alarm.message
    assert "was aborted" in alarm.message
    assert "hold its parts" in alarm.remedy
    assert severity_of(alarm.kind, alarm.evidence) is AlarmSeverity.CRITICAL
    plant.pass_time(400)
    assert [each.repeats for each in plant.alarms()] == [0]
    # It follows: the alarm closes by itself.
    plant.bench.say(plant.first, PackageState.ACTIVE)
    plant.pass_time(20)
    assert plant.open() == []
    assert "runs what it was assigned" in (plant.alarms()[0].closed_by or "")


def test_refusal_under_an_earlier_number_is_named(plant: TakenBack) -> None:
    plant.bench.answer()
    newest = plant.first.assignments.pop()
    plant.bench.say(plant.first, PackageState.ACTIVE, refused=RefusalReason.SIGNATURE)
    plant.first.assignments.append(newest)
    plant.pass_time(260)
    (alarm,) = plant.alarms()
    assert "its last word is on assignment 2: SIGNATURE" in alarm.message


def test_order_that_is_not_answered_is_published_again_now_and_then(plant: TakenBack) -> None:
    plant.bench.answer()
    read = len(plant.bench.publisher.sent)

    def told() -> list[str]:
        return [name for name, _ in plant.bench.publisher.sent[read:] if name.endswith("/assignment")]

    plant.pass_time(160)
    assert told() == []
    plant.pass_time(640)
    topics = told()
    assert 2 <= len(topics) <= 4
    assert all("/st-1/" in name for name in topics)


def test_bytes_that_move_are_no_silence_and_a_station_that_stands_still_is_late(plant: TakenBack) -> None:
    plant.bench.answer()
    for done in range(1, 31):
        plant.say_bytes(done * 1_000)
        plant.pass_time(20)
    assert plant.alarms() == []
    plant.pass_time(260)
    (alarm,) = plant.alarms()
    assert "does not get ready with package" in alarm.message


def test_bytes_that_come_for_ever_are_late_in_the_end(plant: TakenBack) -> None:
    plant.bench.build(rollout=RolloutSettings(is_automatic=False, bake_parts=20, download_timeout_s=300.0))
    plant.watch = plant.new_watch()
    plant.bench.answer()
    for done in range(1, 20):
        plant.say_bytes(done * 1_000)
        plant.pass_time(20)
    assert len(plant.alarms()) == 1


def test_time_in_which_it_is_not_heard_is_not_held_against_it(plant: TakenBack) -> None:
    del plant.bench.stations[str(plant.first.address)]
    plant.pass_time(3_600)
    assert plant.alarms() == []
    plant.bench.stations[str(plant.first.address)] = plant.first
    plant.pass_time(160)
    assert plant.alarms() == []
    plant.pass_time(100)
    assert len(plant.alarms()) == 1


def test_nobody_is_late_while_central_cannot_hear(plant: TakenBack) -> None:
    plant.bench.is_broker_there = False
    plant.pass_time(600)
    assert plant.alarms() == []


def test_station_that_is_late_with_a_sound_package_is_a_warning(any_bench: Bench, tmp_path: Path) -> None:
    bench = any_bench
    (first,), champion = line(bench, tmp_path, "st-1")
    watch = AssignmentWatch(bench.database, bench.rollout_settings, 120.0, lambda: True)
    first.installs = False
    # The same package under a new number, as when an assignment is renewed.
    bench.tick(seconds=25 * 86_400)
    for _ in range(20):
        bench.tick(seconds=20)
        watch.tick(bench.clock.now())
    (alarm,) = [each for each in bench.alarms() if each.kind is AlarmKind.NOT_AS_ASSIGNED]
    assert "has not answered assignment 2" in alarm.message
    assert "taken back" not in alarm.message
    assert severity_of(alarm.kind, alarm.evidence) is AlarmSeverity.WARNING
    assert first.running == {PRODUCT: champion}


def test_warning_becomes_a_grave_alarm_when_what_judges_there_is_taken_back(plant: TakenBack) -> None:
    """It falls back from its way back: first to a package nobody took back, then to the bad one."""
    bench = plant.bench
    plant.first.installs = True
    bench.tick(2)
    bench.say(plant.first, PackageState.FELL_BACK, RefusalReason.ERRED)
    plant.watch.tick(bench.clock.now())
    (mild,) = plant.open()
    assert severity_of(mild.kind, mild.evidence) is AlarmSeverity.WARNING
    # The bad one judges a part there.
    plant.first.running = {PRODUCT: plant.bad}
    bench.report(plant.first, [OK])
    plant.watch.tick(bench.clock.now())
    (grave,) = plant.open()
    assert grave.id != mild.id
    assert severity_of(grave.kind, grave.evidence) is AlarmSeverity.CRITICAL
    assert f"/rollouts/{bench.rollout().id}/quarantine?station=plant/line-1/st-1" in grave.remedy
    bench.say(plant.first, PackageState.ACTIVE)
    plant.watch.tick(bench.clock.now())
    assert plant.open() == []


def test_champion_is_not_taken_back_by_a_rollout_that_only_repeated_it(bench: Bench, tmp_path: Path) -> None:
    (first, _), champion = line(bench, tmp_path, "st-1", "st-2")
    bench.build(rollout=RolloutSettings(is_automatic=False, bake_parts=20))
    now = bench.clock.now
    bench.rollouts.start(champion, [], None, "again", now())
    bench.tick(2)
    bench.rollouts.abort(bench.rollout().id or 0, "anna", now())
    bench.tick(2)
    first.installs = False
    candidate = bench.register(2, tmp_path, champion=champion)
    bench.rollouts.start(candidate, [str(first.address)], None, "a trial", now())
    bench.tick(1)
    bench.report(first, [OK] * 5)
    with bench.database.read() as session:
        (station,) = stations.of(session, [str(first.address)])
        assert station.assigned == {PRODUCT: candidate}
        assert judging_taken_back(session, station, None) == []
