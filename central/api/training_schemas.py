# SPDX-License-Identifier: Apache-2.0
"""Bodies of the HTTP API for the queue of trainings and what they cost. Shapes only; see `schemas`."""

from pydantic import Field

from contracts.base import Shape, UtcTime
from contracts.ids import Name
from contracts.vocabulary import AttemptEnd, TrainingState, TrainingTrigger


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


class SpentView(Shape):
    """What was used, over all attempts. Null: not known. `cost` is null where no prices were set.

    `energy_wh` is estimated, from CPU time and `cost.watts_per_core`; nothing measures it.
    """

    attempts: int
    queue_wait_s: float
    wall_s: float
    cpu_s: float | None
    gpu_hours: float
    peak_memory_bytes: int | None
    energy_wh: float | None
    is_energy_estimated: bool = True
    cost: float | None
    currency: str


class AttemptView(Shape):
    """One start of a training; `end` null: it goes on."""

    number: int
    backend: str
    queued_at: UtcTime
    started_at: UtcTime
    ended_at: UtcTime | None
    end: AttemptEnd | None
    spent: SpentView


class TrainingCosts(Shape):
    """What the trainings of a product cost. `accepted`: how many gave a package that the gate promoted.

    `per_accepted` is all that was spent, on the others too, by each accepted one; null where there is none. A training
    without attempts is from before they were kept, or waits.
    """

    product: Name
    is_simulated: bool
    trainings: int
    without_attempts: int
    accepted: int
    spent: SpentView
    cost_per_accepted: float | None
    wall_s_per_accepted: float | None
    energy_wh_per_accepted: float | None


class TrainingCostsView(Shape):
    """`GET /trainings/costs`."""

    since: UtcTime
    watts_per_core: float
    products: list[TrainingCosts]
