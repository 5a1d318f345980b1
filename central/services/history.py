# SPDX-License-Identifier: Apache-2.0
"""Lets go of old shifts, chart blocks and sums by minute, which would grow for as long as a plant runs.

What is in use stays however old: the newest shift of a station and product and those whose audits wait for people or
are not counted, the reference and the newest blocks of each chart. Pictures, inspections and what rests on judgements
are `services/retention.py`'s. In small bites with a bound for each tick, so that ingest never waits long and a backlog
of years goes in steps. Ticked by the worker. docs/retention.md lists every table.
"""

import logging
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import delete, exists, tuple_
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, func, select

from central.history_settings import HistorySettings
from central.store.audit_tables import AuditShift
from central.store.database import Database
from central.store.learning_tables import ChartBlock
from central.store.tables import Audit, RollupLatency, RollupMinute, Row, columns_of
from contracts.vocabulary import AuditState

_LOG = logging.getLogger(__name__)

_BITE_ROWS: Final = 2_000
_MOST_BITES: Final = 50
_PAUSE_S: Final = 0.02
# Of a chart, however old: more than `watch.reference_blocks` may be, and more than is ever drawn or watched.
_FIRST_BLOCKS: Final = 500
_NEWEST_BLOCKS: Final = 1_000


class HistoryService:
    """See the module. `pause`: between two bites, for ingest."""

    name: Final = "history"

    def __init__(
        self, database: Database, settings: HistorySettings, *, pause: Callable[[float], None] = time.sleep
    ) -> None:
        self._database: Final = database
        self._pause: Final = pause
        self.period_s: Final = settings.period_s
        # Rows let go since start, by table.
        self.counts: Final[dict[str, int]] = {}
        self._kinds: Final[list[tuple[type[Row], float, Callable[[datetime], Any]]]] = [
            (AuditShift, settings.shifts_kept_days, _old_shifts),
            (ChartBlock, settings.blocks_kept_days, _old_blocks),
            (RollupLatency, settings.latency_kept_days, lambda before: col(RollupLatency.minute) < before),
            (RollupMinute, settings.minutes_kept_days, lambda before: col(RollupMinute.minute) < before),
        ]

    def tick(self, now: datetime) -> None:
        """Bite at each table until nothing old is left, or until the bound; the rest waits for the next tick."""
        for table, days, is_old in self._kinds:
            if days <= 0:
                continue
            gone = self._prune(table, is_old(now - timedelta(days=days)))
            self.counts[str(table.__tablename__)] = self.counts.get(str(table.__tablename__), 0) + gone
            if gone:
                _LOG.info("old rows let go table=%s rows=%s kept_days=%s", table.__tablename__, gone, days)

    def _prune(self, table: type[Row], is_old: Any) -> int:
        gone = 0
        for bite in range(_MOST_BITES):
            if bite:
                self._pause(_PAUSE_S)
            # Looked for without the write lock.
            with self._database.read() as session:
                keys = _keys(session, table, is_old)
            if not keys:
                break
            with self._database.begin() as session:
                found = tuple_(*columns_of(table).primary_key.columns).in_(keys)
                # Asked again: a shift may have become somebody's since it was found.
                gone += int(session.connection().execute(delete(columns_of(table)).where(found, is_old)).rowcount)
            if len(keys) < _BITE_ROWS:
                break
        return gone


def _keys(session: Session, table: type[Row], is_old: Any) -> list[tuple[Any, ...]]:
    columns = list(columns_of(table).primary_key.columns)
    return [tuple(row) for row in session.connection().execute(_select(columns).where(is_old).limit(_BITE_ROWS))]


def _select(columns: list[Any]) -> Any:
    return select(*columns)


def _old_shifts(before: datetime) -> Any:
    """Ended, counted, another came since, and nobody is to judge a part of it any more."""
    later = aliased(AuditShift)
    return (
        (col(AuditShift.ends_at) < before)
        & col(AuditShift.counted_at).is_not(None)
        & exists().where(
            col(later.station_id) == col(AuditShift.station_id),
            col(later.product) == col(AuditShift.product),
            col(later.is_simulated) == col(AuditShift.is_simulated),
            col(later.id) > col(AuditShift.id),
        )
        & ~exists().where(
            col(Audit.shift_id) == col(AuditShift.id),
            col(Audit.state).in_((AuditState.OPEN, AuditState.AWAITING_EVIDENCE)),
        )
    )


def _old_blocks(before: datetime) -> Any:
    """Neither of the first blocks of its chart, which are the reference, nor of the newest."""
    newest = aliased(ChartBlock)
    last = (
        select(func.max(newest.number))
        .where(
            newest.station_id == ChartBlock.station_id,
            newest.product == ChartBlock.product,
            newest.package_id == ChartBlock.package_id,
            col(newest.is_simulated) == col(ChartBlock.is_simulated),
        )
        .correlate(ChartBlock)
        .scalar_subquery()
    )
    return (
        (col(ChartBlock.at) < before)
        & (col(ChartBlock.number) >= _FIRST_BLOCKS)
        & (col(ChartBlock.number) <= last - _NEWEST_BLOCKS)
    )
