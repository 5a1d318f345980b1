# SPDX-License-Identifier: Apache-2.0
"""Bodies of the HTTP API for the history of trainings. Shapes only; see `schemas`."""

from typing import Any

from pydantic import Field

from central.api.schemas import Rate
from central.api.training_schemas import SpentView
from contracts.base import Shape, UtcTime
from contracts.ids import Name, PackageId, Sha256
from contracts.jobs import MadeBy, MetricCurve, VariantMeasured
from contracts.vocabulary import DetectorKind, PromotionOutcome, RolloutState, TrainingState, TrainingTrigger, Variant


class LabelCount(Shape):
    """Of a side and a defect class, or a judgement where there is none."""

    pictures: int
    parts: int


class ClassResult(Shape):
    """Held-out parts of `name` (`good`, or a defect class) on which a package errs: missed, or overkilled of good ones.

    `champion` null: there was none, or it did not judge them all.
    """

    name: str
    pictures: int
    wrong: Rate
    champion: Rate | None


class ExperimentRollout(Shape):
    """A rollout of what a training made."""

    id: int
    state: RolloutState
    created_at: UtcTime
    finished_at: UtcTime | None


class ExperimentView(Shape):
    """`GET /experiments`, `GET /experiments/{id}`. Null: not there, or not known.

    `job_sha256`, `parameters`, `labels` and `made_by` are of the job as it was laid out; null and empty: it never was,
    or they were let go (`[experiments]`). `labels`: side → class → counts.
    """

    training_id: str
    product: Name
    is_simulated: bool
    detector: DetectorKind
    trigger: TrainingTrigger
    reason: str
    state: TrainingState
    error: str | None
    created_at: UtcTime
    finished_at: UtcTime | None
    job_sha256: Sha256 | None
    laid_out_at: UtcTime | None
    parameters: dict[str, Any]
    labels: dict[str, dict[str, LabelCount]]
    made_by: MadeBy | None
    curves: list[MetricCurve] = Field(default_factory=list)
    dataset_id: Sha256 | None
    dataset_pictures: int | None
    package_id: PackageId | None
    champion_package_id: PackageId | None
    # Of the evaluation: what the detector came to be, each form, each class by the form that stations take.
    made_detector: DetectorKind | None
    candidate_variant: Variant | None
    backbone: str | None
    training_seconds: float | None
    variants: list[VariantMeasured]
    classes: list[ClassResult]
    champion_image_auroc: float | None
    notes: list[str]
    # What the gate said, and who let it out nevertheless.
    outcome: PromotionOutcome | None
    overruled_by: str | None
    rollouts: list[ExperimentRollout]
    spent: SpentView


class ExperimentPage(Shape):
    """`next_id`: as `before_id` of the next page; null: this was the last."""

    items: list[ExperimentView]
    next_id: str | None


class DifferenceView(Shape):
    """What is not the same in all, in the order of `experiments`."""

    name: str
    values: list[Any]


class ComparisonView(Shape):
    """`GET /experiments/compare`: parameters, labels and machines that differ, beside the experiments themselves."""

    experiments: list[ExperimentView]
    differences: list[DifferenceView]
