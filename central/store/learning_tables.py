# SPDX-License-Identifier: Apache-2.0
"""The tables of the learning loop: alarms, chart blocks, trainings, packages, promotions, rollouts, assignments.

Shapes and constraints only; the services and routes ask the questions. What central must not forget in the
middle of a training or a rollout stands here and nowhere else, so that a restart goes on from the rows.
"""

from datetime import datetime
from typing import Any, Final

from sqlalchemy import JSON, ForeignKey, Index, Text, UniqueConstraint
from sqlmodel import Field

from central.store.columns import LongNumber, RowNumber, UtcDateTime, Word
from central.store.tables import Row
from contracts.vocabulary import (
    AlarmKind,
    AlarmState,
    AttemptEnd,
    DetectorKind,
    PartUse,
    PromotionOutcome,
    RiskClass,
    RolloutState,
    TrainingState,
    TrainingTrigger,
)

# States of a rollout that has not ended.
OPEN_ROLLOUTS: Final = (
    RolloutState.READY,
    RolloutState.RUNNING,
    RolloutState.PAUSED,
    RolloutState.WAITING_FOR_APPROVAL,
)


class Alarm(Row, table=True):
    """Something a person or the learning loop must act on.

    `open_key` names what it is about while it is open and is None afterwards: the unique constraint lets one
    alarm of a kind be open per station and product; the same signal again folds into it (`repeats`).
    """

    __tablename__ = "alarm"
    __table_args__ = (UniqueConstraint("open_key"), Index("ix_alarm_kind_product", "kind", "product"))

    id: int | None = Field(default=None, sa_type=RowNumber, primary_key=True)
    open_key: str | None = Field(default=None, max_length=320)
    kind: AlarmKind = Field(sa_type=Word(AlarmKind))
    state: AlarmState = Field(default=AlarmState.RAISED, sa_type=Word(AlarmState))
    station: str | None = Field(default=None, max_length=200)
    product: str | None = Field(default=None, max_length=63)
    raised_at: datetime = Field(sa_type=UtcDateTime)
    raised_at_inspection_id: int | None = Field(default=None, sa_type=LongNumber)
    last_seen_at: datetime = Field(sa_type=UtcDateTime)
    repeats: int = 0
    message: str = Field(sa_type=Text)
    remedy: str = Field(sa_type=Text)
    evidence: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    acknowledged_by: str | None = Field(default=None, max_length=63)
    closed_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    closed_by: str | None = Field(default=None, max_length=63)
    # What was behind it, as a person found: a word of `quality.cause.Cause`.
    cause: str | None = Field(default=None, max_length=32)
    cause_by: str | None = Field(default=None, max_length=63)
    cause_note: str | None = Field(default=None, sa_type=Text)
    cause_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    is_simulated: bool


class ChartBlock(Row, table=True):
    """Sums over one block of consecutive parts of a station × product × package: what the charts are made of.

    `diverted`: NG or REVIEW. `log_score`: mean of ln(score) over accepted parts with a positive score.
    """

    __tablename__ = "chart_block"
    __table_args__ = (
        UniqueConstraint("station_id", "product", "package_id", "is_simulated", "number"),
        Index("ix_chart_block_at", "at"),
    )

    id: int | None = Field(default=None, sa_type=RowNumber, primary_key=True)
    station_id: int = Field(sa_type=LongNumber, foreign_key="station.id")
    product: str = Field(max_length=63)
    package_id: str = Field(max_length=64)
    is_simulated: bool
    # Counts from 0 within the stream.
    number: int
    last_inspection_id: int = Field(sa_type=LongNumber)
    at: datetime = Field(sa_type=UtcDateTime)
    parts: int
    diverted: int
    brightness: float | None = None
    log_score: float | None = None


class SplitGroup(Row, table=True):
    """On which side of the holdout a physical part once stood; it stays there in every later training."""

    __tablename__ = "split_group"

    product: str = Field(max_length=63, primary_key=True)
    is_simulated: bool = Field(primary_key=True)
    part_group: str = Field(max_length=200, primary_key=True)
    use: PartUse = Field(sa_type=Word(PartUse))


class Training(Row, table=True):
    """One training, from the wish to the evaluation."""

    __tablename__ = "training"
    __table_args__ = (Index("ix_training_state", "state"), Index("ix_training_product", "product"))

    training_id: str = Field(max_length=64, primary_key=True)
    product: str = Field(max_length=63)
    detector: DetectorKind = Field(sa_type=Word(DetectorKind))
    reason: str = Field(sa_type=Text)
    trigger: TrainingTrigger = Field(default=TrainingTrigger.PERSON, sa_type=Word(TrainingTrigger))
    alarm_id: int | None = Field(default=None, sa_column_args=(ForeignKey("alarm.id"),), sa_type=LongNumber)
    state: TrainingState = Field(default=TrainingState.QUEUED, sa_type=Word(TrainingState))
    stage: str = Field(default="waiting to start", sa_type=Text)
    fraction: float = 0.0
    created_at: datetime = Field(sa_type=UtcDateTime)
    started_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    finished_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    good: int = 0
    defective: int = 0
    audit_labels: int = 0
    # Judged pictures of the product when it was asked for: a failed one is not tried again on the same evidence.
    labels_seen: int = 0
    champion_package_id: str | None = Field(default=None, max_length=64)
    package_id: str | None = Field(default=None, max_length=64)
    # Where it runs, and what that place calls it (`training_backends.seam`).
    backend: str = Field(default="local", max_length=32)
    handle: str | None = Field(default=None, max_length=200)
    starts: int = 0
    # Attempts that ended by nobody's wish: killed from outside, a machine gone.
    losses: int = 0
    # Times it made room for another one.
    preemptions: int = 0
    # Whose quota it counts against; empty: that of all alone.
    site: str = Field(default="", max_length=63)
    # When it came into the queue the last time.
    queued_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    cancel_asked_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    # Asked to end by central itself, and as what.
    stop_asked_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    stop_because: AttemptEnd | None = Field(default=None, sa_type=Word(AttemptEnd))
    error: str | None = Field(default=None, sa_type=Text)
    # JSON of the EvaluationReport.
    evaluation: str | None = Field(default=None, sa_type=Text)
    # What it learns from; None: not begun, or from before there were versions.
    dataset_id: str | None = Field(default=None, max_length=64)
    is_simulated: bool


class TrainingDecisionRow(Row, table=True):
    """An answer of a trigger: whether a training of a product is started, since when, and why.

    A row for each change of the answer; what "no" rests on is kept up to date in its row until the answer changes.
    `because`: a word of `domain.training_triggers.Because`.
    """

    __tablename__ = "training_decision"
    __table_args__ = (Index("ix_training_decision_product", "product", "is_simulated", "trigger", "alarm_id", "id"),)

    id: int | None = Field(default=None, sa_type=RowNumber, primary_key=True)
    product: str = Field(max_length=63)
    is_simulated: bool
    trigger: TrainingTrigger = Field(sa_type=Word(TrainingTrigger))
    # Of an alarm; retention of alarms must not hang on decisions: no foreign key.
    alarm_id: int | None = Field(default=None, sa_type=LongNumber)
    at: datetime = Field(sa_type=UtcDateTime)
    # When the figures last changed under the same answer.
    renewed_at: datetime = Field(sa_type=UtcDateTime)
    is_yes: bool
    because: str = Field(max_length=32)
    reason: str = Field(sa_type=Text)
    figures: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    training_id: str | None = Field(default=None, max_length=64)


class Package(Row, table=True):
    """A package in the registry. Published: the signed targets name it."""

    __tablename__ = "package"
    __table_args__ = (Index("ix_package_product", "product"),)

    package_id: str = Field(max_length=64, primary_key=True)
    product: str = Field(max_length=63)
    detector: DetectorKind = Field(sa_type=Word(DetectorKind))
    created_at: datetime = Field(sa_type=UtcDateTime)
    registered_at: datetime = Field(sa_type=UtcDateTime)
    size_bytes: int = Field(sa_type=LongNumber)
    # JSON of the PackageManifest.
    manifest: str = Field(sa_type=Text)
    training_id: str | None = Field(default=None, max_length=64)
    dataset_id: str | None = Field(default=None, max_length=64)
    is_simulated: bool


class Champion(Row, table=True):
    """The package whose verdicts act, per product. A pointer that moves when a rollout to everybody has finished.

    `since`: when the last such rollout did, also of this package again.
    """

    __tablename__ = "champion"

    product: str = Field(max_length=63, primary_key=True)
    is_simulated: bool = Field(primary_key=True)
    package_id: str = Field(max_length=64, foreign_key="package.package_id")
    since: datetime = Field(sa_type=UtcDateTime)


class Promotion(Row, table=True):
    """What the gate said of a package, once, with its checks."""

    __tablename__ = "promotion"

    package_id: str = Field(max_length=64, primary_key=True, foreign_key="package.package_id")
    champion_package_id: str | None = Field(default=None, max_length=64)
    outcome: PromotionOutcome = Field(sa_type=Word(PromotionOutcome))
    decided_at: datetime = Field(sa_type=UtcDateTime)
    checks: list[dict[str, Any]] = Field(default_factory=list, sa_type=JSON)


class RolloutRow(Row, table=True):
    """A rollout. `machine` is the JSON of `domain.rollout.Rollout`; the columns repeat what is searched for."""

    __tablename__ = "rollout"
    __table_args__ = (Index("ix_rollout_state", "state"), Index("ix_rollout_package_id", "package_id"))

    id: int | None = Field(default=None, sa_type=RowNumber, primary_key=True)
    package_id: str = Field(max_length=64, foreign_key="package.package_id")
    previous_package_id: str | None = Field(default=None, max_length=64)
    product: str = Field(max_length=63)
    state: RolloutState = Field(default=RolloutState.READY, sa_type=Word(RolloutState))
    reason: str = Field(sa_type=Text)
    alarm_id: int | None = Field(default=None, sa_column_args=(ForeignKey("alarm.id"),), sa_type=LongNumber)
    created_at: datetime = Field(sa_type=UtcDateTime)
    finished_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    # Stations asked for by name; empty: all that judge the product.
    asked_stations: list[str] = Field(default_factory=list, sa_type=JSON)
    canary: int = 1
    bake_parts: int = 0
    risk: RiskClass = Field(default=RiskClass.STANDARD, sa_type=Word(RiskClass))
    # JSON of `domain.rollout_plan.RolloutPlan`; None: made before there were plans.
    plan: str | None = Field(default=None, sa_type=Text)
    machine: str = Field(sa_type=Text)
    # station address -> what it ran before (`package_id`, None: nothing), the `number` of its assignment, and the
    # last inspection before that (`after_inspection_id`).
    before: dict[str, dict[str, Any]] = Field(default_factory=dict, sa_type=JSON)
    is_simulated: bool


class Assignment(Row, table=True):
    """A signed assignment as it was sent; a station's highest number is in force. Only `published_at` ever changes."""

    __tablename__ = "assignment"
    __table_args__ = (
        UniqueConstraint("station_id", "number"),
        Index("ix_assignment_reason_issued_at", "reason", "issued_at"),
    )

    id: int | None = Field(default=None, sa_type=RowNumber, primary_key=True)
    station_id: int = Field(sa_type=LongNumber, foreign_key="station.id")
    number: int = Field(sa_type=LongNumber)
    packages: dict[str, str] = Field(default_factory=dict, sa_type=JSON)
    issued_at: datetime = Field(sa_type=UtcDateTime)
    expires_at: datetime = Field(sa_type=UtcDateTime)
    reason: str = Field(sa_type=Text)
    # The DSSE envelope, JSON.
    sealed: str = Field(sa_type=Text)
    # Inspections up to this id were made before it was sent.
    after_inspection_id: int = Field(default=0, sa_type=LongNumber)
    published_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
