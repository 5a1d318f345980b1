# SPDX-License-Identifier: Apache-2.0
"""The tables every other part of central stands on: stations, inspections, rollups, evidence, audits, labels, tokens.

Shapes and constraints only; questions are asked in `store/repositories`, per-minute sums live in `store/rollups`.
Trainings, packages, rollouts and alarms are in `store/learning_tables.py`. All share `METADATA`, which the
migrations are checked against. Words are stored as text, times as UTC.
"""

import secrets
from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import JSON, ForeignKey, Index, LargeBinary, MetaData, String, Text, UniqueConstraint
from sqlmodel import Field, SQLModel

from central.store.columns import LongNumber, RowNumber, UtcDateTime, Word
from contracts.vocabulary import (
    AuditState,
    Disposition,
    EvidenceKind,
    Judgement,
    LabelSource,
    Role,
    SignalState,
    Verdict,
    VerdictCause,
)

# Named constraints: a migration can only drop what has a name.
METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class Row(SQLModel):
    """Base of every table of central."""

    metadata: ClassVar[MetaData] = METADATA


class Station(Row, table=True):
    """A station as last heard of. `status` and `package_status` hold the JSON of the last such message.

    `assignment_number`, `assigned` and `assignment_expires_at` are what should run: the last signed
    assignment, written by the rollout service alone.
    """

    __tablename__ = "station"

    id: int | None = Field(default=None, sa_type=RowNumber, primary_key=True)
    address: str = Field(max_length=200, unique=True)
    first_seen_at: datetime = Field(sa_type=UtcDateTime)
    last_report_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    status: str | None = Field(default=None, sa_type=Text)
    status_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    package_status: str | None = Field(default=None, sa_type=Text)
    assignment_number: int | None = Field(default=None, sa_type=LongNumber)
    # product → package id
    assigned: dict[str, str] = Field(default_factory=dict, sa_type=JSON)
    assignment_expires_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    is_simulated: bool = False

    @property
    def heard_at(self) -> datetime | None:
        """When anything came from it, and be it that its link broke; None: never."""
        return max((at for at in (self.status_at, self.last_report_at) if at is not None), default=None)


class StationEpoch(Row, table=True):
    """How complete one epoch of a station is: missing = highest − stored − quarantined."""

    __tablename__ = "station_epoch"

    station_id: int = Field(sa_type=LongNumber, foreign_key="station.id", primary_key=True)
    epoch: int = Field(sa_type=LongNumber, primary_key=True)
    stored: int = Field(default=0, sa_type=LongNumber)
    quarantined: int = Field(default=0, sa_type=LongNumber)
    highest: int = Field(default=0, sa_type=LongNumber)


class Inspection(Row, table=True):
    """One inspection as reported; never changed afterwards. `id` grows in commit order."""

    __tablename__ = "inspection"
    __table_args__ = (
        UniqueConstraint("station_id", "epoch", "sequence"),
        Index("ix_inspection_verdict_id", "verdict", "id"),
        Index("ix_inspection_package_id_station_id", "package_id", "station_id"),
        Index("ix_inspection_captured_at", "captured_at"),
        # A number that was once given to a follower is never given to another row.
        {"sqlite_autoincrement": True},
    )

    id: int | None = Field(default=None, sa_type=RowNumber, primary_key=True)
    station_id: int = Field(sa_type=LongNumber, foreign_key="station.id")
    epoch: int = Field(sa_type=LongNumber)
    sequence: int = Field(sa_type=LongNumber)
    trigger_number: int | None = Field(default=None, sa_type=LongNumber)
    part_id: str | None = Field(default=None, max_length=128)
    product: str | None = Field(default=None, max_length=63)
    captured_at: datetime = Field(sa_type=UtcDateTime)
    # How far `captured_at` is off by the station's steady clock; none: it can be trusted.
    clock_error_s: float | None = None
    committed_at: datetime = Field(sa_type=UtcDateTime)
    verdict: Verdict = Field(sa_type=Word(Verdict))
    cause: VerdictCause = Field(sa_type=Word(VerdictCause))
    score: float | None = None
    ok_limit: float | None = None
    ng_limit: float | None = None
    defect_class: str | None = Field(default=None, max_length=64)
    package_id: str | None = Field(default=None, max_length=64)
    variant: str | None = Field(default=None, max_length=32)
    provider: str | None = Field(default=None, max_length=64)
    disposition: Disposition = Field(sa_type=Word(Disposition))
    signal: SignalState = Field(sa_type=Word(SignalState))
    image_fault: str | None = Field(default=None, max_length=32)
    recipe_version: int | None = None
    capture_ms: float | None = None
    prepare_ms: float | None = None
    infer_ms: float | None = None
    decide_ms: float | None = None
    actuate_ms: float | None = None
    verdict_ms: float | None = None
    reject_ms: float | None = None
    brightness: float | None = None
    contrast: float | None = None
    blur: float | None = None
    colour: float | None = None
    # As `store/embeddings` packs it; none: reports of the package carry none.
    embedding: bytes | None = Field(default=None, sa_type=LargeBinary)
    is_simulated: bool


class RollupMinute(Row, table=True):
    """Sums over one minute of capture time × station × product × package. Empty text stands for "none"."""

    __tablename__ = "rollup_minute"

    minute: datetime = Field(sa_type=UtcDateTime, primary_key=True)
    station_id: int = Field(sa_type=LongNumber, foreign_key="station.id", primary_key=True)
    product: str = Field(max_length=63, primary_key=True)
    package_id: str = Field(max_length=64, primary_key=True)
    is_simulated: bool = Field(primary_key=True)
    parts: int = 0
    ok: int = 0
    ng: int = 0
    review: int = 0
    no_decision: int = 0
    late: int = 0
    no_package: int = 0
    image_fault: int = 0
    inference_error: int = 0
    missed_frame: int = 0
    session_crashed: int = 0
    score_count: int = 0
    score_sum: float = 0.0
    brightness_count: int = 0
    brightness_sum: float = 0.0


class RollupLatency(Row, table=True):
    """Capture → verdict latency of a rollup as a sparse histogram; bucket bounds are in `store/rollups`."""

    __tablename__ = "rollup_latency"

    minute: datetime = Field(sa_type=UtcDateTime, primary_key=True)
    station_id: int = Field(sa_type=LongNumber, foreign_key="station.id", primary_key=True)
    product: str = Field(max_length=63, primary_key=True)
    package_id: str = Field(max_length=64, primary_key=True)
    is_simulated: bool = Field(primary_key=True)
    bucket: int = Field(primary_key=True)
    parts: int = 0


class Evidence(Row, table=True):
    """A picture of an inspection. It may be offered before its inspection is committed: no foreign key on purpose."""

    __tablename__ = "evidence"
    __table_args__ = (
        UniqueConstraint("station_id", "epoch", "sequence", "kind"),
        Index("ix_evidence_sha256", "sha256"),
    )

    id: int | None = Field(default=None, sa_type=RowNumber, primary_key=True)
    station_id: int = Field(sa_type=LongNumber, foreign_key="station.id")
    epoch: int = Field(sa_type=LongNumber)
    sequence: int = Field(sa_type=LongNumber)
    kind: EvidenceKind = Field(sa_type=Word(EvidenceKind))
    sha256: str = Field(max_length=64)
    size_bytes: int = Field(sa_type=LongNumber)
    media_type: str = Field(max_length=32)
    is_simulated: bool
    offered_at: datetime = Field(sa_type=UtcDateTime)
    # Set once the bytes are whole and their digest is right.
    stored_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class Audit(Row, table=True):
    """One drawn inspection, or one more asking about it, and what a person said.

    The row with `ask` 1 is the audit: estimates count it by its `outcome`, which is what the answers of all askings
    came to (`domain/audit.settle`; None: not settled). The others were put into the queue when one answer was not
    enough, or, `is_repeat`, to see how far inspectors agree; they have no outcome. `judgement` is the answer to this
    asking alone.

    `stratum` names the population it was drawn from, `stratum_size` its size, `inclusion_probability` the
    chance this inspection had. `is_floor`: it is one of those that equal chance drew, which charts may count without
    weights; the others were drawn for their risk. `is_discordant`: not chance drew it but a challenger's disagreement;
    it is in no estimate and its probability is 0. `asked_because`: a training asked for it, a word
    of `quality.asking.AskReason`; in no estimate either. `number`: by chance, what the API calls it: the `id` would say
    in which order parts came into the queue. Drawn by services/auditing; AWAITING_EVIDENCE → OPEN or LOST
    by services/evidence; judged through the API.
    """

    __tablename__ = "audit"
    __table_args__ = (
        UniqueConstraint("inspection_id", "ask"),
        Index("ix_audit_state", "state"),
        Index("ix_audit_number", "number", unique=True),
        Index("ix_audit_product_judged_at", "product", "judged_at"),
        Index("ix_audit_shift_id", "shift_id"),
        Index("ix_audit_asked_because_drawn_at", "asked_because", "drawn_at"),
    )

    id: int | None = Field(default=None, sa_type=RowNumber, primary_key=True)
    # Exact in JSON, and nullable in the table alone: a column with a default would give all old rows the same.
    number: int = Field(default_factory=lambda: secrets.randbelow(2**52) + 1, sa_type=LongNumber, nullable=True)
    inspection_id: int = Field(sa_type=LongNumber, foreign_key="inspection.id")
    product: str | None = Field(default=None, max_length=63)
    drawn_at: datetime = Field(sa_type=UtcDateTime)
    stratum: str = Field(default="", max_length=200)
    stratum_size: int = 0
    inclusion_probability: float
    state: AuditState = Field(default=AuditState.AWAITING_EVIDENCE, sa_type=Word(AuditState))
    # When the station was last asked for the picture.
    requested_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    crop_sha256: str | None = Field(default=None, max_length=64)
    opened_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    claimed_by: str | None = Field(default=None, max_length=63)
    claimed_until: datetime | None = Field(default=None, sa_type=UtcDateTime)
    judgement: Judgement | None = Field(default=None, sa_type=Word(Judgement))
    defect_class: str | None = Field(default=None, max_length=64)
    inspector: str | None = Field(default=None, max_length=63)
    note: str = Field(default="", sa_type=Text)
    judged_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    is_floor: bool = True
    is_discordant: bool = False
    asked_because: str | None = Field(default=None, max_length=32)
    is_simulated: bool
    ask: int = 1
    is_repeat: bool = False
    outcome: Judgement | None = Field(default=None, sa_type=Word(Judgement))
    settled_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    # Of an accepted part: the shift (`audit_tables.AuditShift`) in whose budget it was drawn.
    shift_id: int | None = Field(default=None, sa_type=LongNumber)


class LabelledPicture(Row, table=True):
    """A judged picture that a training may use. One row per product and picture: the first firm judgement stands."""

    __tablename__ = "labelled_picture"
    __table_args__ = (
        UniqueConstraint("product", "sha256"),
        Index("ix_labelled_picture_product_added_at", "product", "added_at"),
    )

    id: int | None = Field(default=None, sa_type=RowNumber, primary_key=True)
    product: str = Field(max_length=63)
    sha256: str = Field(max_length=64)
    media_type: str = Field(default="image/png", max_length=32)
    judgement: Judgement = Field(sa_type=Word(Judgement))
    defect_class: str | None = Field(default=None, max_length=64)
    part_id: str | None = Field(default=None, max_length=200)
    source: LabelSource = Field(sa_type=Word(LabelSource))
    inspection_id: int | None = Field(default=None, sa_column_args=(ForeignKey("inspection.id"),), sa_type=LongNumber)
    audit_id: int | None = Field(default=None, sa_column_args=(ForeignKey("audit.id"),), sa_type=LongNumber)
    added_at: datetime = Field(sa_type=UtcDateTime)
    # Whose token brought a reference part; of an audit, its inspectors say.
    added_by: str | None = Field(default=None, max_length=80)
    # Labels that it had before, oldest first: judgement, defect_class, until when, replaced by whom in which audit.
    earlier: list[dict[str, Any]] | None = Field(default=None, sa_type=JSON)
    is_simulated: bool


class Quarantine(Row, table=True):
    """A message, or one report of a message, that could not be read: its bytes, where it came from, why."""

    __tablename__ = "quarantine"
    __table_args__ = (
        UniqueConstraint("station_id", "epoch", "sequence"),
        Index("ix_quarantine_received_at", "received_at"),
    )

    id: int | None = Field(default=None, sa_type=RowNumber, primary_key=True)
    topic: str = Field(sa_type=Text)
    payload: bytes = Field(sa_type=LargeBinary)
    # SHA-256 of topic and bytes: the same poison sent again and again takes one row.
    digest: str = Field(max_length=64, unique=True)
    error: str = Field(sa_type=Text)
    received_at: datetime = Field(sa_type=UtcDateTime)
    # Set when a single report was unreadable inside a readable message: it has a number and gets a receipt.
    station_id: int | None = Field(default=None, sa_column_args=(ForeignKey("station.id"),), sa_type=LongNumber)
    epoch: int | None = Field(default=None, sa_type=LongNumber)
    sequence: int | None = Field(default=None, sa_type=LongNumber)


class Token(Row, table=True):
    """An API token. Only the SHA-256 of the secret is stored: whoever reads this table cannot use it."""

    __tablename__ = "token"

    id: int | None = Field(default=None, sa_type=RowNumber, primary_key=True)
    name: str = Field(max_length=80, unique=True)
    role: Role = Field(sa_type=Word(Role))
    sha256: str = Field(max_length=64, unique=True)
    created_at: datetime = Field(sa_type=UtcDateTime)
    revoked_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class CounterRow(Row, table=True):
    """A number that must survive a restart (for example an assignment number)."""

    __tablename__ = "counter"

    name: str = Field(max_length=64, primary_key=True, sa_type=String)
    value: int = Field(default=0, sa_type=LongNumber)


def columns_of(row: type[Row]) -> Any:
    """The SQLAlchemy table behind a row class, for Core statements."""
    return METADATA.tables[str(row.__tablename__)]
