# SPDX-License-Identifier: Apache-2.0
"""A rollout that is taken back sends nobody to what it cannot have, and no refused way back stays in silence."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlmodel import col, select

from central.services.rollouts.assignment_watch import AssignmentWatch
from central.services.rollouts.state import state_of
from central.settings import RolloutSettings
from central.store.rollout_tables import RolloutEvent
from central.trust.repository import PackageRepositoryError
from contracts.vocabulary import AlarmKind, AlarmState, PackageState, RefusalReason, RolloutState, Verdict
from tests.central.services.bench import PRODUCT, Bench, FakeStation
from tests.central.services.lines import line

OK, NG = Verdict.OK, Verdict.NG
SIGNATURE = RefusalReason.SIGNATURE


@dataclass
class Plant:
    """Two stations that run the second package of their product, and a third one that is on its way to the first."""

    bench: Bench
    first: FakeStation
    second: FakeStation
    older: str
    champion: str
    candidate: str = ""

    def withdraw(self, *packages: str) -> None:
        for each in packages:
            assert self.bench.repository.withdraw(each, self.bench.clock.now())

    def abort(self) -> None:
        self.bench.rollouts.abort(self.bench.rollout().id or 0, "anna", self.bench.clock.now())

    def said(self) -> str:
        return "\n".join(state_of(self.bench.rollout()).history)

    def alarms(self) -> list[tuple[str | None, AlarmState]]:
        kind = AlarmKind.NOT_AS_ASSIGNED
        return [(alarm.station, alarm.state) for alarm in self.bench.alarms() if alarm.kind is kind]


@pytest.fixture(name="plant")
def _plant(bench: Bench, tmp_path: Path) -> Plant:
    (first, second), older = line(bench, tmp_path, "st-1", "st-2")
    bench.build(rollout=RolloutSettings(bake_parts=20))
    champion = bench.register(2, tmp_path, champion=older)
    for station in (first, second):
        bench.tick(2)
        bench.report(station, [OK] * 60)
    bench.tick(4)
    assert bench.champion() == champion
    plant = Plant(bench, first, second, older, champion)
    plant.candidate = bench.register(3, tmp_path, champion=champion)
    bench.tick(2)
    assert first.running == {PRODUCT: plant.candidate}
    return plant


def _by_hand(plant: Plant) -> None:
    plant.abort()


def _by_itself(plant: Plant) -> None:
    plant.bench.report(plant.first, [OK, *[NG] * 30])


@pytest.mark.parametrize("take_back", [_by_hand, _by_itself])
def test_station_goes_back_to_another_package_when_the_one_before_was_withdrawn(
    plant: Plant, take_back: Callable[[Plant], None]
) -> None:
    plant.withdraw(plant.champion)
    take_back(plant)
    plant.bench.tick(2)
    assert plant.first.running == {PRODUCT: plant.older}
    # Whoever judges with what was withdrawn and was not touched goes on.
    assert plant.second.running == {PRODUCT: plant.champion}
    assert f"{plant.first.address} goes back to package {plant.older[:12]}: the one before, " in plant.said()
    assert "was withdrawn; this is the newest that finished a rollout" in plant.said()
    with plant.bench.database.read() as session:
        wanted = select(RolloutEvent).where(RolloutEvent.rollout_id == plant.bench.rollout().id)
        event = session.exec(wanted.order_by(col(RolloutEvent.id).desc())).first()
    assert event is not None
    assert event.evidence["ways_back"][str(plant.first.address)]["package_id"] == plant.older


def test_station_without_any_package_left_stops_judging_and_people_are_called(plant: Plant, tmp_path: Path) -> None:
    plant.withdraw(plant.champion, plant.older)
    plant.abort()
    plant.bench.tick(2)
    assert plant.first.running == {}
    assert plant.alarms() == [(str(plant.first.address), AlarmState.RAISED)]
    (alarm,) = [each for each in plant.bench.alarms() if each.kind is AlarmKind.NOT_AS_ASSIGNED]
    assert alarm.message.startswith(f"No package judges {PRODUCT} at {plant.first.address}: ")
    # What the next rollout notes as before is the truth, and not what was withdrawn.
    following = plant.bench.register(4, tmp_path, champion=plant.champion)
    plant.bench.tick(2)
    rollout = plant.bench.rollout()
    assert rollout.package_id == following
    assert {touched["package_id"] for touched in rollout.before.values()} <= {None, plant.champion}
    if str(plant.first.address) in rollout.before:
        assert rollout.before[str(plant.first.address)]["package_id"] is None


def test_withdrawn_package_that_still_judges_is_not_taken_from_its_station(plant: Plant) -> None:
    # It downloads the candidate, and judges with the champion meanwhile.
    plant.bench.say(plant.first, PackageState.DOWNLOADING)
    plant.withdraw(plant.champion, plant.older)
    plant.abort()
    plant.bench.tick(2)
    assert plant.first.running == {PRODUCT: plant.champion}
    assert plant.alarms() == []


def test_refused_way_back_is_followed_by_others_until_the_station_takes_one(plant: Plant) -> None:
    plant.first.installs = False
    plant.abort()
    orders = list[dict[str, str]]()
    for _ in range(6):
        plant.bench.tick(1)
        wanted = {item.product: item.package_id for item in plant.first.assignments[-1].packages}
        if not orders or orders[-1] != wanted:
            orders.append(wanted)
        plant.bench.say(plant.first, PackageState.REFUSED, RefusalReason.SELF_TEST)
    # The champion is the package of before; what it refused is not ordered again, not by catching up either.
    assert orders == [{PRODUCT: plant.champion}, {PRODUCT: plant.older}, {}]
    assert f"{plant.first.address} refuses package {plant.champion[:12]}" in plant.said()
    assert plant.alarms() == [(str(plant.first.address), AlarmState.RAISED)]


def test_refusal_that_the_station_mends_itself_is_left_to_it(plant: Plant) -> None:
    plant.first.installs = False
    plant.abort()
    plant.bench.tick(1)
    given = len(plant.first.assignments)
    for reason in (RefusalReason.DISK, RefusalReason.UNREACHABLE):
        plant.bench.say(plant.first, PackageState.REFUSED, reason)
        plant.bench.tick(2)
    assert len(plant.first.assignments) == given


def test_package_that_was_sent_back_elsewhere_is_nobodys_way_back(plant: Plant, tmp_path: Path) -> None:
    plant.abort()
    plant.bench.tick(2)
    other = plant.bench.register(5, tmp_path, champion="0" * 64)
    plant.bench.rollouts.start(other, [], None, "another", plant.bench.clock.now())
    plant.bench.tick(2)
    assert plant.first.running == {PRODUCT: other}
    plant.abort()
    plant.bench.tick(2)
    # Promoted, and never shown to be fit.
    plant.bench.register(6, tmp_path, champion="0" * 64)
    plant.bench.rollouts.start(plant.candidate, [], None, "again", plant.bench.clock.now())
    plant.bench.tick(2)
    assert plant.first.running == {PRODUCT: plant.candidate}
    plant.withdraw(plant.champion)
    plant.abort()
    plant.bench.tick(2)
    assert plant.first.running == {PRODUCT: plant.older}


def test_going_back_is_not_held_up_by_a_package_repository_that_cannot_be_read(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_package_id: str) -> bool:
        raise PackageRepositoryError("package repository: damaged; restore it from a backup")

    monkeypatch.setattr(plant.bench.rollouts, "_is_withdrawn", fail)
    plant.abort()
    plant.bench.answer()
    assert plant.first.running == {PRODUCT: plant.champion}
    assert plant.bench.rollout().state is RolloutState.STOPPED


def test_alarm_of_a_station_left_without_a_package_closes_once_one_judges_there(plant: Plant, tmp_path: Path) -> None:
    watch = AssignmentWatch(
        plant.bench.database, plant.bench.rollout_settings, 120.0, lambda: plant.bench.is_broker_there
    )
    plant.withdraw(plant.champion, plant.older)
    plant.abort()
    plant.bench.tick(2)
    watch.tick(plant.bench.clock.now())
    assert plant.alarms() == [(str(plant.first.address), AlarmState.RAISED)]
    following = plant.bench.register(4, tmp_path, champion=plant.champion)
    plant.bench.rollouts.start(following, [str(plant.first.address)], None, "again", plant.bench.clock.now())
    plant.bench.tick(3)
    assert plant.first.running == {PRODUCT: following}
    watch.tick(plant.bench.clock.now())
    assert plant.alarms() == [(str(plant.first.address), AlarmState.CLOSED)]
