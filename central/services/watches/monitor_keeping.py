# SPDX-License-Identifier: Apache-2.0
"""Keeps the monitors of a watch: in memory, in the database with how far they have read, and through a restart.

Knows nothing of what a monitor computes or which rows it is fed. All monitors of a watch have read up to the same
inspection and are written down in one transaction with the alarms that their signals raise; what came after that is
read again after a restart, so that nothing is counted twice or lost. Used by `drift.py` and `novelty.py`.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from sqlmodel import Session, select

from central.services.alarms.rows import Signal, raise_with_onset
from central.store.database import Database
from central.store.drift_tables import DriftState, NoveltyState
from central.store.tables import columns_of

__all__ = ["Kept", "MonitorKeeper", "has_sure_time"]

_LOG = logging.getLogger(__name__)

# A capture time that is later than its arrival is a wrong clock.
_MOST_AHEAD: Final = timedelta(seconds=60)


class _Monitor(Protocol):
    def to_bytes(self) -> bytes: ...


K = TypeVar("K", bound=tuple[Any, ...])
M = TypeVar("M", bound=_Monitor)
S = TypeVar("S")


@dataclass
class Kept(Generic[M]):
    """One monitor. `last_at`: capture time of the newest part taken in, seconds since the epoch, -inf before any."""

    monitor: M
    last_at: float = -np.inf
    left_out: int = 0
    is_changed: bool = False


class MonitorKeeper(Generic[K, M]):
    """See the module.

    Args:
        database: where the states are.
        table: of the states; its primary key's columns, in their order, are what a key is made of.
        key_of: a key from these columns' values.
        new: a monitor that has seen nothing. Called once here: a wrong setting must stop the start, not a tick at
            night.
        read: a monitor from its bytes; ValueError where they cannot be read, and it begins anew.

    Raises:
        ValueError: what `new` raises.
    """

    def __init__(
        self,
        database: Database,
        table: type[DriftState] | type[NoveltyState],
        key_of: Callable[[tuple[Any, ...]], K],
        new: Callable[[], M],
        read: Callable[[bytes], M],
    ) -> None:
        self._database, self._table, self._key_of, self._new, self._read = database, table, key_of, new, read
        self._kept: dict[K, Kept[M]] = {}
        self._saved_at = datetime.min.replace(tzinfo=UTC)
        self.upto: int | None = None
        new()

    @property
    def is_loaded(self) -> bool:
        """Whether the monitors are there: not before the first tick, nor after one that failed."""
        return self.upto is not None

    @contextmanager
    def whole(self) -> Iterator[None]:
        """What a tick does, done whole or taken back: some monitors may have taken in what others have not."""
        try:
            yield
        except BaseException:
            self.upto = None
            self._kept.clear()
            raise

    def load(self, now: datetime, before_all: Callable[[Session], int]) -> int:
        """Monitors as they were saved, where they are not here already.

        Args:
            now: counts as the last saving.
            before_all: the inspection after which to begin where nothing was ever saved.

        Returns:
            the inspection up to which they have read.
        """
        if self.upto is None:
            with self._database.read() as session:
                states: Sequence[Any] = session.exec(select(self._table)).all()
                for state in states:
                    self._kept[self._key(state)] = self._from(state)
                upto = max(state.upto_inspection_id for state in states) if states else before_all(session)
            self.upto, self._saved_at = upto, now
        return self.upto

    def get(self, key: K) -> Kept[M] | None:
        """Of this key."""
        return self._kept.get(key)

    def items(self) -> list[tuple[K, Kept[M]]]:
        """All, as they are at this moment; may be asked from another thread than the tick's."""
        return list(self._kept.copy().items())

    def take(
        self,
        key: K,
        rows: Sequence[Any],
        is_fit: Callable[[Any], bool],
        feed: Callable[[M, NDArray[np.float64], list[Any]], list[S] | None],
    ) -> list[S]:
        """Feed a monitor, a new one where there was none, with the rows that are fit and not earlier than the newest.

        Args:
            key: of the monitor.
            rows: with `captured_at`, in any order.
            is_fit: others are left out, and counted.
            feed: the monitor, capture times in seconds since the epoch [n], these rows in their order; None: it could
                take in none of them.

        Returns:
            what `feed` found.
        """
        kept = self._kept.get(key)
        if kept is None:
            kept = self._kept[key] = Kept(self._new())
        fit = sorted((each for each in rows if is_fit(each)), key=lambda each: each.captured_at)
        fit = [each for each in fit if each.captured_at.timestamp() >= kept.last_at]
        kept.left_out += len(rows) - len(fit)
        kept.is_changed = True
        if not fit:
            return []
        at = np.array([each.captured_at.timestamp() for each in fit])
        found = feed(kept.monitor, at, fit)
        if found is None:
            kept.left_out += len(fit)
            return []
        kept.last_at = float(at[-1])
        return found

    def is_due(self, now: datetime, every: timedelta) -> bool:
        """Whether the last saving is so long ago."""
        return now - self._saved_at >= every

    def save(self, signals: Sequence[Signal], now: datetime, too_many: Callable[[], list[K]] = list) -> None:
        """Alarms of these signals and all monitors that changed, in one transaction.

        Args:
            signals: of what was taken in since the last saving.
            now: of the alarms and of the states.
            too_many: keys whose monitors are let go, here and in the database.
        """
        changed = {key: each for key, each in self._kept.items() if each.is_changed and np.isfinite(each.last_at)}
        with self._database.begin() as session:
            for signal in signals:
                raise_with_onset(session, signal, now)
            for key, each in changed.items():
                session.merge(self._state(key, each, now))
            for key in too_many():
                del self._kept[key]
                row = session.get(self._table, tuple(key))
                if row is not None:
                    session.delete(row)
        for each in changed.values():
            each.is_changed = False
        self._saved_at = now

    def _from(self, state: DriftState | NoveltyState) -> Kept[M]:
        try:
            monitor = self._read(state.monitor)
        except ValueError as error:
            _LOG.warning("%s begins anew station_id=%s: %s", self._table.__tablename__, state.station_id, error)
            monitor = self._new()
        return Kept(monitor, state.last_at.timestamp(), state.left_out)

    def _key(self, state: DriftState | NoveltyState) -> K:
        return self._key_of(tuple(getattr(state, name) for name in self._names()))

    def _state(self, key: K, kept: Kept[M], now: datetime) -> DriftState | NoveltyState:
        return self._table(
            **dict(zip(self._names(), key, strict=True)),
            upto_inspection_id=self.upto or 0,
            saved_at=now,
            last_at=datetime.fromtimestamp(kept.last_at, UTC),
            left_out=kept.left_out,
            monitor=kept.monitor.to_bytes(),
        )

    def _names(self) -> list[str]:
        return [column.name for column in columns_of(self._table).primary_key]


def has_sure_time(row: Any) -> bool:
    """Whether a part's capture time can be relied on: the station's clock was right, and it did not arrive before."""
    return row.clock_error_s is None and row.captured_at - row.committed_at <= _MOST_AHEAD
