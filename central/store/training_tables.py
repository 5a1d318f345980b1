# SPDX-License-Identifier: Apache-2.0
"""Every start of a training: how long it waited and ran, what it used and cost, how it ended. Shape alone."""

from datetime import datetime

from sqlmodel import Field

from central.store.columns import LongNumber, UtcDateTime, Word
from central.store.tables import Row
from contracts.vocabulary import AttemptEnd


class TrainingAttempt(Row, table=True):
    """One start. Written in the transaction that marks the training RUNNING, closed in the one that ends that."""

    __tablename__ = "training_attempt"

    training_id: str = Field(max_length=64, primary_key=True, foreign_key="training.training_id")
    number: int = Field(primary_key=True)
    backend: str = Field(max_length=32)
    queued_at: datetime = Field(sa_type=UtcDateTime)
    # When it got its place; while it waits for one in a cluster this moves on.
    started_at: datetime = Field(sa_type=UtcDateTime)
    ended_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    end: AttemptEnd | None = Field(default=None, sa_type=Word(AttemptEnd))
    gpus: float = 0.0
    # By the trainer's own word; None: it has not said any.
    cpu_s: float | None = None
    peak_memory_bytes: int | None = Field(default=None, sa_type=LongNumber)
    # From the place it got to its end, or to the last look.
    wall_s: float = 0.0
    # Estimated from CPU time; nothing measures it.
    energy_wh: float | None = None
    # At the prices of that time; None: no prices were set.
    cost: float | None = None
    currency: str = Field(default="", max_length=8)
