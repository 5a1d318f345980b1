# SPDX-License-Identifier: Apache-2.0
"""Feeds the novelty monitors with the accepted parts as they are committed, and raises NOVELTY alarms.

The statistics are `quality/novelty.py`'s; one monitor for each station, product and package, because another package
embeds otherwise. `monitor_keeping.py` keeps them and takes them through a restart. An alarm names the parts that lie
farthest, for people to look at; it judges none and names no cause. Ticked by the worker.
"""

import logging
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select as sa_select
from sqlmodel import Session, func, select

from central.quality.novelty import NoveltyMonitor, NoveltySignal, NoveltyStanding
from central.services.alarms.rows import Signal
from central.services.watches.monitor_keeping import MonitorKeeper, has_sure_time
from central.settings import WatchSettings
from central.store.database import Database
from central.store.drift_tables import NoveltyState
from central.store.embeddings import unpacked
from central.store.tables import Inspection, Station, columns_of
from contracts.vocabulary import AlarmKind, Verdict

_LOG = logging.getLogger(__name__)

# A tick stays short; what is left is read by the next one. Rows looked at may be of packages that embed nothing.
_MOST_PARTS_A_TICK: Final = 20_000
_MOST_ROWS_A_TICK: Final = 200_000
_PERIOD_S: Final = 5.0
# While it learns a monitor is up to two megabytes; what came since is read again after a restart.
_SAVE_EVERY: Final = timedelta(hours=1)
# Of a station and product: the package that judges, and those that a rollback may bring back.
_MOST_PACKAGES: Final = 3
# Among so many since the onset, so many are named.
_MOST_LOOKED_AT: Final = 20_000
_MOST_NAMED: Final = 12
_REMEDY: Final = (
    "Look at the parts named here, the farthest first, and audit more of this product: a kind of defect that scores "
    "low may be passing. If the parts only look different and are good (another supplier, say), close this alarm."
)


class NoveltyKey(NamedTuple):
    """What a monitor is of."""

    station_id: int
    is_simulated: bool
    product: str
    package_id: str


@dataclass(frozen=True)
class NoveltyProgress:
    """How far a monitor is. `notes`: what was too short or odd about its reference."""

    is_ready: bool
    notes: tuple[str, ...]
    last_at: datetime
    left_out: int


class NoveltyWatch:
    """See the module."""

    name: Final = "novelty"
    period_s: Final = _PERIOD_S

    def __init__(self, database: Database, settings: WatchSettings) -> None:
        self._database = database
        parts, alarms = settings.novelty_reference_parts, settings.novelty_false_alarms_per_30_days
        self.keeper: MonitorKeeper[NoveltyKey, NoveltyMonitor] = MonitorKeeper(
            database, NoveltyState, NoveltyKey._make, lambda: NoveltyMonitor(parts, alarms), NoveltyMonitor.from_bytes
        )

    def tick(self, now: datetime) -> None:
        """Take in what has been committed since; save what is due."""
        with self.keeper.whole():
            self._tick(now)

    def _tick(self, now: datetime) -> None:
        upto = self.keeper.load(now, _before_all)
        with self._database.read() as session:
            newest = session.exec(select(func.max(Inspection.id))).one() or 0
            until = min(newest, upto + _MOST_ROWS_A_TICK)
            rows = self._rows(session, upto, until)
        found = []
        for key, parts in _by_key(rows).items():
            found += [(key, signal) for signal in self._take(key, parts)]
        # Parts without an embedding are passed over for good; rows are read in the order of their commits.
        self.keeper.upto = rows[-1].id if len(rows) == _MOST_PARTS_A_TICK else max(until, upto)
        signals = [self._signal(key, each) for key, each in found]
        if signals or self.keeper.is_due(now, _SAVE_EVERY):
            self.keeper.save(signals, now, self._long_gone)

    @property
    def is_loaded(self) -> bool:
        """Whether the monitors are there: not before the first tick, nor after one that failed."""
        return self.keeper.is_loaded

    def progress(self) -> dict[NoveltyKey, NoveltyProgress]:
        """Of each monitor, how far it is."""
        return {
            key: NoveltyProgress(
                each.monitor.is_ready, each.monitor.notes, datetime.fromtimestamp(each.last_at, UTC), each.left_out
            )
            for key, each in self.keeper.items()
            if np.isfinite(each.last_at)
        }

    def standing(self, key: NoveltyKey, since: datetime) -> NoveltyStanding | None:
        """How often unusual parts come lately; None: it has no monitor, or one that still learns."""
        kept = self.keeper.get(key)
        return None if kept is None else kept.monitor.standing(since.timestamp())

    def _rows(self, session: Session, upto: int, until: int) -> Sequence[Any]:
        c = columns_of(Inspection).c
        wanted = (
            sa_select(
                c.id, c.station_id, c.is_simulated, c.product, c.package_id, c.captured_at, c.committed_at,
                c.clock_error_s, c.embedding,
            )
            .where(c.id > upto, c.id <= until, c.verdict == Verdict.OK, c.embedding.is_not(None))
            .order_by(c.id)
            .limit(_MOST_PARTS_A_TICK)
        )  # fmt: skip
        return session.connection().execute(wanted).all()

    def _take(self, key: NoveltyKey, rows: list[Any]) -> list[NoveltySignal]:
        [(length, _)] = Counter(len(each.embedding) for each in rows).most_common(1)

        def feed(monitor: NoveltyMonitor, at: NDArray[np.float64], fit: list[Any]) -> list[NoveltySignal] | None:
            try:
                return monitor.update_many(at, unpacked([each.embedding for each in fit]), np.ones(len(fit), np.bool_))
            except ValueError as error:
                # Another length under the same package, or too many numbers for so short a reference.
                _LOG.warning("parts left out of the novelty monitor station_id=%s: %s", key.station_id, error)
                return None

        return self.keeper.take(key, rows, lambda row: _is_fit(row, length), feed)

    def _signal(self, key: NoveltyKey, signal: NoveltySignal) -> Signal:
        with self._database.read() as session:
            address = session.get_one(Station, key.station_id).address
            return _worded(signal, key, address, self._farthest(session, key, signal))

    def _long_gone(self) -> list[NoveltyKey]:
        """Of packages that have judged nothing for longest."""
        of: defaultdict[tuple[int, bool, str], list[tuple[float, NoveltyKey]]] = defaultdict(list)
        for key, each in self.keeper.items():
            of[key.station_id, key.is_simulated, key.product].append((each.last_at, key))
        return [key for keys in of.values() for _, key in sorted(keys)[:-_MOST_PACKAGES]]

    def _farthest(self, session: Session, key: NoveltyKey, signal: NoveltySignal) -> list[dict[str, Any]]:
        """The accepted parts since the onset that lie farthest from the reference, the farthest first."""
        c = columns_of(Inspection).c
        since = datetime.fromtimestamp(signal.onset, UTC)
        wanted = (
            sa_select(c.id, c.captured_at, c.embedding)
            .where(
                c.package_id == key.package_id, c.station_id == key.station_id, c.product == key.product,
                c.is_simulated.is_(key.is_simulated), c.captured_at >= since, c.verdict == Verdict.OK,
                c.embedding.is_not(None),
            )
            .order_by(c.id.desc())
            .limit(_MOST_LOOKED_AT)
        )  # fmt: skip
        rows = session.connection().execute(wanted).all()
        rows = [row for row in rows if len(row.embedding) == len(rows[0].embedding)]
        if not rows:
            return []
        kept = self.keeper.get(key)
        if kept is None:
            return []
        distances = kept.monitor.distances(unpacked([row.embedding for row in rows]))
        return [
            {"inspection_id": rows[place].id, "captured_at": rows[place].captured_at.isoformat()}
            for place in np.argsort(-distances, kind="stable")[:_MOST_NAMED]
        ]


def _before_all(session: Session) -> int:
    """All that is stored teaches: a reference is long, and older parts are the usual ones."""
    oldest = session.exec(select(func.min(Inspection.id))).one()
    return 0 if oldest is None else oldest - 1


def _by_key(rows: Sequence[Any]) -> dict[NoveltyKey, list[Any]]:
    found: dict[NoveltyKey, list[Any]] = defaultdict(list)
    for row in rows:
        if row.product and row.package_id:
            found[NoveltyKey(row.station_id, row.is_simulated, row.product, row.package_id)].append(row)
    return found


def _is_fit(row: Any, length: int) -> bool:
    """Whether a part says when it was seen, and as the others of its package."""
    return len(row.embedding) == length and has_sure_time(row)


def _worded(signal: NoveltySignal, key: NoveltyKey, station: str, farthest: Sequence[Mapping[str, Any]]) -> Signal:
    onset = datetime.fromtimestamp(signal.onset, UTC)
    where = "crowded in one direction, as a new kind of part would" if signal.is_crowded else "far from the usual ones"
    return Signal(
        kind=AlarmKind.NOVELTY,
        station=station,
        product=key.product,
        is_simulated=key.is_simulated,
        message=(
            f"Accepted parts of {key.product} at {station} that look unusual as a whole have become more frequent: "
            f"{signal.unusual:,} of {signal.parts:,} most likely since {onset:%Y-%m-%d %H:%M:%S} UTC, {where}; "
            f"in the reference {signal.unusual_before:,} of {signal.parts_before:,}. Seen without labels: nobody has "
            "judged these parts."
        ),
        remedy=_REMEDY,
        evidence={
            "rule": "sequential detector on counts of unusual accepted parts",
            "onset": onset.isoformat(),
            "raised_at_part": datetime.fromtimestamp(signal.raised_at, UTC).isoformat(),
            "rate": signal.rate,
            "unusual": signal.unusual,
            "parts": signal.parts,
            "usual_rate": signal.usual_rate,
            "unusual_before": signal.unusual_before,
            "parts_before": signal.parts_before,
            "is_crowded": signal.is_crowded,
            "package_id": key.package_id,
            "farthest": list(farthest),
        },
    )
