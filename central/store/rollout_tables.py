# SPDX-License-Identifier: Apache-2.0
"""The tables of what people set for rollouts, and of what each step of a rollout rested on.

Shapes and constraints only; `store/repositories/rollout_policies.py` and the services ask the questions. The rollouts
themselves are in `learning_tables.py`.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Index, Text
from sqlmodel import Field

from central.store.columns import LongNumber, RowNumber, UtcDateTime, Word
from central.store.tables import Row
from contracts.vocabulary import RiskClass


class RolloutPolicyRow(Row, table=True):
    """What people set for the rollouts of a product. Without a row the settings of central hold."""

    __tablename__ = "rollout_policy"

    product: str = Field(max_length=63, primary_key=True)
    risk: RiskClass = Field(sa_type=Word(RiskClass))
    # May a promoted package begin its rollout without a person?
    is_automatic: bool
    # JSON of `domain.rollout_plan.RolloutPlan`.
    plan: str = Field(sa_type=Text)
    changed_at: datetime = Field(sa_type=UtcDateTime)
    changed_by: str = Field(max_length=80)
    note: str = Field(sa_type=Text)


class FreezeRow(Row, table=True):
    """A time in which nobody is touched. Lifting one ends it and keeps the row: people ask later who did it."""

    __tablename__ = "freeze"
    __table_args__ = (Index("ix_freeze_ends", "ends"),)

    id: int | None = Field(default=None, sa_type=RowNumber, primary_key=True)
    # None: every site.
    site: str | None = Field(default=None, max_length=63)
    begins: datetime = Field(sa_type=UtcDateTime)
    ends: datetime = Field(sa_type=UtcDateTime)
    reason: str = Field(sa_type=Text)
    made_at: datetime = Field(sa_type=UtcDateTime)
    made_by: str = Field(max_length=80)
    lifted_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    lifted_by: str | None = Field(default=None, max_length=80)


class StationLabel(Row, table=True):
    """What people say of a station, to aim rollouts by: `camera` = `12mp`."""

    __tablename__ = "station_label"

    station_id: int = Field(sa_type=LongNumber, foreign_key="station.id", primary_key=True)
    label: str = Field(max_length=63, primary_key=True)
    value: str = Field(max_length=63)


class RolloutGate(Row, table=True):
    """The gates of one wave in shadow, as they stand: a restart of central takes them up where they were."""

    __tablename__ = "rollout_gate"

    rollout_id: int = Field(sa_type=LongNumber, foreign_key="rollout.id", primary_key=True)
    wave: int = Field(primary_key=True)
    # JSON of `services.rollout_gating.Fed`: the gates' states, and what they were fed with.
    state: str = Field(sa_type=Text)
    changed_at: datetime = Field(sa_type=UtcDateTime)


class RolloutLimit(Row, table=True):
    """What the limits of one baking wave rest on: written once, when its first station judges with the package."""

    __tablename__ = "rollout_limit"

    rollout_id: int = Field(sa_type=LongNumber, foreign_key="rollout.id", primary_key=True)
    wave: int = Field(primary_key=True)
    begun_at: datetime = Field(sa_type=UtcDateTime)
    # JSON of `services.rollout_limits.Begun`: the terms, and chunks of each station's past.
    begun: str = Field(sa_type=Text)


class RolloutLook(Row, table=True):
    """One look at the limits of a wave that had something new: what was taken in, and what it said.

    Written once; what the look said (`evidence`) is emptied when it is no longer among the newest, `taken` never.
    """

    __tablename__ = "rollout_look"
    __table_args__ = (Index("ix_rollout_look_rollout_id_wave", "rollout_id", "wave"),)

    id: int | None = Field(default=None, sa_type=RowNumber, primary_key=True)
    rollout_id: int = Field(sa_type=LongNumber, foreign_key="rollout.id")
    wave: int
    at: datetime = Field(sa_type=UtcDateTime)
    # Chunks: station, last inspection in it, rejects, image faults, parts without a decision for another cause.
    taken: list[list[Any]] = Field(default_factory=list, sa_type=JSON)
    evidence: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)


class RolloutWait(Row, table=True):
    """What a rollout waits for, since when, and the alarm about it; gone when it goes on."""

    __tablename__ = "rollout_wait"

    rollout_id: int = Field(sa_type=LongNumber, foreign_key="rollout.id", primary_key=True)
    wave: int = Field(primary_key=True)
    # A word of `domain.rollout_waits.WaitKind`.
    kind: str = Field(max_length=32, primary_key=True)
    since: datetime = Field(sa_type=UtcDateTime)
    alarm_id: int | None = Field(default=None, sa_type=LongNumber, foreign_key="alarm.id")


class RolloutEvent(Row, table=True):
    """One step of a rollout: what was said of it, and the facts that it rested on. Written once."""

    __tablename__ = "rollout_event"
    __table_args__ = (Index("ix_rollout_event_rollout_id", "rollout_id"),)

    id: int | None = Field(default=None, sa_type=RowNumber, primary_key=True)
    rollout_id: int = Field(sa_type=LongNumber, foreign_key="rollout.id")
    at: datetime = Field(sa_type=UtcDateTime)
    lines: list[str] = Field(default_factory=list, sa_type=JSON)
    # Of the stations that this step moved: progress before and after, and the `Seen` that moved them.
    evidence: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
