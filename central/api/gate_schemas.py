# SPDX-License-Identifier: Apache-2.0
"""Bodies of the HTTP API for the gate before any station sees a package. Shapes only."""

from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from central.api.written import Remark, Why, Written
from contracts.base import Shape, UtcTime
from contracts.ids import Name, PackageId, Sha256
from contracts.vocabulary import ConditionState, PromotionOutcome, Role, TrainingState, WhenMissing


class GateConditionView(Shape):
    """One condition with its figures. `is_demanded` false: it is shown and decides nothing."""

    name: str
    state: ConditionState
    detail: str
    figures: dict[str, Any]
    is_demanded: bool


class DifferingPicture(Shape):
    """A picture on which the two packages differ; the picture itself is at `/evidence/{sha256}`."""

    sha256: Sha256
    why: str
    truth: str
    challenger: str
    champion: str | None
    part: str


class OverruleView(Shape):
    """Who let a package out that the gate had held back (`outcome`), and why."""

    outcome: PromotionOutcome
    at: UtcTime
    by: str
    role: Role
    reason: str


class GateView(Shape):
    """`GET /gates`, `GET /gates/{package_id}`, `POST /gates/{package_id}/overrule`.

    `outcome` null: not decided yet. `asks_person`: evidence is all that is missing, and an engineer may let it out.
    """

    package_id: PackageId
    product: Name
    champion_package_id: PackageId | None
    is_simulated: bool
    state: TrainingState
    asked_at: UtcTime
    finished_at: UtcTime | None = None
    error: str | None = None
    outcome: PromotionOutcome | None = None
    asks_person: bool
    conditions: list[GateConditionView] = []
    terms: dict[str, Any] = {}
    terms_by: str = ""
    denominators: dict[str, Any] = {}
    worst_differing: list[DifferingPicture] = []
    left_out: list[str] = []
    overruled: OverruleView | None = None


class OverruleGate(Written):
    """Body of `POST /gates/{package_id}/overrule`. Whose word it is, the token says."""

    reason: Annotated[Why, Field(min_length=3)]


class SetGatePolicy(Written):
    """Body of `PUT /gate-policies/{product}`. Margins are shares of a class's parts, or of the good parts."""

    recall_margin: float = Field(default=0.05, gt=0, lt=1)
    overkill_margin: float = Field(default=0.02, gt=0, lt=1)
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    when_missing: WhenMissing = WhenMissing.ASK
    needs_audits: bool = True
    deadline_ms: float = Field(default=200.0, gt=0)
    most_memory_mb: float = Field(default=2_048.0, gt=0)
    note: Remark = ""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.model_fields_set:
            # Everything has a default: an empty body would set a policy that nobody wrote.
            raise ValueError(
                "expected at least one of its fields, got none; {'when_missing': 'ASK'} takes the defaults"
            )
        return self


class GatePolicyView(SetGatePolicy):
    """`GET /gate-policies`, `PUT /gate-policies/{product}`."""

    product: Name
    changed_at: UtcTime
    changed_by: str
