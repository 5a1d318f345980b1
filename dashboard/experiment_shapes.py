# SPDX-License-Identifier: Apache-2.0
"""What the dashboard knows of the history of trainings, and of what a picture taught.

Frozen dataclasses that mirror central's API bodies by name, only the fields that some page shows. Built by `reading`.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from contracts.vocabulary import Judgement, LabelSource, PartUse, PromotionOutcome, RolloutState, TrainingState, Variant
from dashboard.lifecycle import Spent, VariantMeasured
from dashboard.shapes import Rate


@dataclass(frozen=True)
class Curve:
    """A figure by step."""

    name: str
    steps: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class MadeBy:
    """The machine of a training."""

    machine: str
    cores: int
    python: str
    processor: str | None = None
    libraries: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ClassResult:
    """Held-out parts of a class on which a package errs."""

    name: str
    pictures: int
    wrong: Rate
    champion: Rate | None = None


@dataclass(frozen=True)
class ExperimentRollout:
    """A rollout of what a training made."""

    id: int
    state: RolloutState


@dataclass(frozen=True)
class Experiment:
    """A training with what it was given and what came of it."""

    training_id: str
    product: str
    is_simulated: bool
    detector: str
    reason: str
    state: TrainingState
    created_at: datetime
    spent: Spent
    labels: dict[str, dict[str, dict[str, int]]] = field(default_factory=dict)
    curves: tuple[Curve, ...] = ()
    variants: tuple[VariantMeasured, ...] = ()
    classes: tuple[ClassResult, ...] = ()
    rollouts: tuple[ExperimentRollout, ...] = ()
    made_by: MadeBy | None = None
    error: str | None = None
    job_sha256: str | None = None
    dataset_id: str | None = None
    package_id: str | None = None
    made_detector: str | None = None
    candidate_variant: Variant | None = None
    outcome: PromotionOutcome | None = None
    overruled_by: str | None = None


@dataclass(frozen=True)
class ExperimentPage:
    """A page of them."""

    items: tuple[Experiment, ...]
    next_id: str | None = None


@dataclass(frozen=True)
class Difference:
    """What is not the same in all that stand side by side."""

    name: str
    values: tuple[Any, ...]


@dataclass(frozen=True)
class Comparison:
    """Several side by side."""

    experiments: tuple[Experiment, ...]
    differences: tuple[Difference, ...]


@dataclass(frozen=True)
class PictureInVersion:
    """A picture in a dataset version."""

    dataset_id: str
    created_at: datetime
    use: PartUse
    judgement: Judgement
    part: str
    source: LabelSource
    labelled_by: tuple[str, ...]
    package_ids: tuple[str, ...]
    defect_class: str | None = None


@dataclass(frozen=True)
class PictureLineage:
    """What a picture taught."""

    sha256: str
    inspections: tuple[str, ...]
    versions: tuple[PictureInVersion, ...]
    versions_looked_into: int
    versions_of_product: int
