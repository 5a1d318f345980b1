# SPDX-License-Identifier: Apache-2.0
"""Bodies of the HTTP API for what taught what. Shapes only."""

from central.api.schemas import InspectionView
from contracts.base import Shape, UtcTime
from contracts.ids import Name, PackageId, Sha256
from contracts.vocabulary import Judgement, LabelSource, PartUse, PromotionOutcome, RolloutState, TrainingState


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


class PictureLabel(Shape):
    """A picture's label as it is now. `added_by` null: inspectors gave it in `audit_id`, or it is not known."""

    product: Name
    is_simulated: bool
    judgement: Judgement
    defect_class: str | None
    part_id: str | None
    source: LabelSource
    audit_id: int | None
    added_at: UtcTime
    added_by: str | None


class PictureInVersion(Shape):
    """A picture in a dataset version, with its label as it was then, and what was made of that version.

    What learnt from the picture itself are those where `use` is TRAIN.
    """

    dataset_id: Sha256
    created_at: UtcTime
    use: PartUse
    judgement: Judgement
    defect_class: str | None
    part: str
    source: LabelSource
    labelled_by: list[str]
    labelled_at: UtcTime
    is_confirmed: bool
    training_ids: list[str]
    package_ids: list[PackageId]


class PictureLineage(Shape):
    """`GET /lineage/pictures/{sha256}`. `inspections`: site/line/station/epoch/sequence. `versions`: newest first.

    Where `versions_looked_into` is less than `versions_of_product` the oldest were not looked into.
    """

    sha256: Sha256
    labels: list[PictureLabel]
    inspections: list[str]
    versions: list[PictureInVersion]
    versions_looked_into: int
    versions_of_product: int


class InspectionLineage(Shape):
    """`GET /lineage/inspections/…`. `package` null: no package judged it, or central has not got it."""

    inspection: InspectionView
    package: LineageView | None
    pictures: list[PictureLineage]
