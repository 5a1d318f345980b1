# SPDX-License-Identifier: Apache-2.0
"""What the dashboard knows of the gate before any station sees a package, and of what taught what.

Frozen dataclasses that mirror central's API bodies by name, only the fields that some page shows. Built by `reading`.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from contracts.vocabulary import ConditionState, PromotionOutcome, Role, RolloutState, TrainingState


@dataclass(frozen=True)
class GateCondition:
    """One demand, what was found, and whether it decides."""

    name: str
    state: ConditionState
    detail: str
    is_demanded: bool
    figures: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DifferingPicture:
    """A picture on which challenger and champion differ."""

    sha256: str
    why: str
    truth: str
    challenger: str
    part: str
    champion: str | None = None


@dataclass(frozen=True)
class Overruled:
    """Who let a package out that the gate had held back."""

    outcome: PromotionOutcome
    at: datetime
    by: str
    role: Role
    reason: str


@dataclass(frozen=True)
class Gate:
    """A package that was held against its champion."""

    package_id: str
    product: str
    is_simulated: bool
    state: TrainingState
    asked_at: datetime
    asks_person: bool
    conditions: tuple[GateCondition, ...] = ()
    terms: dict[str, Any] = field(default_factory=dict)
    denominators: dict[str, Any] = field(default_factory=dict)
    worst_differing: tuple[DifferingPicture, ...] = ()
    left_out: tuple[str, ...] = ()
    terms_by: str = ""
    champion_package_id: str | None = None
    finished_at: datetime | None = None
    error: str | None = None
    outcome: PromotionOutcome | None = None
    overruled: Overruled | None = None


@dataclass(frozen=True)
class TaughtBy:
    """Labels of a dataset version that taught, counted."""

    pictures: int
    parts: int
    held_out: int
    confirmed: int
    by_source: dict[str, int]
    by_person: dict[str, int]
    by_class: dict[str, int]
    first_at: datetime | None = None
    last_at: datetime | None = None


@dataclass(frozen=True)
class LineageTraining:
    """The training that made a package."""

    training_id: str
    reason: str
    created_at: datetime
    champion_package_id: str | None = None


@dataclass(frozen=True)
class LineageRollout:
    """A rollout of a package."""

    id: int
    state: RolloutState
    created_at: datetime


@dataclass(frozen=True)
class LineageStation:
    """A station that should run a package, or says that it judges with it."""

    station: str
    is_assigned: bool
    is_judging: bool | None = None


@dataclass(frozen=True)
class Lineage:
    """One package with what led to it and what came of it."""

    package_id: str
    product: str
    is_simulated: bool
    is_champion: bool
    created_at: datetime
    rollouts: tuple[LineageRollout, ...]
    stations: tuple[LineageStation, ...]
    challenged_by: tuple[str, ...]
    dataset_id: str | None = None
    labels: TaughtBy | None = None
    training: LineageTraining | None = None
    outcome: PromotionOutcome | None = None
    gate: TrainingState | None = None
    overruled_by: str | None = None
