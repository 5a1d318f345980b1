# SPDX-License-Identifier: Apache-2.0
"""Feeds every station's drift monitor with the parts as they are committed, and raises DRIFT alarms.

The statistics are `quality/drift.py`'s; this keeps one monitor a station in memory and writes them down together, with
how far they have read, so that a restart goes on exactly from there. Between two savings nothing is lost: the parts are
read again. A signal is saved with the alarm it raised. Names no cause. Ticked by the worker.
"""

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
from sqlalchemy import select as sa_select
from sqlmodel import Session, func, select

from central.quality.drift import CHANNELS, DriftMonitor, DriftSignal, Reference, Standing
from central.services.alarms import Signal, raise_with_onset
from central.settings import WatchSettings
from central.store.database import Database
from central.store.drift_tables import DriftState
from central.store.tables import Inspection, Station, columns_of
from contracts.vocabulary import AlarmKind, Verdict

_LOG = logging.getLogger(__name__)

# A tick stays short; what is left is read by the next one.
_MOST_PARTS_A_TICK: Final = 20_000
_PERIOD_S: Final = 5.0
# A monitor that still learns is up to a megabyte; what came since the last saving is read again after a restart.
_SAVE_EVERY: Final = timedelta(minutes=15)
# A capture time that is later than its arrival is a wrong clock.
_MOST_AHEAD: Final = timedelta(seconds=60)
_BEFORE_THE_REFERENCE: Final = timedelta(days=1)
_WORDS: Final = {
    "score": ("score", ""),
    "brightness": ("brightness", " grey levels"),
    "contrast": ("contrast", " grey levels"),
    "blur": ("sharpness", ""),
    "colour": ("colour", " grey levels (red less blue)"),
}
_REMEDY: Final = (
    "Compare pictures from before and after that time. Look at lamp, lens and exposure first where brightness, "
    "contrast, sharpness or colour moved; audit more where the score alone did. If the change is wanted, close this "
    "alarm."
)

Key = tuple[int, bool]
# Of one station, by product under its package (`learnt_as`) and channel.
Standings = Mapping[str, Mapping[str, Standing]]


def learnt_as(product: str, package_id: str) -> str:
    """A score means something under its own package alone: another one is learnt anew, as another product is."""
    return f"{product} {package_id[:12]}"


@dataclass
class _Watched:
    """One station's monitor. `last_at`: capture time of the newest part taken in, seconds since the epoch."""

    monitor: DriftMonitor
    last_at: float = -np.inf
    left_out: int = 0
    is_changed: bool = False


class DriftWatch:
    """See the module."""

    name: Final = "drift"
    period_s: Final = _PERIOD_S

    def __init__(self, database: Database, settings: WatchSettings) -> None:
        self._database = database
        self._settings = settings
        self._watched: dict[Key, _Watched] = {}
        self._upto: int | None = None
        self._saved_at = datetime.min.replace(tzinfo=UTC)
        # A wrong setting must stop the start, not a tick at night.
        self._new()

    def tick(self, now: datetime) -> None:
        """Take in what has been committed since; save what is due."""
        try:
            self._tick(now)
        except BaseException:
            # Some monitors may have taken in what others have not: all go on from what was saved together.
            self._upto = None
            self._watched.clear()
            raise

    def _tick(self, now: datetime) -> None:
        if self._upto is None:
            self._upto, self._saved_at = self._load(now), now
        with self._database.read() as session:
            rows = self._rows(session, self._upto)
            addresses = {each.id: each.address for each in session.exec(select(Station)).all()} if rows else {}
        signals = []
        for key, parts in _by_station(rows).items():
            signals += [_worded(each, addresses[key[0]], key[1]) for each in self._take(key, parts)]
        self._upto = rows[-1].id if rows else self._upto
        if signals or now - self._saved_at >= _SAVE_EVERY:
            self._save(signals, now)

    def references(self) -> dict[Key, tuple[Reference, int]]:
        """Of each station, how far its reference is, and how many parts could not be taken in."""
        return {key: (each.monitor.reference, each.left_out) for key, each in self._watched.copy().items()}

    @property
    def is_loaded(self) -> bool:
        """Whether the monitors are there: not before the first tick, nor after one that failed."""
        return self._upto is not None

    def standings(self, key: Key, since: datetime) -> Standings:
        """Where a station's channels stand now; empty: it has no monitor, or nothing can be told yet."""
        watched = self._watched.get(key)
        return {} if watched is None else watched.monitor.standing(since.timestamp())

    def _new(self) -> DriftMonitor:
        settings = self._settings
        return DriftMonitor(settings.drift_reference_days, settings.drift_false_alarms_per_30_days)

    def _load(self, now: datetime) -> int:
        """Monitors as they were saved; returns the inspection up to which they have read."""
        with self._database.read() as session:
            states = session.exec(select(DriftState)).all()
            for state in states:
                try:
                    monitor = DriftMonitor.from_bytes(state.monitor)
                except ValueError as error:
                    _LOG.warning("drift monitor begins anew station_id=%s: %s", state.station_id, error)
                    monitor = self._new()
                key = (state.station_id, state.is_simulated)
                self._watched[key] = _Watched(monitor, state.last_at.timestamp(), state.left_out)
            if states:
                return max(state.upto_inspection_id for state in states)
            # What is stored already teaches what is normal.
            since = now - timedelta(days=self._settings.drift_reference_days) - _BEFORE_THE_REFERENCE
            first = session.exec(select(func.min(Inspection.id)).where(Inspection.captured_at >= since)).one()
            newest = session.exec(select(func.max(Inspection.id))).one()
            return first - 1 if first is not None else newest or 0

    def _rows(self, session: Session, upto: int) -> Sequence[Any]:
        c = columns_of(Inspection).c
        columns = (
            c.id, c.station_id, c.is_simulated, c.product, c.package_id, c.captured_at, c.committed_at,
            c.clock_error_s, c.verdict, *(c[channel] for channel in CHANNELS),
        )  # fmt: skip
        wanted = sa_select(*columns).where(c.id > upto).order_by(c.id).limit(_MOST_PARTS_A_TICK)
        return session.connection().execute(wanted).all()

    def _take(self, key: Key, rows: list[Any]) -> list[DriftSignal]:
        watched = self._watched.get(key)
        if watched is None:
            watched = self._watched[key] = _Watched(self._new())
        fit = sorted((each for each in rows if _is_fit(each)), key=lambda each: each.captured_at)
        fit = [each for each in fit if each.captured_at.timestamp() >= watched.last_at]
        watched.left_out += len(rows) - len(fit)
        watched.is_changed = True
        if not fit:
            return []
        at = np.array([each.captured_at.timestamp() for each in fit])
        products = [learnt_as(each.product, each.package_id) for each in fit]
        channels = {name: np.array([getattr(each, name) for each in fit], dtype=np.float64) for name in CHANNELS}
        watched.last_at = float(at[-1])
        return watched.monitor.update_many(at, products, channels)

    def _save(self, signals: list[Signal], now: datetime) -> None:
        changed = {key: each for key, each in self._watched.items() if each.is_changed and np.isfinite(each.last_at)}
        with self._database.begin() as session:
            for signal in signals:
                raise_with_onset(session, signal, now)
            for (station_id, is_simulated), each in changed.items():
                row = session.get(DriftState, (station_id, is_simulated)) or DriftState(
                    station_id=station_id, is_simulated=is_simulated, upto_inspection_id=0,
                    saved_at=now, last_at=now, monitor=b"",
                )  # fmt: skip
                row.upto_inspection_id = self._upto or 0
                row.saved_at, row.last_at = now, datetime.fromtimestamp(each.last_at, UTC)
                row.left_out, row.monitor = each.left_out, each.monitor.to_bytes()
                session.add(row)
        for each in changed.values():
            each.is_changed = False
        self._saved_at = now


def _by_station(rows: Sequence[Any]) -> dict[Key, list[Any]]:
    found: dict[Key, list[Any]] = defaultdict(list)
    for row in rows:
        found[row.station_id, row.is_simulated].append(row)
    return found


def _is_fit(row: Any) -> bool:
    """Whether a part says what was seen, and when. A part that got no verdict was seen wrongly, or not at all."""
    values = [getattr(row, channel) for channel in CHANNELS]
    return (
        row.verdict is not Verdict.NO_DECISION
        and bool(row.product)
        and bool(row.package_id)
        and all(value is not None and np.isfinite(value) for value in values)
        and row.score > 0
        and row.clock_error_s is None
        and row.captured_at - row.committed_at <= _MOST_AHEAD
    )


def _worded(signal: DriftSignal, station: str, is_simulated: bool) -> Signal:
    onset = datetime.fromtimestamp(signal.onset, UTC)
    moved = [f"{_WORDS[name][0]} by {signal.sizes[name]:+.3g}{_WORDS[name][1]}" for name in signal.channels]
    return Signal(
        kind=AlarmKind.DRIFT,
        station=station,
        is_simulated=is_simulated,
        message=(
            f"What {station} sees has left what is usual there at this time of day: {', '.join(moved)}, most likely "
            f"since {onset:%Y-%m-%d %H:%M:%S} UTC. Seen without labels: it says nothing yet of escapes or overkill."
        ),
        remedy=_REMEDY,
        evidence={
            "chart": "drift " + " ".join(sorted(signal.channels)),
            "rule": "two-sided sequential detector on whitened block means",
            "onset": onset.isoformat(),
            "raised_at_part": datetime.fromtimestamp(signal.raised_at, UTC).isoformat(),
            "channels": list(signal.channels),
            "sizes": {name: signal.sizes[name] for name in signal.channels},
        },
    )
