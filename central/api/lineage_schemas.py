# SPDX-License-Identifier: Apache-2.0
"""Bodies of the HTTP API for what taught what. Shapes only."""

from contracts.base import Shape, UtcTime
from contracts.ids import Name, PackageId, Sha256
from contracts.vocabulary import PromotionOutcome, RolloutState, TrainingState


class LabelsView(Shape):
    """Labels of a dataset version that taught, counted; `held_out` of its pictures taught nothing."""

    pictures: int
    parts: int
    held_out: int
    confirmed: int
    by_source: dict[str, int]
    by_person: dict[str, int]
    by_class: dict[str, int]
    first_at: UtcTime | None
    last_at: UtcTime | None


class LineageTraining(Shape):
    """The training that made a package."""

    training_id: str
    reason: str
    created_at: UtcTime
    champion_package_id: PackageId | None


class LineageRollout(Shape):
    """A rollout of a package."""

    id: int
    state: RolloutState
    created_at: UtcTime


class LineageStation(Shape):
    """A station that should run a package or says that it judges with it. `is_judging` null: it never said."""

    station: str
    is_assigned: bool
    is_judging: bool | None
    said_at: UtcTime | None


class LineageView(Shape):
    """One package with what led to it and what came of it. Part of every answer under `/lineage`.

    `dataset_id`, `labels` and `training` null: it came from outside, or from before there were dataset versions.
    """

    package_id: PackageId
    product: Name
    is_simulated: bool
    is_champion: bool
    created_at: UtcTime
    dataset_id: Sha256 | None
    labels: LabelsView | None
    training: LineageTraining | None
    outcome: PromotionOutcome | None
    gate: TrainingState | None
    overruled_by: str | None
    rollouts: list[LineageRollout]
    stations: list[LineageStation]
    challenged_by: list[PackageId]
