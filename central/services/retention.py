# SPDX-License-Identifier: Apache-2.0
"""Lets go of what is older than the settings say: pictures, unfinished uploads, quarantined bytes, old inspections.

Never touches what carries a judgement: audits, labelled pictures and what they rest on stay, and rollups stay too.
What may go is looked for without the write lock and taken in small bites, so that ingest never waits long; a tick
bites until there is no more or its time is spent. Ticked by the worker.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import and_, delete, exists, or_
from sqlmodel import Session, col, select

from central.settings import EvidenceSettings, IngestSettings
from central.store.blobs import Blobs
from central.store.database import Database
from central.store.repositories import shadow
from central.store.tables import Audit, Evidence, Inspection, LabelledPicture, Quarantine, columns_of
from contracts.vocabulary import Verdict

log = logging.getLogger(__name__)

_BITE_ROWS: Final = 500
_QUARANTINE_BITE_ROWS: Final = 2_000
# Found in one look. The look may pass over a year of kept rows, so it is one a tick and not one a bite.
_MOST_ROWS_A_TICK: Final = 50_000
# For the bites. All services share one thread, so a tick must end; this is still about a million pictures a day.
_BUDGET_S: Final = 2.0
# SQLite's waiting writers look for the lock only now and then: without a pause the next bite would take it first.
_PAUSE_S: Final = 0.02


@dataclass
class RetentionCounts:
    """Since start."""

    pictures: int = 0
    uploads: int = 0
    quarantine_rows: int = 0
    inspections: int = 0
    # Ticks that left something for the next one.
    unfinished_ticks: int = 0


class RetentionService:
    """See the module. `monotonic`: seconds, for the budget of a tick. `pause`: between two bites, for ingest."""

    name: Final = "retention"

    def __init__(
        self,
        database: Database,
        blobs: Blobs,
        kept: EvidenceSettings,
        ingest: IngestSettings,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._database: Final = database
        self._blobs: Final = blobs
        self._kept: Final = kept
        self._max_quarantine_rows: Final = ingest.max_quarantine_rows
        self._monotonic: Final = monotonic
        self._pause: Final = pause
        self.period_s: Final = kept.retention_period_s
        self.counts: Final = RetentionCounts()

    def tick(self, now: datetime) -> None:
        """Bite until nothing is left; after the budget the rest waits for the next tick."""
        self._drop_uploads(now)
        self._drop_quarantine()
        pictures = self._found(_aged_pictures(now, self._kept).with_only_columns(col(Evidence.id)))
        inspections = self._found(_aged_inspections(now, self._kept).with_only_columns(col(Inspection.id)))
        ends_at = self._monotonic() + _BUDGET_S
        # In turn, so that neither kind waits for the other's backlog.
        for start in range(0, max(len(pictures), len(inspections)), _BITE_ROWS):
            if start > 0:
                if self._monotonic() >= ends_at:
                    self.counts.unfinished_ticks += 1
                    left = [max(0, len(ids) - start) for ids in (pictures, inspections)]
                    log.warning("retention not done in time budget_s=%s pictures=%s inspections=%s", _BUDGET_S, *left)
                    return
                self._pause(_PAUSE_S)
            self._drop_pictures(pictures[start : start + _BITE_ROWS], now)
            self._drop_inspections(inspections[start : start + _BITE_ROWS], now)

    def _found(self, wanted: Any) -> list[int]:
        with self._database.read() as session:
            return list(session.exec(wanted.limit(_MOST_ROWS_A_TICK)).all())

    def _drop_uploads(self, now: datetime) -> None:
        oldest = now - timedelta(hours=self._kept.partial_kept_hours)
        for path, changed_s in self._blobs.partial_uploads():
            if datetime.fromtimestamp(changed_s, UTC) < oldest:
                path.unlink(missing_ok=True)
                self.counts.uploads += 1

    def _drop_pictures(self, found: Sequence[int], now: datetime) -> None:
        if not found:
            return
        with self._database.begin() as session:
            # Asked again: a judgement may rest on it since it was found.
            rows = session.exec(_aged_pictures(now, self._kept).where(col(Evidence.id).in_(found))).all()
            ids, digests = [row.id for row in rows], {row.sha256 for row in rows}
            session.connection().execute(delete(columns_of(Evidence)).where(col(Evidence.id).in_(ids)))
            unused = digests - _still_used(session, digests)
        # After the commit: a row without its file would be a broken promise, a file without a row is only waste.
        for sha256 in unused:
            self._blobs.delete(sha256)
        self.counts.pictures += len(ids)
        if ids:
            log.info("pictures let go pictures=%s files=%s", len(ids), len(unused))

    def _drop_quarantine(self) -> None:
        """In bites too, but all of it: a flood of what cannot be read must not outgrow the budget of the ticks."""
        with self._database.read() as session:
            newest_to_go = session.exec(
                select(Quarantine.id).order_by(col(Quarantine.id).desc()).offset(self._max_quarantine_rows).limit(1)
            ).first()
        if newest_to_go is None:
            return
        gone = 0
        oldest = select(Quarantine.id).where(col(Quarantine.id) <= newest_to_go).order_by(col(Quarantine.id))
        while True:
            with self._database.begin() as session:
                bite = col(Quarantine.id).in_(oldest.limit(_QUARANTINE_BITE_ROWS))
                rows = session.connection().execute(delete(columns_of(Quarantine)).where(bite)).rowcount
            gone += rows
            if rows < _QUARANTINE_BITE_ROWS:
                break
            self._pause(_PAUSE_S)
        self.counts.quarantine_rows += gone
        log.warning("quarantine over its bound, oldest let go rows=%s", gone)

    def _drop_inspections(self, found: Sequence[int], now: datetime) -> None:
        if not found:
            return
        with self._database.begin() as session:
            wanted = _aged_inspections(now, self._kept).where(col(Inspection.id).in_(found))
            ids = session.exec(wanted.with_only_columns(col(Inspection.id))).all()
            # What a challenger said of a part is worth nothing without what the champion said.
            shadow.drop_of(session, ids)
            session.connection().execute(delete(columns_of(Inspection)).where(col(Inspection.id).in_(ids)))
        self.counts.inspections += len(ids)


def _aged_inspections(now: datetime, kept: EvidenceSettings) -> Any:
    """Inspections past their time that no judgement rests on."""
    days = kept.inspections_kept_days
    return select(Inspection).where(
        col(Inspection.captured_at) < now - timedelta(days=days) if days > 0 else col(Inspection.id) < 0,
        ~exists().where(col(Audit.inspection_id) == col(Inspection.id)),
        ~exists().where(col(LabelledPicture.inspection_id) == col(Inspection.id)),
    )


def _aged_pictures(now: datetime, kept: EvidenceSettings) -> Any:
    """Pictures past their time, of accepted parts earlier than of the others; none that a judgement rests on.

    A picture whose inspection is gone, or never came, goes by its own age. What its part was judged is not known,
    so it has the longer of the two times.
    """
    is_orphan = col(Inspection.id).is_(None)
    is_accepted = col(Inspection.verdict) == Verdict.OK
    times = (kept.accepted_kept_days, kept.rejected_kept_days)
    orphan_days = max(times) if min(times) > 0 else 0.0
    ages = [
        and_(condition, col(Evidence.offered_at) < now - timedelta(days=days))
        for condition, days in zip((is_accepted, ~is_accepted, is_orphan), (*times, orphan_days), strict=True)
        if days > 0
    ]
    return (
        select(Evidence)
        .outerjoin(
            Inspection,
            and_(
                col(Inspection.station_id) == col(Evidence.station_id),
                col(Inspection.epoch) == col(Evidence.epoch),
                col(Inspection.sequence) == col(Evidence.sequence),
            ),
        )
        .where(
            or_(*ages) if ages else col(Evidence.id) < 0,
            ~exists().where(col(Audit.inspection_id) == col(Inspection.id)),
            ~exists().where(col(LabelledPicture.sha256) == col(Evidence.sha256)),
        )
    )


def _still_used(session: Session, digests: set[str]) -> set[str]:
    used: set[str] = set()
    for column in (col(Evidence.sha256), col(LabelledPicture.sha256), col(Audit.crop_sha256)):
        found: Sequence[str | None] = session.exec(select(column).where(column.in_(digests))).all()
        used.update(sha256 for sha256 in found if sha256)
    return used
