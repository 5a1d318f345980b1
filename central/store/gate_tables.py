# SPDX-License-Identifier: Apache-2.0
"""The tables of the gate before any station sees a package: what was measured, what was said, who overruled it.

Shapes and constraints only; `services/gates/gating.py`, `deciding.py` and `evidence.py` there write them.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Index, Text
from sqlmodel import Field

from central.store.columns import RowNumber, UtcDateTime, Word
from central.store.tables import Row
from contracts.vocabulary import PromotionOutcome, Role, TrainingState, WhenMissing


class GateRun(Row, table=True):
    """One package beside its champion: QUEUED, RUNNING, then FINISHED with a report or FAILED with words.

    It is measured anew, in the same row, when another package became champion meanwhile.
    """

    __tablename__ = "gate_run"
    __table_args__ = (Index("ix_gate_run_state", "state"),)

    package_id: str = Field(max_length=64, primary_key=True, foreign_key="package.package_id")
    champion_package_id: str | None = Field(default=None, max_length=64)
    product: str = Field(max_length=63)
    is_simulated: bool
    state: TrainingState = Field(default=TrainingState.QUEUED, sa_type=Word(TrainingState))
    asked_at: datetime = Field(sa_type=UtcDateTime)
    started_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    finished_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    starts: int = 0
    # Of its process group (`training_backends.local`).
    handle: str | None = Field(default=None, max_length=200)
    error: str | None = Field(default=None, sa_type=Text)
    # Pictures of the product's frozen test set when it was laid out, judged or not.
    test_pictures: int = 0
    # JSON of GateJob and GateReport.
    job: str | None = Field(default=None, sa_type=Text)
    report: str | None = Field(default=None, sa_type=Text)
    # Conditions, figures and the terms they were held against, as they stood at the decision.
    evidence: dict[str, Any] | None = Field(default=None, sa_type=JSON)


class GatePolicyRow(Row, table=True):
    """What is demanded of a product's packages (`domain.gating.GateTerms`); one without a row follows the settings."""

    __tablename__ = "gate_policy"

    product: str = Field(max_length=63, primary_key=True)
    recall_margin: float
    overkill_margin: float
    confidence: float
    when_missing: WhenMissing = Field(sa_type=Word(WhenMissing))
    needs_audits: bool
    deadline_ms: float
    most_memory_mb: float
    changed_at: datetime = Field(sa_type=UtcDateTime)
    changed_by: str = Field(max_length=80)
    note: str = Field(default="", sa_type=Text)


class GateOverrule(Row, table=True):
    """A person let a package out that the gate had held back. Never changed and never deleted."""

    __tablename__ = "gate_overrule"

    id: int | None = Field(default=None, sa_type=RowNumber, primary_key=True)
    package_id: str = Field(max_length=64, unique=True, foreign_key="package.package_id")
    # What the gate had said.
    outcome: PromotionOutcome = Field(sa_type=Word(PromotionOutcome))
    at: datetime = Field(sa_type=UtcDateTime)
    by: str = Field(max_length=80)
    role: Role = Field(sa_type=Word(Role))
    reason: str = Field(sa_type=Text)
