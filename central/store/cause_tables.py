# SPDX-License-Identifier: Apache-2.0
"""What is likeliest behind each alarm, as it was last worked out: one row an alarm.

Shape only; `services/watches/causes.py` writes the rows. What a person found to be the cause stands in the alarm
itself.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON
from sqlmodel import Field

from central.store.columns import LongNumber, UtcDateTime
from central.store.tables import Row


class CauseSuggestion(Row, table=True):
    """Causes that fit, the likeliest first; none: nothing that was seen points to one."""

    __tablename__ = "cause_suggestion"

    alarm_id: int = Field(sa_type=LongNumber, foreign_key="alarm.id", primary_key=True)
    computed_at: datetime = Field(sa_type=UtcDateTime)
    # When what is behind it is taken to have begun.
    since: datetime = Field(sa_type=UtcDateTime)
    # How often the alarm had been repeated by then.
    repeats: int
    # As `quality.cause.RankedCause`: cause, station, product, score, remedy, evidence.
    causes: list[dict[str, Any]] = Field(default_factory=list, sa_type=JSON)
