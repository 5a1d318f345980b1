# SPDX-License-Identifier: Apache-2.0
"""Bodies of the HTTP API for judged pictures, trainings and packages.

Shapes only; the rest of the API's bodies, and the rules that hold for all of them, stand in `schemas`.
"""

from typing import Any

from pydantic import Field

from central.api.training_schemas import SpentView
from central.api.written import Why, Written
from contracts.base import Shape, UtcTime
from contracts.ids import Name, PackageId, PartId, Sha256
from contracts.jobs import EvaluationReport
from contracts.manifest import PackageManifest
from contracts.vocabulary import (
    DetectorKind,
    Judgement,
    LabelSource,
    PromotionOutcome,
    TrainingState,
    TrainingTrigger,
)


class ReferencePartAdded(Shape):
    """`POST /products/{product}/reference-parts` with a PNG or JPEG body.

    Query: judgement, defect_class, part_id, is_simulated.
    """

    sha256: Sha256
    product: Name
    judgement: Judgement
    part_id: PartId
    # False: this very picture was known already (same product); nothing was added.
    is_new: bool


class LabelCounts(Shape):
    """`GET /products/{product}/labels`: judged pictures that a training could use."""

    product: Name
    by_source: dict[LabelSource, dict[Judgement, int]]
    is_simulated: bool


class StartTraining(Written):
    """Body of `POST /trainings`."""

    product: Name
    detector: DetectorKind = DetectorKind.AUTO
    reason: Why = "asked for by hand"
    # Whose quota it counts against; null: that of all stations, where they are of one site.
    site: Name | None = None


class TrainingView(Shape):
    """`GET /trainings`, `GET /trainings/{training_id}`, `POST /trainings/{training_id}/cancel`."""

    training_id: str
    product: Name
    detector: DetectorKind
    reason: str
    trigger: TrainingTrigger
    state: TrainingState
    stage: str
    fraction: float
    created_at: UtcTime
    started_at: UtcTime | None = None
    finished_at: UtcTime | None = None
    good: int
    defective: int
    audit_labels: int
    package_id: PackageId | None = None
    error: str | None = None
    # What it learns from; null: not begun, or from before there were versions.
    dataset_id: Sha256 | None = None
    evaluation: EvaluationReport | None = None
    # Where it runs, what that place calls it, how often it was begun and how often an attempt was lost.
    backend: str
    handle: str | None = None
    starts: int = 0
    losses: int = 0
    # For which site ("": none) it was asked for, and how often it made room for one that came first.
    site: str
    preemptions: int = 0
    spent: SpentView
    is_simulated: bool


class TrainingLogView(Shape):
    """`GET /trainings/{training_id}/log`. Offsets are bytes; a page may begin a letter later."""

    training_id: str
    text: str
    offset: int
    # Where the next page begins; equal to `size_bytes`: that is all so far.
    next_offset: int
    size_bytes: int
    # False: more may come.
    is_over: bool


class TrainingDecisionView(Shape):
    """`GET /trainings/decisions`: what a trigger answered, since when, and what the answer rests on.

    `because`: the kind of answer; `renewed_at`: when its figures last changed while the answer stayed.
    """

    id: int
    product: Name
    is_simulated: bool
    trigger: TrainingTrigger
    alarm_id: int | None = None
    at: UtcTime
    renewed_at: UtcTime
    is_yes: bool
    because: str
    reason: str
    figures: dict[str, Any]
    training_id: str | None = None


class GateCheck(Shape):
    """One question the promotion gate asked, with its figures in words."""

    name: str
    is_passed: bool
    detail: str


class PromotionView(Shape):
    """Decision of the gate with its evidence. Part of `PackageView`."""

    package_id: PackageId
    champion_package_id: PackageId | None
    outcome: PromotionOutcome
    decided_at: UtcTime
    checks: list[GateCheck]


class PackageView(Shape):
    """`GET /packages?product=`, `GET /packages/{package_id}`."""

    package_id: PackageId
    product: Name
    detector: DetectorKind
    created_at: UtcTime
    is_champion: bool
    is_simulated: bool
    # The repository names it no more, so stations refuse it; None: the repository cannot be read.
    is_withdrawn: bool | None = None
    size_bytes: int
    manifest: PackageManifest
    promotion: PromotionView | None = None
    training_id: str | None = None
    dataset_id: Sha256 | None = None


class SuspectLabel(Shape):
    """One of `suspect_labels` in the file that `sightline-models clean` writes."""

    sha256: Sha256
    suspicion: float


class SuspectLabels(Shape):
    """Body of `POST /datasets/{dataset_id}/suspects`: that file, or as much of it."""

    suspect_labels: list[SuspectLabel] = Field(min_length=1, max_length=5_000)


class SuspectsSent(Shape):
    """How many labels people are asked about again, how many wait, and why others were left out."""

    asked: int
    waiting: int
    left_out: dict[str, int]


class DatasetView(Shape):
    """`GET /datasets`, `GET /datasets/{dataset_id}`: a version, and the query that gave it."""

    dataset_id: Sha256
    product: Name
    is_simulated: bool
    created_at: UtcTime
    query: dict[str, Any]
    pictures: int
    parts: int
    good: int
    defective: int
    # Pictures of the test set, and those whose label two inspectors or more gave.
    held_out: int
    confirmed: int
    file_sha256: Sha256
    size_bytes: int
    # What was learnt from it.
    training_ids: list[str]
    package_ids: list[PackageId]
