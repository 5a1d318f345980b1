# SPDX-License-Identifier: Apache-2.0
"""A station that does not run what it was assigned is an alarm, also when no rollout is open; it closes by itself."""

from pathlib import Path

import pytest

from central.services.alarms.rows import close
from central.services.rollouts.assignment_watch import AssignmentWatch
from central.store.learning_tables import Alarm
from contracts.vocabulary import AlarmKind, AlarmState, PackageState, RefusalReason
from tests.central.services.bench import Bench, FakeStation
from tests.central.services.lines import line


class Watched:
    """Two stations with a champion, and the watch."""

    def __init__(self, bench: Bench, folder: Path) -> None:
        self.bench = bench
        (self.first, self.second), self.champion = line(bench, folder, "st-1", "st-2")
        self.watch = AssignmentWatch(bench.database, bench.rollout_settings, 120.0, lambda: bench.is_broker_there)

    def look(self) -> list[Alarm]:
        self.watch.tick(self.bench.clock.now())
        return [alarm for alarm in self.bench.alarms() if alarm.kind is AlarmKind.NOT_AS_ASSIGNED]

    def open(self) -> list[str | None]:
        return [alarm.station for alarm in self.look() if alarm.state is not AlarmState.CLOSED]


@pytest.fixture(name="plant")
def _plant(bench: Bench, tmp_path: Path) -> Watched:
    return Watched(bench, tmp_path)


def test_stations_that_run_what_they_were_assigned_raise_nothing(plant: Watched) -> None:
    assert plant.look() == []


@pytest.mark.parametrize(
    ("state", "reason", "words"),
    [
        (PackageState.REFUSED, RefusalReason.SELF_TEST, "it refuses package"),
        (PackageState.FELL_BACK, RefusalReason.ERRED, "by itself"),
    ],
)
def test_refusal_or_fall_back_is_one_alarm_until_the_station_is_in_step_again(
    plant: Watched, state: PackageState, reason: RefusalReason, words: str
) -> None:
    plant.bench.say(plant.first, state, reason)
    (alarm,) = plant.look()
    assert (alarm.station, alarm.repeats) == (str(plant.first.address), 0)
    assert words in alarm.message
    assert len(plant.look()) == 1
    # Said once: what is told at every look would be no news.
    assert plant.look()[0].repeats == 0
    plant.bench.say(plant.first, PackageState.DOWNLOADING)
    assert plant.open() == [str(plant.first.address)]
    plant.bench.say(plant.first, PackageState.ACTIVE)
    assert plant.open() == []
    # It comes again, and is told again.
    plant.bench.say(plant.first, state, reason)
    assert plant.open() == [str(plant.first.address)]


def test_refused_assignment_is_an_alarm_and_a_stray_message_is_none(plant: Watched) -> None:
    plant.bench.say(plant.first, PackageState.ACTIVE, refused=RefusalReason.EXPIRED)
    plant.bench.say(plant.second, PackageState.ACTIVE, refused=RefusalReason.SIGNATURE)
    assert plant.open() == [str(plant.first.address)]


def test_package_out_of_reach_is_retried_and_no_alarm(plant: Watched) -> None:
    plant.bench.say(plant.first, PackageState.REFUSED, RefusalReason.UNREACHABLE)
    assert plant.look() == []


def test_open_rollout_speaks_for_the_stations_that_it_has_touched(plant: Watched, tmp_path: Path) -> None:
    plant.bench.register(2, tmp_path, champion=plant.champion)
    plant.bench.tick(2)
    plant.bench.say(plant.first, PackageState.REFUSED, RefusalReason.SELF_TEST)
    plant.bench.say(plant.second, PackageState.FELL_BACK, RefusalReason.ERRED)
    assert plant.open() == [str(plant.second.address)]


def test_alarm_that_a_person_closed_comes_again_only_with_something_new(plant: Watched) -> None:
    plant.bench.say(plant.first, PackageState.REFUSED, RefusalReason.SELF_TEST)
    (alarm,) = plant.look()
    with plant.bench.database.begin() as session:
        close(session.get_one(Alarm, alarm.id), "anna", plant.bench.clock.now())
    assert plant.open() == []
    plant.bench.say(plant.first, PackageState.REFUSED, RefusalReason.DIGEST)
    assert plant.open() == [str(plant.first.address)]


def test_answer_to_an_earlier_assignment_says_nothing(plant: Watched, tmp_path: Path) -> None:
    station: FakeStation = plant.second
    plant.bench.say(station, PackageState.REFUSED, RefusalReason.SELF_TEST)
    plant.bench.rollouts.start(
        plant.bench.register(2, tmp_path, champion=plant.champion),
        [str(station.address)],
        None,
        "another",
        plant.bench.clock.now(),
    )
    plant.bench.stations.pop(str(station.address))
    plant.bench.rollouts.tick(plant.bench.clock.now())
    plant.bench.rollouts.abort(plant.bench.rollout().id or 0, "anna", plant.bench.clock.now())
    assert plant.look() == []
