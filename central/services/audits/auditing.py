# SPDX-License-Identifier: Apache-2.0
"""Draws parts for audit, with their chance written down, and asks the stations for the pictures.

One draw a period, from all parts accepted since the last draw, per station and product, by the budget of the running
shift (`services/audits/shifts.py`); with it a few rejected ones (`services/audits/rejected.py`); after it, those on
which a challenger disagrees (`services/audits/discordant.py`) and those that teach most (`services/audits/asked.py`).
Does not receive pictures (`services/evidence.py` opens the audit when the crop is whole), shows nothing and judges
nothing. Ticked by the worker.

Restart-safe: the draw and the mark up to which parts were drawn from are one transaction, and requests are repeated
from the rows until the picture came or the audit is lost.
"""

import logging
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import numpy as np
from sqlalchemy import select as sa_select
from sqlmodel import Session, col, func, select

from central.audit_settings import AuditSettings
from central.domain.audit import next_request_at
from central.domain.shifts import ShiftPlan
from central.messaging.gateway import Publisher
from central.quality.confidence_sequence import equal_chance
from central.quality.sampling import draw_expected
from central.services.audits.asked import draw_asked
from central.services.audits.discordant import draw_discordant
from central.services.audits.rejected import draw_rejected, rejected_between
from central.services.audits.repeated import plant
from central.services.audits.rows import Draw, add_audit
from central.services.audits.shifts import (
    Stream,
    expected_draw,
    note_package,
    open_shift,
    plan_budgets,
    standing,
    tighten_for_alarms,
)
from central.store.audit_tables import AuditShift
from central.store.database import Database
from central.store.tables import Audit, CounterRow, Inspection, Station, columns_of
from contracts import codec
from contracts.commands import InspectionKey, RequestEvidence, StationCommand
from contracts.ids import StationAddress
from contracts.topics import Channel, topic
from contracts.vocabulary import AuditState, Verdict, VerdictCause

_LOG = logging.getLogger(__name__)

DRAWN_THROUGH: Final = "audit-drawn-through"
# Accepted parts, and rejected ones, looked at in one draw. After days without a tick the rest waits for the next draws.
MOST_PARTS_A_DRAW: Final = 50_000
MOST_OPEN_REQUESTS: Final = 5_000
_KEYS_A_MESSAGE: Final = 500


@dataclass(frozen=True)
class _Accepted:
    id: int
    station_id: int
    epoch: int
    sequence: int
    product: str | None
    score: float
    package_id: str | None
    is_simulated: bool


class AuditingService:
    """See the module."""

    name: Final = "auditing"
    # Requests are repeated between draws, so it is ticked more often than it draws.
    period_s: Final = 1.0

    def __init__(self, database: Database, publisher: Publisher, settings: AuditSettings, rng: random.Random) -> None:
        self._database = database
        self._publisher = publisher
        self._settings = settings
        self._rng = np.random.default_rng(rng.getrandbits(128))
        self._of_shifts = np.random.default_rng(rng.getrandbits(128))
        self._plan = ShiftPlan(settings.shifts, settings.time_zone)
        self._next_draw_at: datetime | None = None

    def tick(self, now: datetime) -> None:
        """Draw when a period is over; ask again for what is missing; give up what is too old."""
        if self._next_draw_at is None:
            # The first draw waits a period too: a restart in a loop must not audit more than a quiet process.
            self._next_draw_at = now + timedelta(seconds=self._settings.period_s)
        if now >= self._next_draw_at:
            self.draw(now)
            self.draw_discordant(now)
            self.draw_asked(now)
            self._next_draw_at = now + timedelta(seconds=self._settings.period_s)
        self._settle_waiting(now)

    def draw(self, now: datetime) -> int:
        """Draw from everything accepted or rejected since the last draw. Returns the number of new audits."""
        with self._database.begin() as session:
            mark = session.get(CounterRow, DRAWN_THROUGH) or CounterRow(name=DRAWN_THROUGH, value=0)
            newest = session.exec(select(func.max(Inspection.id))).one() or 0
            # Bounded by the mark to be: a part that is committed between the two questions waits for the next draw.
            accepted = self._accepted_between(session, mark.value, newest)
            rejected = rejected_between(session, mark.value, newest, MOST_PARTS_A_DRAW)
            # One mark for both: where either was cut short, the other goes no further in this draw.
            cut = [parts[-1].id for parts in (accepted, rejected) if len(parts) >= MOST_PARTS_A_DRAW]
            mark.value = min([newest, *cut])
            session.add(mark)
            accepted = [part for part in accepted if part.id <= mark.value]
            rejected = [part for part in rejected if part.id <= mark.value]
            strata: dict[Stream, list[_Accepted]] = defaultdict(list)
            for part in accepted:
                strata[part.station_id, part.product or "", part.is_simulated].append(part)
            drawn = self._draw_strata(session, strata, now)
            of_rejected = draw_rejected(session, rejected, self._settings, self._rng, now)
            repeated = plant(session, self._settings, self._rng, drawn + of_rejected, now)
        if drawn or of_rejected:
            _LOG.info(
                "audits drawn accepted=%d of=%d rejected=%d of=%d repeated=%d",
                drawn,
                len(accepted),
                of_rejected,
                len(rejected),
                repeated,
            )
        return drawn + of_rejected

    def draw_discordant(self, now: datetime) -> int:
        """Parts that a challenger disagrees on, among those that `draw` has passed by. Returns the new audits."""
        with self._database.begin() as session:
            mark = session.get(CounterRow, DRAWN_THROUGH)
            return 0 if mark is None else draw_discordant(session, self._settings, self._rng, mark.value, now)

    def draw_asked(self, now: datetime) -> int:
        """Parts that a training would learn from, among those that `draw` has passed by. Returns the new ones."""
        with self._database.read() as session:
            mark = session.get(CounterRow, DRAWN_THROUGH)
        return 0 if mark is None else draw_asked(self._database, self._settings, self._plan, mark.value, now)

    def _accepted_between(self, session: Session, after_id: int, through_id: int) -> list[_Accepted]:
        # Core, not entities: a draw looks at thousands of rows and needs eight columns of them.
        c = columns_of(Inspection).c
        wanted = (
            sa_select(c.id, c.station_id, c.epoch, c.sequence, c.product, c.score, c.package_id, c.is_simulated)
            .where(c.id > after_id, c.id <= through_id, c.verdict == Verdict.OK, c.cause == VerdictCause.SCORE)
            .order_by(c.id)
            .limit(MOST_PARTS_A_DRAW)
        )
        return [_Accepted(*row) for row in session.connection().execute(wanted)]

    def _draw_strata(self, session: Session, strata: Mapping[Stream, Sequence[_Accepted]], now: datetime) -> int:
        if not strata:
            return 0
        shifts = standing(session)
        for stream, parts in strata.items():
            row = open_shift(session, shifts, stream, self._plan, now, chance=float(self._of_shifts.random()))
            note_package(row, [part.package_id for part in parts], now)
        tighten_for_alarms(session, shifts, now)
        plan_budgets(shifts, {stream: len(parts) for stream, parts in strata.items()}, self._settings, now)
        return sum(self._draw_stratum(session, parts, shifts[stream], now) for stream, parts in strata.items())

    def _draw_stratum(self, session: Session, parts: Sequence[_Accepted], shift: AuditShift, now: datetime) -> int:
        expected = expected_draw(session, shift, len(parts), self._settings, now)
        # In the order in which they were reported, which spreads the draw over the period.
        score = np.array([part.score for part in parts], dtype=np.float64)
        index, chance, least = draw_expected(score, expected, self._rng)
        is_floor = equal_chance(chance, self._rng, least if len(chance) else None)
        stratum = f"{parts[0].station_id}:{parts[0].product or ''}:{parts[0].id}-{parts[-1].id}"
        for position, inclusion_probability, is_of_floor in zip(index, chance, is_floor, strict=True):
            draw = Draw(stratum, len(parts), now, shift.id)
            add_audit(session, parts[int(position)], draw, float(inclusion_probability), is_floor=bool(is_of_floor))
        shift.accepted += len(parts)
        shift.drawn += len(index)
        shift.spent += min(expected, float(len(parts)))
        session.add(shift)
        return len(index)

    def _settle_waiting(self, now: datetime) -> None:
        lost_after = timedelta(seconds=self._settings.lost_after_s)
        with self._database.read() as session:
            waiting = session.exec(
                select(Audit, Inspection, Station.address)
                .join(Inspection, col(Audit.inspection_id) == Inspection.id)
                .join(Station, col(Inspection.station_id) == Station.id)
                .where(Audit.state == AuditState.AWAITING_EVIDENCE)
                .order_by(col(Audit.id))
                .limit(MOST_OPEN_REQUESTS)
            ).all()
            lost = [audit.id for audit, _, _ in waiting if now - audit.drawn_at > lost_after]
            due = [
                (audit.id, address, InspectionKey(epoch=inspection.epoch, sequence=inspection.sequence))
                for audit, inspection, address in waiting
                if audit.id not in lost
                and next_request_at(audit.drawn_at, audit.requested_at, self._settings.lost_after_s) <= now
            ]
        if not lost and not due:
            return
        asked = self._ask(due, now)
        with self._database.begin() as session:
            changed = session.exec(
                select(Audit).where(col(Audit.id).in_([*lost, *asked]), Audit.state == AuditState.AWAITING_EVIDENCE)
            ).all()
            for audit in changed:
                if audit.id in lost:
                    audit.state = AuditState.LOST
                else:
                    audit.requested_at = now
                session.add(audit)
        if lost:
            _LOG.warning("audits lost audits=%d: their pictures did not come in time", len(lost))

    def _ask(self, due: Sequence[tuple[int | None, str, InspectionKey]], now: datetime) -> list[int | None]:
        by_station: dict[str, list[tuple[int | None, InspectionKey]]] = defaultdict(list)
        for audit_id, address, key in due:
            by_station[address].append((audit_id, key))
        asked: list[int | None] = []
        for address, wanted in by_station.items():
            for start in range(0, len(wanted), _KEYS_A_MESSAGE):
                part = wanted[start : start + _KEYS_A_MESSAGE]
                request = RequestEvidence(inspections=[key for _, key in part])
                command = StationCommand(issued_at=now, command=request)
                to = topic(StationAddress.parse(address), Channel.COMMAND)
                if self._publisher.publish(to, codec.encode(command)):
                    asked += [audit_id for audit_id, _ in part]
        return asked
