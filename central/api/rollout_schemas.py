# SPDX-License-Identifier: Apache-2.0
"""Bodies of the HTTP API for rollouts: what people set for them, how they go, what each step rested on.

Shapes only; the rules that hold for all bodies stand in `schemas`. What people write is read strictly: a field that
nobody knows is a mistake here, and so is a number or a yes or no that is written as text.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from central.api.schemas import By, Rate
from central.api.written import Station, Why, Written
from central.domain.calendar import MaintenanceWindow
from central.domain.naming import some_of
from central.domain.rollout_plan import ControlPlan, RolloutPlan, ShadowPlan, TargetFilter, WavePlan, WaveScope
from contracts.base import Shape, UtcTime, Whole
from contracts.ids import Name, PackageId
from contracts.vocabulary import RiskClass, RolloutState, Verdict, WaveState

Line = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}/[a-z0-9][a-z0-9_-]{0,62}$")]


class WindowBody(Written):
    """A maintenance window by the clock of the plant. `closes` not after `opens`: it ends on the next day."""

    days: list[str] = Field(default=["mon", "tue", "wed", "thu", "fri", "sat", "sun"], min_length=1, max_length=7)
    opens: str = "00:00"
    closes: str = "00:00"
    time_zone: str = Field(default="UTC", max_length=64)

    @model_validator(mode="after")
    def _is_possible(self) -> "WindowBody":
        self.read()
        return self

    def read(self) -> MaintenanceWindow:
        """For the calendar.

        Raises:
            ValueError: a window that cannot be.
        """
        return MaintenanceWindow(tuple(self.days), self.opens, self.closes, self.time_zone)


class ShadowBody(Written):
    """What a wave must show in shadow first: not worse than the champion by `margin` of the parts, or better.

    `cost_of_escape`, `cost_of_overkill`: what one error costs, in any unit; both, or neither (all errors alike).
    """

    margin: float = Field(default=0.005, gt=0, lt=0.5, strict=True)
    alpha: float = Field(default=0.05, gt=0, lt=0.5, strict=True)
    cost_of_escape: float | None = Field(default=None, gt=0, allow_inf_nan=False, strict=True)
    cost_of_overkill: float | None = Field(default=None, gt=0, allow_inf_nan=False, strict=True)

    def read(self) -> ShadowPlan:
        """For the machine.

        Raises:
            ValueError: costs that cannot be.
        """
        return ShadowPlan(self.margin, self.alpha, self.cost_of_escape, self.cost_of_overkill)


class ControlBody(Written):
    """Limits of a baking wave from its stations' own past: rejects (too many, too few), image faults, station health.

    `alpha`: chance that an unchanged process is sent back by them. `chunk_parts` None: a tenth of what a station bakes.
    `tolerated_factor` None: as central's settings say. `needs_limits` None: waits for a person where a past gives no
    limits only if the risk class is above STANDARD.
    """

    alpha: float = Field(default=0.05, gt=0, lt=0.5, strict=True)
    chunk_parts: Whole | None = Field(default=None, strict=True)
    least_chunks: Whole = Field(default=5, strict=True)
    tolerated_factor: float | None = Field(default=None, strict=True)
    needs_limits: bool | None = Field(default=None, strict=True)

    def read(self) -> ControlPlan:
        """For the machine.

        Raises:
            ValueError: limits that cannot be.
        """
        return ControlPlan(
            self.alpha, self.chunk_parts, self.least_chunks, self.tolerated_factor, self.needs_limits
        )  # fmt: skip


class WaveBody(Written):
    """One wave. COUNT: `amount` further stations; SHARE: until this share of all; LINE, SITE: what is left of these."""

    scope: WaveScope
    amount: float = Field(default=1, strict=True)
    needs_approval: bool = Field(default=False, strict=True)
    bake_parts: int | None = Field(default=None, ge=1, le=10**7, strict=True)
    bake_s: float = Field(default=0.0, strict=True)
    max_away_share: float = Field(default=0.0, strict=True)
    shadow: ShadowBody | None = None
    control: ControlBody | None = ControlBody()

    @model_validator(mode="after")
    def _is_possible(self) -> "WaveBody":
        self.read()
        return self

    def read(self) -> WavePlan:
        """For the machine.

        Raises:
            ValueError: a wave that cannot be.
        """
        return WavePlan(
            self.scope,
            self.amount,
            self.needs_approval,
            self.bake_parts,
            self.bake_s,
            self.max_away_share,
            self.shadow.read() if self.shadow is not None else None,
            self.control.read() if self.control is not None else None,
        )


class TargetBody(Written):
    """Which stations. Empty: all. Kinds are joined by AND, names of one kind by OR. `lines` are `site/line`."""

    sites: list[Name] = Field(default=[], max_length=1000)
    lines: list[Line] = Field(default=[], max_length=1000)
    stations: list[Station] = Field(default=[], max_length=10_000)
    labels: dict[Name, Annotated[list[Name], Field(max_length=1000)]] = Field(default={}, max_length=32)

    def read(self) -> TargetFilter:
        """For the machine."""
        labels = {label: tuple(values) for label, values in self.labels.items()}
        return TargetFilter(tuple(self.sites), tuple(self.lines), tuple(self.stations), labels)


class PlanBody(Written):
    """Whom a rollout reaches, in which waves, and when stations may be touched. No windows: at any time."""

    waves: list[WaveBody] = Field(
        default=[
            WaveBody(scope=WaveScope.COUNT),
            WaveBody(scope=WaveScope.LINE),
            WaveBody(scope=WaveScope.SITE),
            WaveBody(scope=WaveScope.ALL),
        ],
        min_length=1,
        max_length=50,
    )
    target: TargetBody = TargetBody()
    windows: list[WindowBody] = Field(default=[], max_length=50)

    def read(self) -> RolloutPlan:
        """For the services."""
        waves = tuple(wave.read() for wave in self.waves)
        return RolloutPlan(waves, self.target.read(), tuple(window.read() for window in self.windows))

    def unsaid(self) -> frozenset[str]:
        """What the product's policy goes on to say: nobody drops a maintenance window by not thinking of it."""
        return frozenset({"target", "windows"} - self.model_fields_set)

    @classmethod
    def of(cls, plan: RolloutPlan) -> "PlanBody":
        """A stored plan as people read it."""
        return cls(
            waves=[WaveBody.model_validate(wave, from_attributes=True) for wave in plan.waves],
            target=TargetBody(
                sites=list(plan.target.sites),
                lines=list(plan.target.lines),
                stations=list(plan.target.stations),
                labels={label: list(values) for label, values in plan.target.labels.items()},
            ),
            windows=[
                WindowBody(days=list(each.days), opens=each.opens, closes=each.closes, time_zone=each.time_zone)
                for each in plan.windows
            ],
        )


class StartRollout(Written):
    """Body of `POST /rollouts`. `plan` and `canary` None: as people set it for the product, else as by default.

    Empty `stations`: all that judge the product. `canary`: how many go first; then line, site, all.
    """

    package_id: PackageId
    stations: list[Station] = Field(default=[], max_length=10_000)
    canary: int | None = Field(default=None, ge=1, le=1000, strict=True)
    reason: Why = "asked for by hand"
    plan: PlanBody | None = None

    @model_validator(mode="after")
    def _is_one_wish(self) -> "StartRollout":
        if self.plan is not None and self.canary is not None:
            raise ValueError("canary: expected either `canary` or `plan`, got both; the plan's first wave says it")
        if twice := sorted({each for each in self.stations if self.stations.count(each) > 1}):
            raise ValueError(f"stations: expected each station once, got twice or more: {some_of(twice)}")
        return self


class Approve(By):
    """Body of `POST /rollouts/{id}/approve`. `wave`: which one, counted from 1 as `waits_for` says it.

    Without it only the first wave is meant: a second click must not open a wave that nobody has looked at.
    """

    wave: int = Field(default=1, ge=1, le=10_000)


class SetAside(By):
    """Body of `POST /rollouts/{id}/set-aside`."""

    station: Station


class WayBack(Shape):
    """Whether a station that was ordered back has gone.

    ORDERED: it has not said so yet. BACK: it judges with `package_id` again, by its own word. REFUSED: it will not;
    `detail` says why, and it goes on with what it has. `package_id`: what it should run now; None: no package of the
    product. `since`: of the order, or of the station's word.
    """

    state: Literal["ORDERED", "BACK", "REFUSED"]
    package_id: str | None
    since: UtcTime | None
    detail: str = ""


class WaveStation(Shape):
    """One station in a wave and what its canary evidence says.

    `before_package_id`: what it had when the rollout touched it; None: nothing, or it was not touched. `way_back`: of
    one that was ordered back.
    """

    station: str
    assignment_number: int | None
    progress: str
    # When it came to `progress`, and what was heard or what it waits for.
    since: UtcTime | None = None
    detail: str
    parts_judged: int
    reject_rate: Rate | None = None
    is_done: bool
    before_package_id: str | None = None
    way_back: WayBack | None = None


class WaveView(Shape):
    """A wave with its conditions, in words."""

    index: int
    state: WaveState
    success_condition: str
    error_condition: str
    needs_approval: bool = False
    approved_by: str | None = None
    started_at: UtcTime | None = None
    finished_at: UtcTime | None = None
    stations: list[WaveStation]


class RolloutView(Shape):
    """`GET /rollouts`, `GET /rollouts/{id}`, `POST /rollouts/{id}/{pause|resume|approve|abort}` with `By`."""

    id: int
    package_id: PackageId
    previous_package_id: PackageId | None
    product: Name
    state: RolloutState
    reason: str
    risk: RiskClass = RiskClass.STANDARD
    plan: PlanBody | None = None
    # What it waits for, station by station; empty when it waits for nothing.
    waits_for: list[str] = []
    created_at: UtcTime
    finished_at: UtcTime | None = None
    waves: list[WaveView]
    # What happened, oldest first: "2026-01-02T03:04:05Z canary line-1/st-1 active".
    history: list[str]


class RolloutStep(Shape):
    """One step: what was said, and for each station that moved the facts that moved it. Part of `RolloutEvidence`."""

    at: UtcTime
    lines: list[str]
    evidence: dict[str, Any]


class RolloutLook(Shape):
    """One look at the limits of a wave: counts, denominators, limits, and what they say. Part of `RolloutEvidence`."""

    wave: int
    at: UtcTime
    evidence: dict[str, Any]


class ExposureAtStation(Shape):
    """Parts that the package of the rollout judged at one station. Part of `RolloutExposure`."""

    station: str
    verdicts: dict[Verdict, int]
    first_at: UtcTime
    last_at: UtcTime


class RolloutExposure(Shape):
    """`GET /rollouts/{id}/exposure`: parts judged by its package, and how many of them it let pass."""

    rollout_id: int
    package_id: PackageId
    parts: int
    passed: int
    stations: list[ExposureAtStation]


class QuarantinePartView(Shape):
    """A part that the package of a rollout let pass. `score`: rises with suspicion; its limit is the package's."""

    station: str
    captured_at: UtcTime
    part_id: str | None = None
    trigger_number: int | None = None
    epoch: int
    sequence: int
    score: float | None = None


class RolloutEvidence(Shape):
    """`GET /rollouts/{id}/evidence`: all that it rested on, in one file. `looks`: the newest, oldest of them first."""

    rollout: RolloutView
    steps: list[RolloutStep]
    looks: list[RolloutLook] = []
    exposure: RolloutExposure


class SetRolloutPolicy(Written):
    """Body of `PUT /rollout-policies/{product}`. `is_automatic`: a promoted package may begin without a person.

    `is_ahead`: set before central has heard of the product, or of places that the target names; else these are refused
    as mistyped.
    """

    risk: RiskClass = RiskClass.STANDARD
    is_automatic: bool = Field(default=True, strict=True)
    plan: PlanBody = PlanBody()
    is_ahead: bool = Field(default=False, strict=True)
    by: Name
    note: Why


class RolloutPolicyView(Shape):
    """`GET /rollout-policies`: what people set for a product; products without one follow the settings of central.

    `is_product_known` False: central has heard of no recipe, picture, training, package or part of it (yet).
    """

    product: Name
    is_product_known: bool
    risk: RiskClass
    is_automatic: bool
    plan: PlanBody
    changed_at: UtcTime
    changed_by: str
    note: str


class SetLabels(Written):
    """Body of `PUT /stations/{site}/{line}/{station}/labels`: these and no others."""

    labels: dict[Name, Name] = Field(max_length=32)


class StationLabels(Shape):
    """`GET /station-labels`: what people say of stations, to aim rollouts by."""

    station: str
    labels: dict[Name, Name]
