# SPDX-License-Identifier: Apache-2.0
"""The tables of routes: whom alarms reach, what was told of each alarm, and the outbox of what is on its way.

Shapes and constraints only; `services/alarms/routing.py` and `services/alarms/outbox.py` ask the questions. No secret
stands here.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Index, Text, UniqueConstraint
from sqlmodel import Field

from central.store.columns import LongNumber, RowNumber, UtcDateTime, Word
from central.store.tables import Row
from contracts.vocabulary import AlarmEvent, AlarmSeverity, AlarmState, DeliveryState


class AlarmRouteRow(Row, table=True):
    """A route as it was set, and how it goes. It is failing while `failing_since` says since when."""

    __tablename__ = "alarm_route"

    name: str = Field(max_length=63, primary_key=True)
    # JSON of `domain.alarm_routes.AlarmRoute`.
    document: str = Field(sa_type=Text)
    changed_at: datetime = Field(sa_type=UtcDateTime)
    changed_by: str = Field(max_length=63)
    note: str = Field(sa_type=Text)
    failing_since: datetime | None = Field(default=None, sa_type=UtcDateTime)
    # In a row; how long to wait grows with it.
    failures: int = 0
    next_attempt_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    last_error: str | None = Field(default=None, sa_type=Text)
    last_sent_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    # Events that never went out: given up, or not taken because too many waited. The next message says so.
    unsaid: int = Field(default=0, sa_type=LongNumber)


class AlarmTold(Row, table=True):
    """The state of an alarm for which routes have got their events. Without a row: not even that it was raised."""

    __tablename__ = "alarm_told"
    __table_args__ = (Index("ix_alarm_told_state", "state"),)

    alarm_id: int = Field(sa_type=LongNumber, foreign_key="alarm.id", primary_key=True)
    state: AlarmState = Field(sa_type=Word(AlarmState))


class AlarmDelivery(Row, table=True):
    """One event of an alarm on its way over one route.

    `lead_id`: the row in whose message this one goes, its own id when it leads; None: not in a message yet. It never
    changes once it is set, and a message is known outside by its leader's `message_id`, so that what is sent again
    after a restart can be told as the same. Attempts and errors of a message stand at its leader.
    """

    __tablename__ = "alarm_delivery"
    __table_args__ = (
        UniqueConstraint("route", "alarm_id", "event", "number"),
        UniqueConstraint("message_id"),
        Index("ix_alarm_delivery_route_state", "route", "state"),
        Index("ix_alarm_delivery_lead_id", "lead_id"),
        Index("ix_alarm_delivery_alarm_id", "alarm_id"),
    )

    id: int | None = Field(default=None, sa_type=RowNumber, primary_key=True)
    route: str = Field(max_length=63, foreign_key="alarm_route.name")
    alarm_id: int = Field(sa_type=LongNumber, foreign_key="alarm.id")
    event: AlarmEvent = Field(sa_type=Word(AlarmEvent))
    # Counts reminders from 1; 0 for everything else.
    number: int = 0
    at: datetime = Field(sa_type=UtcDateTime)
    severity: AlarmSeverity = Field(sa_type=Word(AlarmSeverity))
    # What was known then: `services.alarm_messages.told_of`.
    told: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    message_id: str = Field(max_length=32)
    state: DeliveryState = Field(default=DeliveryState.WAITING, sa_type=Word(DeliveryState))
    # Not before. HELD: when quiet hours end; WAITING: the next attempt.
    due_at: datetime = Field(sa_type=UtcDateTime)
    lead_id: int | None = Field(default=None, sa_type=LongNumber)
    attempts: int = 0
    first_attempt_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    last_error: str | None = Field(default=None, sa_type=Text)
    # Sent or given up.
    done_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
