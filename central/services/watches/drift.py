# SPDX-License-Identifier: Apache-2.0
"""Feeds every station's drift monitor with the parts as they are committed, and raises DRIFT alarms.

The statistics are `quality/drift.py`'s, one monitor a station; `monitor_keeping.py` keeps them and takes them through
a restart. This chooses the parts and words the signals. Names no cause. Ticked by the worker.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select as sa_select
from sqlmodel import Session, func, select

from central.quality.drift import CHANNELS, DriftMonitor, DriftSignal, Reference, Standing
from central.services.alarms.rows import Signal
from central.services.watches.monitor_keeping import MonitorKeeper, has_sure_time
from central.settings import WatchSettings
from central.store.database import Database
from central.store.drift_tables import DriftState
from central.store.tables import Inspection, Station, columns_of
from contracts.vocabulary import AlarmKind, Verdict

# A tick stays short; what is left is read by the next one.
_MOST_PARTS_A_TICK: Final = 20_000
_PERIOD_S: Final = 5.0
# A monitor that still learns is up to a megabyte; what came since the last saving is read again after a restart.
_SAVE_EVERY: Final = timedelta(minutes=15)
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


class DriftWatch:
    """See the module."""

    name: Final = "drift"
    period_s: Final = _PERIOD_S

    def __init__(self, database: Database, settings: WatchSettings) -> None:
        self._database = database
        self._settings = settings
        days, alarms = settings.drift_reference_days, settings.drift_false_alarms_per_30_days
        self.keeper: MonitorKeeper[Key, DriftMonitor] = MonitorKeeper(
            database, DriftState, _key, lambda: DriftMonitor(days, alarms), DriftMonitor.from_bytes
        )

    def tick(self, now: datetime) -> None:
        """Take in what has been committed since; save what is due."""
        with self.keeper.whole():
            self._tick(now)

    def _tick(self, now: datetime) -> None:
        upto = self.keeper.load(now, lambda session: self._before_all(session, now))
        with self._database.read() as session:
            rows = self._rows(session, upto)
            addresses = {each.id: each.address for each in session.exec(select(Station)).all()} if rows else {}
        signals = []
        for key, parts in _by_station(rows).items():
            found = self.keeper.take(key, parts, _is_fit, _feed)
            signals += [_worded(each, addresses[key[0]], key[1]) for each in found]
        self.keeper.upto = rows[-1].id if rows else upto
        if signals or self.keeper.is_due(now, _SAVE_EVERY):
            self.keeper.save(signals, now)

    def references(self) -> dict[Key, tuple[Reference, int]]:
        """Of each station, how far its reference is, and how many parts could not be taken in."""
        return {key: (each.monitor.reference, each.left_out) for key, each in self.keeper.items()}

    @property
    def is_loaded(self) -> bool:
        """Whether the monitors are there: not before the first tick, nor after one that failed."""
        return self.keeper.is_loaded

    def standings(self, key: Key, since: datetime) -> Standings:
        """Where a station's channels stand now; empty: it has no monitor, or nothing can be told yet."""
        kept = self.keeper.get(key)
        return {} if kept is None else kept.monitor.standing(since.timestamp())

    def _before_all(self, session: Session, now: datetime) -> int:
        """What is stored already teaches what is normal."""
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


def _key(columns: tuple[Any, ...]) -> Key:
    station_id, is_simulated = columns
    return station_id, is_simulated


def _feed(monitor: DriftMonitor, at: NDArray[np.float64], rows: list[Any]) -> list[DriftSignal]:
    products = [learnt_as(each.product, each.package_id) for each in rows]
    channels = {name: np.array([getattr(each, name) for each in rows], dtype=np.float64) for name in CHANNELS}
    return monitor.update_many(at, products, channels)


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
        and has_sure_time(row)
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
