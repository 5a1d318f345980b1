# SPDX-License-Identifier: Apache-2.0
"""Novelty monitors fed from stored inspections: what they raise, what they leave out, what a restart costs them."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy import insert
from sqlmodel import select

from central.quality.novelty import NoveltyMonitor
from central.services.watches.novelty import NoveltyKey, NoveltyWatch
from central.settings import WatchSettings
from central.store.database import Database
from central.store.drift_tables import NoveltyState
from central.store.embeddings import packed
from central.store.learning_tables import Alarm
from central.store.repositories import stations
from central.store.tables import Inspection
from contracts.vocabulary import AlarmKind, Disposition, SignalState, Verdict, VerdictCause

BEGAN = datetime(2026, 3, 2, 0, 0, tzinfo=UTC)
STATION = "plant/line-1/st-1"
REFERENCE = 20_000
SETTINGS = WatchSettings(novelty_reference_parts=REFERENCE)
PACKAGE = "a" * 64
_TAKT_S = 1.0
_DIMENSIONS = 8
# A new kind of part: far along one direction, and not beyond what single parts reach by chance.
_KIND = 5.0 * np.ones(_DIMENSIONS) / np.sqrt(_DIMENSIONS)


class Plant:
    """One station that reports; `feed` commits so many parts and lets the watch look."""

    def __init__(self, database: Database, number: int = REFERENCE) -> None:
        self.database, self.number = database, number
        self.rng = np.random.default_rng(11)
        with database.begin() as session:
            self.station_id = stations.ensure(session, [STATION], BEGAN)[STATION]
        self.watch = NoveltyWatch(database, SETTINGS)

    @property
    def now(self) -> datetime:
        """Capture time of the next part."""
        return BEGAN + timedelta(seconds=self.number * _TAKT_S)

    def feed(self, count: int, share: float = 0.0, **changes: Any) -> list[int]:
        """Returns the numbers of the parts that are of the new kind."""
        new = self.rng.random(count) < share
        rows = []
        for is_new in new:
            embedding = self.rng.normal(size=_DIMENSIONS) + (_KIND if is_new else 0.0)
            row: dict[str, Any] = {
                "station_id": self.station_id, "epoch": 1, "sequence": self.number + 1, "product": "ring",
                "captured_at": self.now, "committed_at": self.now + timedelta(seconds=1), "verdict": Verdict.OK,
                "cause": VerdictCause.SCORE, "score": 0.1, "package_id": PACKAGE, "is_simulated": False,
                "disposition": Disposition.PASSED, "signal": SignalState.SENT, "clock_error_s": None,
                "embedding": packed([float(each) for each in embedding]),
            }  # fmt: skip
            rows.append(row | changes)
            self.number += 1
        with self.database.begin() as session:
            session.connection().execute(insert(Inspection), rows)
        self.watch.tick(self.now)
        return [row["sequence"] for row, is_new in zip(rows, new, strict=True) if is_new]

    def key(self, package_id: str = PACKAGE) -> NoveltyKey:
        """Of the monitor."""
        return NoveltyKey(self.station_id, is_simulated=False, product="ring", package_id=package_id)

    def alarms(self) -> list[Alarm]:
        """All, oldest first."""
        with self.database.read() as session:
            return list(session.exec(select(Alarm)).all())

    def sequences(self, inspection_ids: Sequence[int]) -> list[int]:
        """Of these inspections."""
        with self.database.read() as session:
            return [session.get_one(Inspection, each).sequence for each in inspection_ids]


def _usual(count: int) -> NDArray[np.float64]:
    return np.random.default_rng(5).normal(size=(count, _DIMENSIONS)).astype(np.float16).astype(np.float64)


@pytest.fixture(scope="module")
def learnt() -> bytes:
    """A monitor whose reference is complete."""
    monitor = NoveltyMonitor(SETTINGS.novelty_reference_parts, SETTINGS.novelty_false_alarms_per_30_days)
    at = np.asarray(BEGAN.timestamp() + _TAKT_S * np.arange(REFERENCE), np.float64)
    assert monitor.update_many(at, _usual(REFERENCE), np.ones(REFERENCE, np.bool_)) == []
    assert monitor.is_ready
    return monitor.to_bytes()


@pytest.fixture
def plant(sqlite_database: Database, learnt: bytes) -> Plant:
    """A watch that was saved with a complete reference."""
    found = Plant(sqlite_database)
    newest = found.now - timedelta(seconds=_TAKT_S)
    with sqlite_database.begin() as session:
        key = {"station_id": found.station_id, "is_simulated": False, "product": "ring", "package_id": PACKAGE}
        told = {"upto_inspection_id": 0, "saved_at": newest, "last_at": newest, "monitor": learnt}
        session.add(NoveltyState.model_validate({**key, **told}))
    return found


def test_new_kind_among_accepted_parts_raises_one_alarm_that_names_them(plant: Plant) -> None:
    plant.feed(2_000)
    began = plant.now
    new = plant.feed(4_000, share=0.05)
    [alarm] = plant.alarms()
    assert (alarm.kind, alarm.station, alarm.product) == (AlarmKind.NOVELTY, STATION, "ring")
    onset = datetime.fromisoformat(alarm.evidence["onset"])
    assert abs((onset - began).total_seconds()) <= 1_000
    told = alarm.evidence
    assert told["rate"] == told["unusual"] / told["parts"] > 2 * told["usual_rate"]
    assert f"{told['unusual']:,} of {told['parts']:,} most likely since" in alarm.message
    assert f"in the reference {told['unusual_before']:,} of {told['parts_before']:,}." in alarm.message
    named = plant.sequences([each["inspection_id"] for each in alarm.evidence["farthest"]])
    assert len(named) == 12
    assert len(set(named) & set(new)) >= 9
    assert "Look at the parts" in alarm.remedy


def test_usual_parts_raise_nothing(plant: Plant) -> None:
    plant.feed(15_000)
    assert plant.alarms() == []
    standing = plant.watch.standing(plant.key(), plant.now - timedelta(hours=1))
    assert standing is not None
    assert standing.parts_since >= 3_000
    assert standing.unusual_since / standing.parts_since < 0.02


@pytest.mark.parametrize(
    "changes",
    [
        {"verdict": Verdict.NG},
        {"verdict": Verdict.REVIEW},
        {"embedding": None},
        {"package_id": None},
        {"product": None},
        {"clock_error_s": 4.0},
        {"committed_at": BEGAN},
    ],
)
def test_what_was_not_accepted_or_has_no_sure_time_is_left_out(plant: Plant, changes: dict[str, Any]) -> None:
    plant.feed(250)
    before = plant.watch.progress()[plant.key()]
    plant.feed(500, share=1.0, **changes)
    after = plant.watch.progress()[plant.key()]
    assert after.last_at == before.last_at
    plant.feed(250)
    assert plant.alarms() == []
    assert plant.watch.progress()[plant.key()].left_out == (
        500 if {"clock_error_s", "committed_at"} & set(changes) else 0
    )


def test_restarts_change_nothing(plant: Plant, learnt: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("central.services.watches.novelty._SAVE_EVERY", timedelta(seconds=900))
    twin = NoveltyMonitor.from_bytes(learnt)
    for step in range(12):
        plant.feed(333, share=0.02 if step > 5 else 0.0)
        if step % 2:
            plant.watch = NoveltyWatch(plant.database, SETTINGS)
    plant.watch.tick(plant.now)
    plant.watch.tick(plant.now + timedelta(seconds=900))
    with plant.database.read() as session:
        rows = session.exec(select(Inspection).order_by(Inspection.id)).all()  # type: ignore[arg-type]
        state = session.exec(select(NoveltyState)).one()
    at = np.array([row.captured_at.timestamp() for row in rows])
    points = np.array([np.frombuffer(row.embedding or b"", "<f2") for row in rows], np.float64)
    twin.update_many(at, points, np.ones(len(rows), np.bool_))
    assert state.monitor == twin.to_bytes()
    assert state.upto_inspection_id == rows[-1].id


def test_another_package_is_learnt_anew_and_the_old_one_kept_for_a_rollback(plant: Plant) -> None:
    plant.feed(250)
    plant.feed(500, share=1.0, package_id="b" * 64)
    told = plant.watch.progress()
    assert told[plant.key()].is_ready
    assert not told[plant.key("b" * 64)].is_ready
    assert "too short so far: 500 of 20000" in told[plant.key("b" * 64)].notes[-1]
    assert plant.alarms() == []
    assert plant.watch.standing(plant.key("b" * 64), plant.now) is None


def test_monitors_of_packages_long_gone_are_let_go(plant: Plant) -> None:
    for letter in "abcd":
        plant.feed(10, package_id=letter * 64)
    plant.watch.tick(plant.now + timedelta(hours=2))
    kept = {key.package_id[0] for key in plant.watch.progress()}
    with plant.database.read() as session:
        stored = {row.package_id[0] for row in session.exec(select(NoveltyState)).all()}
    assert kept == stored == {"b", "c", "d"}


def test_long_past_without_embeddings_is_passed_over_in_small_steps(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("central.services.watches.novelty._MOST_ROWS_A_TICK", 100)
    plant.feed(450, embedding=None)
    before = plant.watch.progress()[plant.key()].last_at
    plant.feed(10)
    ticks = 0
    while plant.watch.progress()[plant.key()].last_at == before:
        plant.watch.tick(plant.now)
        ticks += 1
        assert ticks < 10
    assert ticks >= 2
    assert plant.watch.progress()[plant.key()].last_at == plant.now - timedelta(seconds=_TAKT_S)


def test_embedding_of_another_length_under_the_same_package_is_left_out(plant: Plant) -> None:
    plant.feed(250)
    plant.feed(5, embedding=packed([1.0, 2.0]))
    told = plant.watch.progress()[plant.key()]
    assert told.left_out == 5
    plant.feed(250)
    assert plant.watch.progress()[plant.key()].left_out == 5


def test_damaged_state_begins_anew_and_does_not_stop_the_others(plant: Plant) -> None:
    with plant.database.begin() as session:
        state = session.exec(select(NoveltyState)).one()
        state.monitor = b"torn"
        session.add(state)
    plant.feed(250)
    assert not plant.watch.progress()[plant.key()].is_ready


def test_reference_of_the_settings_that_cannot_be_is_refused_at_the_start(sqlite_database: Database) -> None:
    with pytest.raises(ValueError, match="20000 to 5000000"):
        NoveltyWatch(sqlite_database, WatchSettings(novelty_reference_parts=500))


def test_parts_that_were_left_out_stay_counted_after_a_restart(plant: Plant) -> None:
    plant.feed(250)
    plant.feed(5, clock_error_s=4.0)
    plant.watch.tick(plant.now + timedelta(hours=2))
    plant.watch = NoveltyWatch(plant.database, SETTINGS)
    plant.watch.tick(plant.now)
    assert plant.watch.progress()[plant.key()].left_out == 5


def test_parts_that_were_committed_out_of_order_are_taken_in_by_their_time(plant: Plant) -> None:
    plant.feed(10)
    later, sooner = plant.now + timedelta(seconds=20), plant.now + timedelta(seconds=10)
    told: dict[str, Any] = {"committed_at": plant.now + timedelta(minutes=1)}
    watch, plant.watch = plant.watch, NoveltyWatch(plant.database, SETTINGS)
    # Only the other watch looks in between.
    plant.feed(1, captured_at=later, **told)
    plant.feed(1, captured_at=sooner, **told)
    watch.tick(plant.now)
    progress = watch.progress()[plant.key()]
    assert (progress.left_out, progress.last_at) == (0, later)
