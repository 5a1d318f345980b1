# SPDX-License-Identifier: Apache-2.0
"""Bodies of the HTTP API under `/api/v1`, both ways. The seam between central and everyone who calls it.

Shapes only. `station` is always the text `site/line/station`. Rates carry interval and denominator; a rate
that nothing is known about is None, never 0. Lists come newest first.
"""

from typing import Annotated, Any

from pydantic import Field

from central.api.written import DefectClass, Remark, Written
from central.domain.audit import PoolCut
from central.quality.cause import Cause, Remedy
from contracts.base import Message, Shape, UtcTime
from contracts.ids import Name, PackageId, Sha256
from contracts.reports import ImageMeasures, PackageStatus, StageLatency, StationReported
from contracts.vocabulary import (
    AlarmKind,
    AlarmState,
    AuditState,
    Disposition,
    EvidenceKind,
    ImageFault,
    Judgement,
    Role,
    SignalState,
    Variant,
    Verdict,
    VerdictCause,
)

Fraction = Annotated[float, Field(ge=0, le=1)]


class Problem(Shape):
    """Body of every 4xx and 5xx answer: what was expected, what came, what to do."""

    error: str
    detail: str


class Health(Shape):
    """`GET /health` (no token): alive; `GET /ready`: database and broker reached.

    `failing`: services of central that fail again and again; `status` is then `degraded`, reports are taken in all the
    same.
    """

    status: str
    version: str
    database: str | None = None
    broker: str | None = None
    failing: list[str] = []


class Rate(Shape):
    """A rate with what it rests on. `estimate` None: not known (`of` is 0)."""

    estimate: Fraction | None
    low: Fraction
    high: Fraction
    count: int
    of: int
    # Audits that wait for another inspector; the interval holds whatever they turn out to be.
    unsettled: int = 0
    confidence: float = 0.95
    method: str


class ShadowView(Shape):
    """Parts that a champion and a challenger in shadow both judged at a station.

    `discordant`: one would have let the part pass, the other not. `errors`: the challenger failed. `challenger_right`
    and `challenger_wrong`: of the discordant ones that people have judged.
    """

    station: str
    champion: PackageId
    challenger: PackageId
    concordant: int
    discordant: int
    errors: int
    challenger_right: int
    challenger_wrong: int
    first_at: UtcTime
    last_at: UtcTime
    is_simulated: bool


class EvidenceView(Shape):
    """A stored picture; fetch it at `GET /evidence/{sha256}`."""

    kind: EvidenceKind
    sha256: Sha256
    media_type: str
    size_bytes: int


class InspectionView(Shape):
    """One stored inspection. `id` grows with commit order and is the paging cursor."""

    id: int
    station: str
    epoch: int
    sequence: int
    trigger_number: int | None = None
    part_id: str | None = None
    product: str | None = None
    captured_at: UtcTime
    # By how much `captured_at` is off, as its station found: positive when it is ahead. None: it can be trusted.
    clock_error_s: float | None = None
    committed_at: UtcTime
    verdict: Verdict
    cause: VerdictCause
    score: float | None = None
    ok_limit: float | None = None
    ng_limit: float | None = None
    defect_class: str | None = None
    package_id: PackageId | None = None
    variant: Variant | None = None
    provider: str | None = None
    disposition: Disposition
    signal: SignalState
    image_fault: ImageFault | None = None
    recipe_version: int | None = None
    latency: StageLatency | None = None
    image: ImageMeasures | None = None
    is_simulated: bool
    evidence: list[EvidenceView] = []


class InspectionPage(Shape):
    """`GET /inspections`.

    Query: station, product, verdict, package_id, since, until, before_id, after_id, limit. Newest
    first; with `after_id` oldest first (for followers). `next_id` None: nothing more for now.
    """

    items: list[InspectionView]
    next_id: int | None = None


class StationRecipes(Shape):
    """The recipes that a station was last sent. Part of `StationView`. What it uses stands in `status.recipe`."""

    number: int
    issued_at: UtcTime
    # Product → version.
    versions: dict[Name, int]
    # UNKNOWN PENDING IN_SYNC ERROR: as in `StationView`, of recipes alone.
    sync: str


class StationView(Shape):
    """`GET /stations`: what runs where, as last reported, beside what should run."""

    station: str
    # UNKNOWN REGISTERED PENDING IN_SYNC ERROR, as fleets are usually shown; the worse of packages and recipes.
    sync: str
    last_report_at: UtcTime | None = None
    # By central's clock: a report, a status, or that its link broke.
    heard_at: UtcTime | None = None
    status: StationReported | None = None
    package_status: PackageStatus | None = None
    assignment_number: int | None = None
    assigned: dict[Name, PackageId] = {}
    # None: it was sent none.
    recipes: StationRecipes | None = None
    inspections: int = 0
    gaps: int = 0
    is_simulated: bool = False


class LineRates(Shape):
    """One station (or `*` for all) × product over the asked period. Part of `GET /quality/rates`."""

    station: str
    product: str | None
    parts: int
    verdicts: dict[Verdict, int]
    causes: dict[VerdictCause, int]
    reject_rate: Rate
    review_rate: Rate
    no_decision_rate: Rate
    # From audits of accepted parts, weighted by inclusion probability; estimate None without audits.
    escape_share_of_accepted: Rate
    # The same, with the wrong answers taken in that confirmation leaves, as blind repeats of a month tell them. None:
    # no repeat was judged, or one answer counts.
    escape_share_allowing_for_errors: Rate | None = None
    # From audits of NG parts, and of REVIEW parts, that chance drew. Reviews, which the machine asked for, are in none.
    overkill_share_of_rejected: Rate
    good_share_of_review: Rate
    # No audit of a part captured before is in these three: the asked period began (PERIOD), the package was changed
    # (PACKAGE), or an alarm on escapes was raised or closed (ALARM). Of `*`: the earliest of its stations.
    audits_since: UtcTime | None = None
    audits_since_cut: PoolCut | None = None
    is_simulated: bool


class RatesView(Shape):
    """`GET /quality/rates?minutes=60&station=&product=`."""

    since: UtcTime
    until: UtcTime
    lines: list[LineRates]


class Bucket(Shape):
    """A minute of a station × product × package, from the rollups. `GET /quality/timeline`."""

    minute: UtcTime
    station: str
    product: str | None
    package_id: PackageId | None
    parts: int
    ok: int
    ng: int
    review: int
    no_decision: int
    mean_score: float | None = None
    mean_brightness: float | None = None
    p99_verdict_ms: float | None = None
    is_simulated: bool


class ChartPoint(Shape):
    """One plotted point. `rule` names the run rule that signalled here, if any."""

    at: UtcTime
    value: float
    of: int = 1
    rule: str | None = None


class ChartView(Shape):
    """`GET /quality/charts?station=` → list: a control chart as data."""

    name: str
    kind: str
    station: str
    product: str | None
    unit: str
    phase: str
    centre_line: float | None = None
    lower_limit: float | None = None
    upper_limit: float | None = None
    points: list[ChartPoint]
    is_simulated: bool = False


class AuditTask(Shape):
    """An audit waiting for a person. Blind: carries neither verdict nor score, nor what would tell the part again.

    `GET /audits/next?inspector=NAME` gives one (or 204); `GET /audits?state=OPEN` lists them. `audit_id` is a number by
    chance, another one each time the same part is shown; its picture is had by `GET /audits/{audit_id}/picture`.
    """

    audit_id: int
    product: str | None
    station: str
    has_picture: bool
    state: AuditState
    is_simulated: bool
    waiting: int = 0


class AuditPart(AuditTask):
    """An audit with the part it is about: for who tries a plant out and knows what each part is.

    `place`: in the order in which audits came into the queue.
    """

    place: int
    captured_at: UtcTime
    epoch: int
    sequence: int
    trigger_number: int | None = None
    part_id: str | None = None
    asked_because: str | None = None
    crop_sha256: Sha256 | None


class AuditOutcome(Message):
    """Body of `POST /audits/{audit_id}/outcome`. Judged once; a second outcome is a 409."""

    judgement: Judgement
    defect_class: DefectClass | None = None
    inspector: Name
    note: Remark = ""


class AuditRecorded(Shape):
    """Answer to an outcome: now the verdict may be shown, and why a training asked (null: it did not)."""

    audit_id: int
    verdict: Verdict
    score: float | None
    judgement: Judgement
    is_escape: bool
    waiting: int
    asked_because: str | None = None


class AuditSummary(Shape):
    """`GET /audits/summary`. `unsettled`: wait for another inspector. `asked`: of this shift's `asked_budget`."""

    awaiting_evidence: int
    open: int
    judged: int
    lost: int
    unsettled: int = 0
    asked_budget: int = 0
    asked: int = 0
    asked_waiting: dict[str, int] = Field(default_factory=dict)
    by_judgement: dict[Judgement, int]
    known_defect_classes: list[str]


class SuggestedCause(Shape):
    """What may be behind an alarm, with its evidence in sentences. score: how well it fits, 0 to 1, no probability."""

    cause: Cause
    station: str | None
    product: str | None
    score: float
    remedy: Remedy
    evidence: list[str]


class AlarmView(Shape):
    """`GET /alarms?state=`; `POST /alarms/{id}/acknowledge` and `/close` with `{"by": name}`."""

    id: int
    kind: AlarmKind
    state: AlarmState
    station: str | None
    product: str | None
    raised_at: UtcTime
    # Index of the part (inspection id) at which it was raised.
    raised_at_inspection_id: int | None = None
    message: str
    remedy: str
    evidence: dict[str, Any] = {}
    acknowledged_by: str | None = None
    closed_at: UtcTime | None = None
    # What was behind it, as a person found.
    cause: Cause | None = None
    cause_by: str | None = None
    cause_note: str = ""
    cause_at: UtcTime | None = None
    # What is likeliest behind it, best first; when that was worked out, and when it is taken to have begun.
    suggested_causes: list[SuggestedCause] = []
    suggested_at: UtcTime | None = None
    began_at: UtcTime | None = None
    # The oldest open alarm with the same likeliest cause at the same place.
    same_cause_as: int | None = None
    is_simulated: bool


class SayCause(Written):
    """Body of `POST /alarms/{id}/cause`: confirms or corrects."""

    cause: Cause
    by: Name
    note: Remark = ""


class By(Written):
    """Who does it, for acknowledgement and approval."""

    by: Name


class TokenCreated(Shape):
    """`POST /admin/tokens`: the secret is shown this once."""

    name: str
    role: Role
    token: str


class CreateToken(Written):
    """Body of `POST /admin/tokens`."""

    name: Name
    role: Role


class ServiceCounters(Shape):
    """`GET /admin/counters`: what ingest did since start and what the tables hold."""

    inspections: int
    duplicates_ignored: int
    quarantined: int
    receipts_sent: int
    batches: int
    evidence_files: int
    evidence_bytes: int
    since: UtcTime
