# SPDX-License-Identifier: Apache-2.0
"""Why causes are worked out from rollups of 60 stations at most: seconds for one alarm, and what ingest feels of it.

`size` stations with a day of minutes in the rollups on a SQLite file, drift monitors of the alarm's line of 60, one
open alarm that is asked about again and again. Beside it batches of 500 inspections are committed with their rollups,
as ingest does; the slowest commit is given with and without the cause watch at work.
"""

import tempfile
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, Final

import numpy as np
from sqlalchemy import insert

from central.quality.drift import CHANNELS, DriftMonitor
from central.services.alarms.rows import Signal, raise_alarm
from central.services.watches.causes import CauseWatch
from central.services.watches.drift import DriftWatch, learnt_as
from central.services.watches.novelty import NoveltyWatch
from central.settings import WatchSettings
from central.store.database import Database
from central.store.drift_tables import DriftState
from central.store.repositories import stations
from central.store.rollups import add_to_rollups
from central.store.schema import migrate
from central.store.tables import Inspection, RollupMinute, columns_of
from contracts.vocabulary import AlarmKind, Disposition, SignalState, Verdict, VerdictCause

SIZES: Final = (3, 60, 2_000)
_BEGAN: Final = datetime(2026, 3, 2, tzinfo=UTC)
_HOURS: Final = 26
_LINE: Final = 60
_PACKAGE: Final = "a" * 64
# An old alarm asks for the longest past; it is due again after a tenth of its age.
_OPEN_FOR: Final = timedelta(hours=6)
_AGAIN: Final = timedelta(hours=1)
_ASKED: Final = 6
_COMMITS: Final = 40
_BATCH: Final = 500
_PARTS_A_MINUTE: Final = 33


def run(size: int) -> dict[str, Any]:
    """Figures for one plant."""
    with tempfile.TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{Path(folder) / 'central.db'}")
        migrate(database)
        try:
            return _measured(database, size)
        finally:
            database.close()


def _measured(database: Database, size: int) -> dict[str, Any]:
    addresses = [f"bench/line-{number // _LINE:02d}/st-{number % _LINE:02d}" for number in range(size)]
    now = _BEGAN + timedelta(hours=_HOURS)
    with database.begin() as session:
        ids = stations.ensure(session, addresses, _BEGAN)
    _fill(database, list(ids.values()))
    monitor = _monitor()
    with database.begin() as session:
        for address in addresses[:_LINE]:
            saved = {"upto_inspection_id": 0, "saved_at": now, "last_at": now, "monitor": monitor}
            session.add(DriftState.model_validate({"station_id": ids[address], "is_simulated": False, **saved}))
        signal = Signal(AlarmKind.DRIFT, "darker", "look", is_simulated=False, station=addresses[0])
        raise_alarm(session, signal, now - _OPEN_FOR)
    drift = DriftWatch(database, WatchSettings(drift_reference_days=1.0))
    drift.tick(now)
    novelty = NoveltyWatch(database, WatchSettings())
    novelty.tick(now)
    watch = CauseWatch(database, WatchSettings(), drift, novelty)
    alone = _commits(database, ids[addresses[-1]], 0)
    asked: list[float] = []
    done = threading.Event()

    def ask() -> None:
        at = now
        while not done.is_set():
            began = perf_counter()
            watch.tick(at)
            asked.append(perf_counter() - began)
            at += _AGAIN

    thread = threading.Thread(target=ask)
    thread.start()
    beside: list[float] = []
    try:
        while len(asked) < _ASKED or not beside:
            beside += _commits(database, ids[addresses[-1]], _COMMITS + len(beside))
    finally:
        done.set()
        thread.join()
    return {
        "stations": size,
        "rollup_rows": size * _HOURS * 60,
        "alarm_median_s": round(median(asked), 3),
        "alarm_longest_s": round(max(asked), 3),
        "commit_of_500_alone_median_ms": round(1e3 * median(alone), 1),
        "commit_of_500_alone_longest_ms": round(1e3 * max(alone), 1),
        "commit_of_500_beside_median_ms": round(1e3 * median(beside), 1),
        "commit_of_500_beside_longest_ms": round(1e3 * max(beside), 1),
    }


def _fill(database: Database, ids: list[int]) -> None:
    keys = {"product": "ring", "package_id": _PACKAGE, "is_simulated": False}
    counts = {
        column.name: 0 for column in columns_of(RollupMinute).c if column.name not in {"minute", "station_id", *keys}
    }
    judged = {"parts": _PARTS_A_MINUTE, "ok": _PARTS_A_MINUTE - 1, "ng": 1}
    for hour in range(_HOURS):
        rows = [
            {**keys, **counts, **judged, "minute": _BEGAN + timedelta(hours=hour, minutes=minute), "station_id": number}
            for minute in range(60)
            for number in ids
        ]
        with database.begin() as session:
            session.connection().execute(insert(columns_of(RollupMinute)), rows)


def _monitor() -> bytes:
    rng = np.random.default_rng(5)
    level = dict(zip(CHANNELS, (0.3, 120.0, 30.0, 400.0, 50.0), strict=True))
    monitor = DriftMonitor(1.0)
    count = _HOURS * 3_600
    channels = {name: value * np.exp(0.05 * rng.normal(size=count)) for name, value in level.items()}
    at = np.asarray(_BEGAN.timestamp() + np.arange(count), np.float64)
    monitor.update_many(at, [learnt_as("ring", _PACKAGE)] * count, channels)
    return monitor.to_bytes()


def _commits(database: Database, station_id: int, first: int) -> list[float]:
    """Seconds that each of 40 batches took to commit."""
    took = []
    for batch in range(first, first + _COMMITS):
        rows = [
            {
                "station_id": station_id, "epoch": 1, "sequence": 1 + batch * _BATCH + index, "product": "ring",
                "captured_at": _BEGAN + timedelta(hours=_HOURS, seconds=batch), "committed_at": _BEGAN,
                "verdict": Verdict.OK, "cause": VerdictCause.SCORE, "score": 0.3, "package_id": _PACKAGE,
                "disposition": Disposition.PASSED, "signal": SignalState.SENT, "brightness": 120.0, "contrast": 30.0,
                "blur": 400.0, "colour": 50.0, "verdict_ms": 9.0, "is_simulated": False, "clock_error_s": None,
            }
            for index in range(_BATCH)
        ]  # fmt: skip
        began = perf_counter()
        with database.begin() as session:
            session.connection().execute(insert(Inspection), rows)
            add_to_rollups(session, rows)
        took.append(perf_counter() - began)
    return took
