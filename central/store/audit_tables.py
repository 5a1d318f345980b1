# SPDX-License-Identifier: Apache-2.0
"""How severely accepted parts are audited, shift by shift. Shape only; `services/audits/shifts.py` writes the rows."""

from datetime import datetime

from sqlalchemy import JSON, Index, Text
from sqlmodel import Field

from central.quality.switching import Inspection
from central.store.columns import LongNumber, RowNumber, UtcDateTime, Word
from central.store.tables import Row


class AuditShift(Row, table=True):
    """One shift of one product ("" for none) at one station. Opened by the first draw in it.

    The newest row of a station and product says what holds now: its `inspection` moves as earlier shifts are counted,
    alarms tighten and people resume, with `reason` and `changed_at`. A row of an earlier shift keeps what held last in
    it. A part belongs to the shift in which it is drawn: what arrives late is audited by those who are there then.
    """

    __tablename__ = "audit_shift"
    __table_args__ = (
        Index("ix_audit_shift_station_id_product", "station_id", "product"),
        Index("ix_audit_shift_counted_at", "counted_at"),
    )

    id: int | None = Field(default=None, sa_type=RowNumber, primary_key=True)
    station_id: int = Field(sa_type=LongNumber, foreign_key="station.id")
    product: str = Field(max_length=63)
    is_simulated: bool
    # As `domain/shifts.ShiftPlan.name` gives it.
    shift: str = Field(max_length=32)
    begins_at: datetime = Field(sa_type=UtcDateTime)
    ends_at: datetime = Field(sa_type=UtcDateTime)
    opened_at: datetime = Field(sa_type=UtcDateTime)
    inspection: Inspection = Field(sa_type=Word(Inspection))
    reason: str = Field(sa_type=Text)
    changed_at: datetime = Field(sa_type=UtcDateTime)
    # The person who resumed; None: the rules or an alarm.
    changed_by: str | None = Field(default=None, max_length=63)
    # As `quality.switching.SwitchingState`.
    recent: list[bool] = Field(default_factory=list, sa_type=JSON)
    score: int = 0
    accepted_in_a_row: int = 0
    rejected_while_tightened: int = 0
    # Drawn once for the shift: whether skip-lot leaves it out.
    chance: float
    package_id: str | None = Field(default=None, max_length=64)
    # False once another package judged than in the shift before.
    is_steady: bool = True
    # Accepted parts in the shift before; audits planned for this one, None: a share of its parts.
    expected: int = 0
    budget: int | None = None
    # Sum of what the draws were to draw on average; `drawn` is what they drew, of `accepted` parts.
    spent: float = 0.0
    accepted: int = 0
    drawn: int = 0
    # Once its audits are settled: what they said. Those of equal chance alone.
    counted_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    audits: int | None = None
    defective: int | None = None
    is_accepted: bool | None = None
