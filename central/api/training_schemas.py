# SPDX-License-Identifier: Apache-2.0
"""Bodies of the HTTP API for the queue of trainings. Shapes only; see `schemas`."""

from pydantic import Field

from contracts.base import Shape, UtcTime
from contracts.ids import Name
from contracts.vocabulary import TrainingState, TrainingTrigger


class QuotaView(Shape):
    """What trainings may hold at once. 0: no limit."""

    jobs: int
    gpus: float


class QueuedTraining(Shape):
    """One that runs or waits. `waits_for`: why it waits, or whom it gives way to; empty: nothing."""

    training_id: str
    product: Name
    trigger: TrainingTrigger
    site: str
    state: TrainingState
    gpus: float
    # When it came into the queue the last time.
    queued_at: UtcTime
    preemptions: int
    waits_for: str


class TrainingQueueView(Shape):
    """`GET /trainings/queue`: running ones first, then those that wait, in the order in which they are to start."""

    all: QuotaView
    each_site: QuotaView
    # Sites with a quota of their own.
    sites: dict[str, QuotaView] = Field(default_factory=dict)
    trainings: list[QueuedTraining]
