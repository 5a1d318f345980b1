# SPDX-License-Identifier: Apache-2.0
"""What the dashboard knows of how packages come to be and get to stations: trainings, packages, rollouts.

Frozen dataclasses that mirror central's API bodies by name, only the fields that some page shows. Built by
`reading`, handed out by `client`.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from contracts.vocabulary import (
    PromotionOutcome,
    RolloutState,
    TrainingState,
    TrainingTrigger,
    Variant,
    Verdict,
    WaveState,
)
from dashboard.shapes import Rate


@dataclass(frozen=True)
class VariantMeasured:
    """What was measured of one variant on held-out pictures."""

    variant: Variant
    is_included: bool
    image_auroc: float | None = None
    infer_p50_ms: float | None = None
    parity_error: float | None = None
    recall_at_1pct_overkill: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Evaluation:
    """The part of an evaluation that a page shows."""

    variants: tuple[VariantMeasured, ...]
    candidate_variant: Variant
    champion_image_auroc: float | None = None
    training_seconds: float = 0.0
    train_good: int = 0
    train_defective: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Spent:
    """What a training, or those of a product, used. None: not known. Energy is estimated."""

    queue_wait_s: float
    wall_s: float
    gpu_hours: float
    currency: str
    cpu_s: float | None = None
    peak_memory_bytes: int | None = None
    energy_wh: float | None = None
    cost: float | None = None


@dataclass(frozen=True)
class TrainingCosts:
    """What the trainings of a product cost, and each that the gate promoted."""

    product: str
    is_simulated: bool
    trainings: int
    accepted: int
    spent: Spent
    cost_per_accepted: float | None = None
    wall_s_per_accepted: float | None = None


@dataclass(frozen=True)
class TrainingCostsTold:
    """Since when, by product."""

    since: datetime
    products: tuple[TrainingCosts, ...]


@dataclass(frozen=True)
class Training:
    """A training and how far it is."""

    training_id: str
    product: str
    detector: str
    reason: str
    state: TrainingState
    stage: str
    fraction: float
    created_at: datetime
    good: int
    defective: int
    audit_labels: int
    is_simulated: bool
    started_at: datetime | None = None
    finished_at: datetime | None = None
    package_id: str | None = None
    error: str | None = None
    evaluation: Evaluation | None = None
    backend: str = ""
    starts: int = 0
    losses: int = 0
    trigger: str = ""
    site: str = ""
    preemptions: int = 0
    spent: Spent | None = None


@dataclass(frozen=True)
class QueuedTraining:
    """One that runs or waits; `waits_for` says why."""

    training_id: str
    product: str
    trigger: str
    site: str
    state: TrainingState
    queued_at: datetime
    waits_for: str


@dataclass(frozen=True)
class TrainingQueue:
    """Running ones first, then the line."""

    trainings: tuple[QueuedTraining, ...]


@dataclass(frozen=True)
class TrainingLog:
    """A piece of what a training said; `offset` is the byte it begins at."""

    text: str
    offset: int
    size_bytes: int
    is_over: bool


@dataclass(frozen=True)
class TrainingDecision:
    """What a trigger of trainings answered, since when and why."""

    product: str
    is_simulated: bool
    trigger: TrainingTrigger
    at: datetime
    renewed_at: datetime
    is_yes: bool
    reason: str
    alarm_id: int | None = None
    training_id: str | None = None


@dataclass(frozen=True)
class GateCheck:
    """One question of the promotion gate."""

    name: str
    is_passed: bool
    detail: str


@dataclass(frozen=True)
class Promotion:
    """The gate's decision."""

    outcome: PromotionOutcome
    decided_at: datetime
    checks: tuple[GateCheck, ...]
    champion_package_id: str | None = None


@dataclass(frozen=True)
class PackageVariant:
    """A numeric form of a package's graph."""

    variant: Variant
    file: str
    image_auroc: float | None = None
    parity_error: float | None = None


@dataclass(frozen=True)
class Promise:
    """What a limit promises, as a sentence for people."""

    statement: str


@dataclass(frozen=True)
class Limits:
    """Where OK ends and NG begins, and what was promised of it."""

    ok_limit: float
    ng_limit: float
    sound_parts: int
    rule: str
    overkill_bound: float | None = None
    confidence: float | None = None
    overkill: Promise | None = None
    escapes: Promise | None = None


@dataclass(frozen=True)
class Lineage:
    """What made a package."""

    training_id: str
    sound_parts: int
    defective_parts: int
    backbone: str
    backbone_weights_source: str
    training_seconds: float
    parent_package_id: str | None = None


@dataclass(frozen=True)
class Manifest:
    """The part of a manifest that a page shows."""

    variants: tuple[PackageVariant, ...]
    limits: Limits
    lineage: Lineage
    defect_classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Package:
    """A registered package."""

    package_id: str
    product: str
    detector: str
    created_at: datetime
    is_champion: bool
    is_simulated: bool
    size_bytes: int
    manifest: Manifest
    promotion: Promotion | None = None
    training_id: str | None = None


@dataclass(frozen=True)
class WayBack:
    """Whether a station that was ordered back has gone: ORDERED, BACK or REFUSED."""

    state: str
    package_id: str | None = None
    since: datetime | None = None
    detail: str = ""


@dataclass(frozen=True)
class WaveStation:
    """One station of a wave."""

    station: str
    progress: str
    detail: str
    parts_judged: int
    is_done: bool
    assignment_number: int | None = None
    reject_rate: Rate | None = None
    since: datetime | None = None
    before_package_id: str | None = None
    way_back: WayBack | None = None


@dataclass(frozen=True)
class Wave:
    """A wave with its conditions in words."""

    index: int
    state: WaveState
    success_condition: str
    error_condition: str
    stations: tuple[WaveStation, ...]
    needs_approval: bool = False
    approved_by: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None


@dataclass(frozen=True)
class Rollout:
    """A rollout, its waves and its history (oldest first)."""

    id: int
    package_id: str
    product: str
    state: RolloutState
    reason: str
    created_at: datetime
    waves: tuple[Wave, ...]
    history: tuple[str, ...]
    risk: str = "STANDARD"
    waits_for: tuple[str, ...] = ()
    previous_package_id: str | None = None
    finished_at: datetime | None = None


@dataclass(frozen=True)
class RolloutStep:
    """One step of a rollout and the facts that it rested on."""

    at: datetime
    lines: tuple[str, ...]
    evidence: dict[str, Any]


@dataclass(frozen=True)
class RolloutLook:
    """One look at the limits of a wave, and what they said."""

    wave: int
    at: datetime
    evidence: dict[str, Any]


@dataclass(frozen=True)
class StationExposure:
    """Parts that the package of a rollout judged at one station."""

    station: str
    verdicts: dict[Verdict, int]
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True)
class Exposure:
    """All of them, and how many the package let pass."""

    parts: int
    passed: int
    stations: tuple[StationExposure, ...]


@dataclass(frozen=True)
class QuarantinePart:
    """A part that the package of a rollout let pass; `score` rises with suspicion."""

    station: str
    captured_at: datetime
    epoch: int
    sequence: int
    part_id: str | None = None
    trigger_number: int | None = None
    score: float | None = None


@dataclass(frozen=True)
class RolloutEvidence:
    """All that a rollout rested on."""

    rollout: Rollout
    steps: tuple[RolloutStep, ...]
    exposure: Exposure
    looks: tuple[RolloutLook, ...] = ()


@dataclass(frozen=True)
class PolicyPlan:
    """Of a policy's plan, what the page counts."""

    waves: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class RolloutPolicy:
    """What people set for the rollouts of a product. `is_product_known` False: central has not heard of it."""

    product: str
    risk: str
    is_automatic: bool
    plan: PolicyPlan
    changed_at: datetime
    changed_by: str
    note: str
    is_product_known: bool = True


@dataclass(frozen=True)
class Freeze:
    """A time in which nobody of a site (None: of any) is given another package."""

    id: int
    begins: datetime
    ends: datetime
    reason: str
    made_by: str
    is_in_force: bool
    site: str | None = None
