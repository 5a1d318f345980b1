# SPDX-License-Identifier: Apache-2.0
"""Drift monitors fed from stored inspections: what they raise, what they leave out, what a restart costs them."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from sqlalchemy import insert
from sqlmodel import select

from central.quality.drift import DriftMonitor
from central.services.watches.drift import DriftWatch
from central.settings import WatchSettings
from central.store.database import Database
from central.store.drift_tables import DriftState
from central.store.learning_tables import Alarm
from central.store.repositories import stations
from central.store.tables import Inspection
from contracts.vocabulary import AlarmKind, AlarmState, Disposition, SignalState, Verdict, VerdictCause

BEGAN = datetime(2026, 3, 2, 0, 0, tzinfo=UTC)
STATION = "plant/line-1/st-1"
SETTINGS = WatchSettings(drift_reference_days=1.0)
_TAKT_S = 1.8
_REFERENCE = int(1.05 * 86_400 / _TAKT_S)
_PACKAGE = "a" * 64


class Plant:
    """Stations that report; `feed` commits so many parts, and lets the watch look now and then."""

    def __init__(self, database: Database, number: int = 0) -> None:
        self.database = database
        self.rng = np.random.default_rng(7)
        self.number = number
        with database.begin() as session:
            self.station_id = stations.ensure(session, [STATION], BEGAN)[STATION]

    def at(self) -> datetime:
        """Capture time of the next part."""
        return BEGAN + timedelta(seconds=self.number * _TAKT_S)

    def rows(self, count: int, **changes: Any) -> list[dict[str, Any]]:
        """Parts of a quiet process; `changes` are values, or make one from the value there is."""
        found = []
        for _ in range(count):
            noise = self.rng.normal(size=5)
            row = {
                "station_id": self.station_id, "epoch": 1, "sequence": self.number + 1, "product": "ring",
                "captured_at": self.at(), "committed_at": self.at() + timedelta(seconds=1), "verdict": Verdict.OK,
                "cause": VerdictCause.SCORE, "score": float(np.exp(-1.5 + 0.3 * noise[0])), "package_id": _PACKAGE,
                "disposition": Disposition.PASSED, "signal": SignalState.SENT,
                "brightness": float(120 + noise[1]), "contrast": float(30 + 0.3 * noise[2]),
                "blur": float(400 + 8 * noise[3]), "colour": float(2 + 0.2 * noise[4]), "is_simulated": False,
                "clock_error_s": None,
            }  # fmt: skip
            for name, change in changes.items():
                row[name] = change(row[name]) if callable(change) else change
            self.number += 1
            found.append(row)
        return found

    def commit(self, rows: list[dict[str, Any]]) -> None:
        """Into the database as they are."""
        with self.database.begin() as session:
            session.connection().execute(insert(Inspection), rows)

    def alarms(self) -> list[Alarm]:
        """All, oldest first."""
        with self.database.read() as session:
            return list(session.exec(select(Alarm)).all())


def darker(value: float) -> float:
    return value * 0.9


@pytest.fixture
def plant(sqlite_database: Database) -> Plant:
    return Plant(sqlite_database)


@pytest.fixture(scope="module")
def learnt() -> bytes:
    """A monitor whose reference is complete, learnt from the very process that `Plant.rows` makes."""
    rng = np.random.default_rng(5)
    monitor = DriftMonitor(SETTINGS.drift_reference_days, SETTINGS.drift_false_alarms_per_30_days)
    at = np.asarray(BEGAN.timestamp() + _TAKT_S * np.arange(_REFERENCE), np.float64)
    channels = {
        "score": np.exp(-1.5 + 0.3 * rng.normal(size=_REFERENCE)),
        "brightness": 120 + rng.normal(size=_REFERENCE),
        "contrast": 30 + 0.3 * rng.normal(size=_REFERENCE),
        "blur": 400 + 8 * rng.normal(size=_REFERENCE),
        "colour": 2 + 0.2 * rng.normal(size=_REFERENCE),
    }
    assert monitor.update_many(at, [f"ring {_PACKAGE[:12]}"] * _REFERENCE, channels) == []
    assert monitor.reference.is_ready
    return monitor.to_bytes()


@pytest.fixture
def taught(sqlite_database: Database, learnt: bytes) -> tuple[Plant, DriftWatch]:
    """A watch that was saved with a complete reference."""
    plant = Plant(sqlite_database, _REFERENCE)
    newest = plant.at() - timedelta(seconds=_TAKT_S)
    with sqlite_database.begin() as session:
        saved = {"upto_inspection_id": 0, "saved_at": newest, "last_at": newest, "monitor": learnt}
        session.add(DriftState.model_validate({"station_id": plant.station_id, "is_simulated": False, **saved}))
    watch = DriftWatch(sqlite_database, SETTINGS)
    watch.tick(plant.at())
    return plant, watch


def monitor_bytes(watch: DriftWatch, plant: Plant) -> bytes:
    """Of the station's monitor as it is in memory."""
    kept = watch.keeper.get((plant.station_id, False))
    assert kept is not None
    return kept.monitor.to_bytes()


def feed(plant: Plant, watch: Callable[[], DriftWatch], count: int, **changes: Any) -> None:
    for _ in range(count // 120):
        plant.commit(plant.rows(120, **changes))
        watch().tick(plant.at())


def test_dimmer_light_raises_one_alarm_with_onset_size_and_remedy(taught: tuple[Plant, DriftWatch]) -> None:
    plant, watch = taught
    onset = plant.at()
    feed(plant, lambda: watch, 600, brightness=darker)
    (alarm,) = plant.alarms()
    assert alarm.kind is AlarmKind.DRIFT
    assert alarm.station == STATION
    assert alarm.evidence["channels"] == ["brightness"]
    assert abs(alarm.evidence["sizes"]["brightness"] + 12) < 3
    assert abs((datetime.fromisoformat(alarm.evidence["onset"]) - onset).total_seconds()) < 60 * _TAKT_S
    assert "brightness by -1" in alarm.message
    assert "without labels" in alarm.message
    assert "lamp" in alarm.remedy
    assert not alarm.is_simulated


def test_shift_that_goes_further_keeps_the_onset_that_people_were_called_with(
    taught: tuple[Plant, DriftWatch],
) -> None:
    plant, watch = taught
    feed(plant, lambda: watch, 600, brightness=darker)
    (before,) = plant.alarms()
    feed(plant, lambda: watch, 600, brightness=lambda value: value * 0.7)
    (alarm,) = plant.alarms()
    assert alarm.repeats > before.repeats
    assert alarm.evidence["sizes"]["brightness"] < 2 * before.evidence["sizes"]["brightness"]
    assert alarm.evidence["onset"] == before.evidence["onset"]


def test_process_that_does_not_change_raises_nothing(taught: tuple[Plant, DriftWatch]) -> None:
    plant, watch = taught
    feed(plant, lambda: watch, 1_800)
    assert plant.alarms() == []


def test_restarts_at_any_time_change_neither_alarm_nor_state(
    taught: tuple[Plant, DriftWatch], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant, watch = taught
    monkeypatch.setattr("central.services.watches.drift._SAVE_EVERY", timedelta(seconds=300))
    told: list[DriftMonitor] = []
    take = DriftMonitor.update_many

    def noted(self: DriftMonitor, *parts: Any) -> Any:
        if self not in told:
            told.append(self)
        return take(self, *parts)

    monkeypatch.setattr(DriftMonitor, "update_many", noted)
    begun = iter(range(10_000))

    def restarted() -> DriftWatch:
        # Each time a process of its own, which has seen nothing but what was saved.
        return DriftWatch(plant.database, SETTINGS) if next(begun) % 2 else watch

    watch.keeper.save([], plant.at())
    feed(plant, restarted, 1_200, brightness=darker)
    assert len(told) > 5
    (alarm,) = plant.alarms()
    assert alarm.evidence["channels"] == ["brightness"]


def test_monitor_goes_on_exactly_from_what_was_saved(taught: tuple[Plant, DriftWatch]) -> None:
    plant, watch = taught
    watch.keeper.save([], plant.at())
    rows = plant.rows(90)
    plant.commit(rows)
    other = DriftWatch(plant.database, SETTINGS)
    for each in (watch, other):
        each.tick(plant.at())
        each.keeper.save([], plant.at())
    with plant.database.read() as session:
        (state,) = session.exec(select(DriftState)).all()
    assert state.upto_inspection_id == len(rows)
    assert state.last_at == plant.at() - timedelta(seconds=_TAKT_S)
    assert monitor_bytes(other, plant) == state.monitor
    assert monitor_bytes(watch, plant) == state.monitor


def test_tick_that_fails_is_taken_back_whole(taught: tuple[Plant, DriftWatch], monkeypatch: pytest.MonkeyPatch) -> None:
    plant, watch = taught
    watch.keeper.save([], plant.at())
    plant.commit(plant.rows(600, brightness=darker))

    def broken(*_: object) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as broke:
        broke.setattr("central.services.watches.monitor_keeping.raise_with_onset", broken)
        with pytest.raises(OSError, match="disk full"):
            watch.tick(plant.at())
    assert plant.alarms() == []
    watch.tick(plant.at())
    assert len(plant.alarms()) == 1


def test_failed_tick_of_a_station_that_was_never_saved_takes_nothing_in(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = DriftWatch(plant.database, SETTINGS)
    watch.tick(BEGAN)
    plant.commit(plant.rows(600))

    def broken(*_: object) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as broke:
        broke.setattr("central.services.watches.drift._SAVE_EVERY", timedelta())
        broke.setattr(watch.keeper, "save", broken)
        with pytest.raises(OSError, match="disk full"):
            watch.tick(plant.at())
    watch.tick(plant.at())
    ((reference, left_out),) = watch.references().values()
    assert (reference.blocks, left_out) == (20, 0)


UNFIT: dict[str, dict[str, Any]] = {
    "no score": {"score": None},
    "score of zero": {"score": 0.0},
    "no brightness": {"brightness": None},
    "infinite blur": {"blur": float("inf")},
    "no product": {"product": None},
    "no package": {"package_id": None},
    "not judged": {"verdict": Verdict.NO_DECISION},
    "clock known to be wrong": {"clock_error_s": 30.0},
    "before it was taken": {"captured_at": lambda at: at + timedelta(hours=1)},
    "earlier than the part before": {"captured_at": lambda at: at - timedelta(hours=1)},
}


@pytest.mark.parametrize("changes", UNFIT.values(), ids=UNFIT)
def test_part_that_says_nothing_or_at_a_wrong_time_is_left_out_and_counted(
    plant: Plant, changes: dict[str, Any]
) -> None:
    watch = DriftWatch(plant.database, SETTINGS)
    watch.tick(BEGAN)
    plant.commit(plant.rows(500))
    watch.tick(plant.at())
    plant.commit([*plant.rows(3, **changes), *plant.rows(30)])
    watch.tick(plant.at())
    ((reference, left_out),) = watch.references().values()
    assert (reference.blocks, left_out) == (530 // 30, 3)


def test_new_package_is_learnt_and_not_taken_for_drift(taught: tuple[Plant, DriftWatch]) -> None:
    plant, watch = taught
    feed(plant, lambda: watch, 1_800, package_id="b" * 64, score=lambda score: score * 5)
    assert plant.alarms() == []


def test_alarm_that_was_closed_is_not_raised_again_by_the_same_shift(taught: tuple[Plant, DriftWatch]) -> None:
    plant, watch = taught
    feed(plant, lambda: watch, 600, brightness=darker)
    with plant.database.begin() as session:
        (alarm,) = session.exec(select(Alarm)).all()
        alarm.state, alarm.open_key = AlarmState.CLOSED, None
        session.add(alarm)
    feed(plant, lambda: watch, 1_200, brightness=darker)
    assert len(plant.alarms()) == 1


def test_stored_parts_of_the_last_days_teach_a_watch_that_is_new(plant: Plant) -> None:
    plant.commit(plant.rows(600))
    watch = DriftWatch(plant.database, SETTINGS)
    watch.tick(plant.at() + timedelta(days=1))
    ((reference, _),) = watch.references().values()
    assert reference.blocks == 20


def test_older_ones_are_not_read(plant: Plant) -> None:
    plant.commit(plant.rows(60))
    watch = DriftWatch(plant.database, SETTINGS)
    watch.tick(plant.at() + timedelta(days=3))
    assert watch.references() == {}


def test_state_that_cannot_be_read_begins_anew(taught: tuple[Plant, DriftWatch]) -> None:
    plant, watch = taught
    watch.keeper.save([], plant.at())
    with plant.database.begin() as session:
        (state,) = session.exec(select(DriftState)).all()
        state.monitor = b"spoilt"
        session.add(state)
    other = DriftWatch(plant.database, SETTINGS)
    plant.commit(plant.rows(60))
    other.tick(plant.at())
    ((reference, _),) = other.references().values()
    assert not reference.is_ready
    assert reference.blocks == 2
