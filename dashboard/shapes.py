# SPDX-License-Identifier: Apache-2.0
"""What the dashboard knows of central's answers: only the fields that some page shows.

Frozen dataclasses that mirror central's API bodies by name. Holds no behaviour beyond trivial sums; no HTTP.
Built by `reading`, handed out by `client`, shown by the pages.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from contracts.vocabulary import (
    AlarmKind,
    AlarmState,
    AuditState,
    Disposition,
    EvidenceKind,
    Judgement,
    PackageState,
    RefusalReason,
    StationState,
    Variant,
    Verdict,
    VerdictCause,
)


@dataclass(frozen=True)
class Health:
    """Central's word on itself."""

    status: str
    version: str
    database: str | None = None
    broker: str | None = None
    failing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rate:
    """A rate with interval and denominator. `estimate` None: not known."""

    estimate: float | None
    low: float
    high: float
    count: int
    of: int
    unsettled: int = 0
    method: str = ""
    confidence: float = 0.95


@dataclass(frozen=True)
class Evidence:
    """A stored picture of an inspection."""

    kind: EvidenceKind
    sha256: str
    media_type: str
    size_bytes: int


@dataclass(frozen=True)
class Latency:
    """Where the milliseconds of one inspection went."""

    verdict_ms: float
    infer_ms: float | None = None
    reject_ms: float | None = None


@dataclass(frozen=True)
class Inspection:
    """One stored inspection."""

    id: int
    station: str
    epoch: int
    sequence: int
    captured_at: datetime
    committed_at: datetime
    verdict: Verdict
    cause: VerdictCause
    disposition: Disposition
    is_simulated: bool
    trigger_number: int | None = None
    clock_error_s: float | None = None
    part_id: str | None = None
    product: str | None = None
    score: float | None = None
    ok_limit: float | None = None
    ng_limit: float | None = None
    defect_class: str | None = None
    package_id: str | None = None
    variant: Variant | None = None
    recipe_version: int | None = None
    latency: Latency | None = None
    evidence: tuple[Evidence, ...] = ()

    def picture(self, kind: EvidenceKind) -> Evidence | None:
        """The newest picture of that kind, if any arrived."""
        return next((item for item in self.evidence if item.kind is kind), None)


@dataclass(frozen=True)
class InspectionPage:
    """Newest first."""

    items: tuple[Inspection, ...]
    next_id: int | None = None


@dataclass(frozen=True)
class LatencySummary:
    """Percentiles of a heartbeat's window."""

    count: int
    p50_ms: float
    p99_ms: float
    max_ms: float


@dataclass(frozen=True)
class ActivePackage:
    """What judges a product at a station right now."""

    product: str
    package_id: str
    variant: Variant
    provider: str


@dataclass(frozen=True)
class StationFault:
    """Something a person must look at."""

    code: str
    message: str
    since: datetime
    remedy: str = ""


@dataclass(frozen=True)
class ActiveRecipe:
    """What a station inspects by now. `version` 0: of its own settings."""

    product: str | None = None
    version: int = 0
    number: int = 0


@dataclass(frozen=True)
class StationStatus:
    """A station's last heartbeat."""

    at: datetime
    is_connected: bool
    state: StationState
    agent_version: str | None = None
    active: tuple[ActivePackage, ...] = ()
    recipe: ActiveRecipe | None = None
    parts_total: int = 0
    parts_per_minute: float | None = None
    verdict_latency: LatencySummary | None = None
    reject_latency: LatencySummary | None = None
    outbox_rows: int = 0
    evidence_pending: int = 0
    faults: tuple[StationFault, ...] = ()


@dataclass(frozen=True)
class WayMeasured:
    """One way of running a package, as its station measured it. `infer_p50_ms` None: it cannot run so."""

    variant: Variant
    provider: str
    threads: int
    infer_p50_ms: float | None = None
    note: str = ""


@dataclass(frozen=True)
class PackageProgress:
    """How far a station came with one package."""

    product: str
    package_id: str
    state: PackageState
    at: datetime
    reason: RefusalReason | None = None
    detail: str = ""
    variant: Variant | None = None
    provider: str | None = None
    self_test_worst_error: float | None = None
    infer_p50_ms: float | None = None
    threads: int | None = None
    measured: tuple[WayMeasured, ...] = ()


@dataclass(frozen=True)
class PackageStatus:
    """A station's report on its assignment."""

    assignment_number: int
    at: datetime
    refused: RefusalReason | None = None
    detail: str = ""
    packages: tuple[PackageProgress, ...] = ()


@dataclass(frozen=True)
class Station:
    """What runs at a station beside what should run."""

    station: str
    sync: str
    last_report_at: datetime | None = None
    heard_at: datetime | None = None
    status: StationStatus | None = None
    package_status: PackageStatus | None = None
    assignment_number: int | None = None
    assigned: dict[str, str] = field(default_factory=dict)
    inspections: int = 0
    gaps: int = 0
    is_simulated: bool = False

    @property
    def line(self) -> str:
        """`site/line`."""
        return self.station.rsplit("/", maxsplit=1)[0]

    @property
    def name(self) -> str:
        """Last level of the address."""
        return self.station.rsplit("/", maxsplit=1)[-1]


@dataclass(frozen=True)
class LineRates:
    """Rates of one station (or `*`) and product over the asked period."""

    station: str
    product: str | None
    parts: int
    verdicts: dict[Verdict, int]
    causes: dict[VerdictCause, int]
    reject_rate: Rate
    review_rate: Rate
    no_decision_rate: Rate
    escape_share_of_accepted: Rate
    overkill_share_of_rejected: Rate
    is_simulated: bool
    good_share_of_review: Rate | None = None
    # No audit of an earlier part is in these shares; PERIOD, PACKAGE or ALARM says why.
    audits_since: datetime | None = None
    audits_since_cut: str | None = None


@dataclass(frozen=True)
class Rates:
    """Rates over a period."""

    since: datetime
    until: datetime
    lines: tuple[LineRates, ...]


@dataclass(frozen=True)
class Bucket:
    """A minute of a station, product and package."""

    minute: datetime
    station: str
    product: str | None
    package_id: str | None
    parts: int
    ok: int
    ng: int
    review: int
    no_decision: int
    is_simulated: bool
    mean_score: float | None = None
    mean_brightness: float | None = None
    p99_verdict_ms: float | None = None


@dataclass(frozen=True)
class ChartPoint:
    """One plotted point; `rule` names the run rule that signalled."""

    at: datetime
    value: float
    of: int = 1
    rule: str | None = None


@dataclass(frozen=True)
class Chart:
    """A control chart."""

    name: str
    kind: str
    station: str
    product: str | None
    unit: str
    phase: str
    points: tuple[ChartPoint, ...]
    centre_line: float | None = None
    lower_limit: float | None = None
    upper_limit: float | None = None
    is_simulated: bool = False


@dataclass(frozen=True)
class AuditTask:
    """A part to judge. Blind: carries neither verdict nor score."""

    audit_id: int
    product: str | None
    station: str
    state: AuditState
    is_simulated: bool
    has_picture: bool = True
    waiting: int = 0


@dataclass(frozen=True)
class AuditRecorded:
    """What central says once a judgement is stored."""

    audit_id: int
    verdict: Verdict
    score: float | None
    judgement: Judgement
    is_escape: bool
    waiting: int
    asked_because: str | None = None


@dataclass(frozen=True)
class AuditSummary:
    """How many audits stand where."""

    awaiting_evidence: int
    open: int
    judged: int
    lost: int
    by_judgement: dict[Judgement, int]
    known_defect_classes: tuple[str, ...]
    unsettled: int = 0
    asked_budget: int = 0
    asked: int = 0
    asked_waiting: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class SuggestedCause:
    """What may be behind an alarm. Words are central's; a newer central may use more of them."""

    cause: str
    remedy: str
    score: float
    evidence: tuple[str, ...] = ()
    station: str | None = None
    product: str | None = None


@dataclass(frozen=True)
class Alarm:
    """An alarm and its life."""

    id: int
    kind: AlarmKind
    state: AlarmState
    raised_at: datetime
    message: str
    remedy: str
    is_simulated: bool
    station: str | None = None
    product: str | None = None
    raised_at_inspection_id: int | None = None
    evidence: dict[str, Any] = field(default_factory=dict)
    acknowledged_by: str | None = None
    closed_at: datetime | None = None
    cause: str | None = None
    cause_by: str | None = None
    cause_note: str = ""
    suggested_causes: tuple[SuggestedCause, ...] = ()
    same_cause_as: int | None = None

    @property
    def training_held(self) -> str:
        """Why central starts no training for it; empty: nothing holds one back."""
        return str(self.evidence.get("training_held", ""))
