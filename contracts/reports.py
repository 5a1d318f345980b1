# SPDX-License-Identifier: Apache-2.0
"""What goes up from a station: inspections, status, package status, evidence offers.

Facts in the past tense. Pictures never travel here; evidence goes by HTTP, content-addressed.
"""

from typing import Annotated, Final, Self

from pydantic import Field, model_validator

from contracts.base import Count, Message, Ordinal, Shape, UtcTime
from contracts.ids import Epoch, InspectionId, Name, PackageId, PartId, Sequence, Sha256, StationAddress
from contracts.recipes import ActiveRecipe
from contracts.vocabulary import (
    Disposition,
    EvidenceKind,
    ImageFault,
    PackageState,
    RefusalReason,
    SignalState,
    Stage,
    StationState,
    Variant,
    Verdict,
    VerdictCause,
)

Milliseconds = Annotated[float, Field(ge=0)]
MAX_REPORTS_PER_MESSAGE = 500
MAX_EMBEDDING: Final = 32
# What half precision holds.
_MOST_EMBEDDED: Final = 60_000.0


class StageLatency(Shape):
    """Where the time of one inspection went, in ms of the station's monotonic clock.

    The five stages follow each other (see `Stage`); one that the part did not reach is None. `verdict_ms` is capture →
    verdict and `reject_ms` capture → reject signal handed over.
    """

    capture_ms: Milliseconds | None = None
    prepare_ms: Milliseconds | None = None
    infer_ms: Milliseconds | None = None
    decide_ms: Milliseconds | None = None
    actuate_ms: Milliseconds | None = None
    verdict_ms: Milliseconds
    reject_ms: Milliseconds | None = None


class ImageMeasures(Shape):
    """Plain measures of the model's field of view, for drift charts. All on 8-bit values.

    brightness: mean grey (0–255); contrast: standard deviation of grey; blur: variance of the Laplacian
    (larger is sharper); colour: mean red minus mean blue (−255–255).
    """

    brightness: float
    contrast: float
    blur: float
    colour: float


# How a package sees a part as a whole, in units of how sound parts of its training differ; each package in its own way.
EmbeddedValue = Annotated[float, Field(ge=-_MOST_EMBEDDED, le=_MOST_EMBEDDED, allow_inf_nan=False)]


class ChallengerVerdict(Shape):
    """What a challenger in shadow said of an earlier part of the same station and epoch. It decided nothing.

    It rides on a later report, because the report of its own part waits for nobody. `sequence`: of that part's report.
    NO_DECISION: it failed, and `score` is None. `infer_ms`: its time in the graph. `champion_infer_ms`: that of the
    champion, run once more on the same picture in shadow, so under the same conditions, in an order that chance chose;
    None: this part was not timed so. The two times are comparable; `infer_ms` of the part itself is not.
    """

    sequence: Sequence
    package_id: PackageId
    verdict: Verdict
    score: float | None = None
    infer_ms: Milliseconds | None = None
    champion_infer_ms: Milliseconds | None = None


def is_discordant(champion: Verdict, challenger: Verdict) -> bool:
    """Whether one of them would have let the part pass and the other not, so that a judgement shows who is right.

    NG against REVIEW is none: either diverts the part. NO_DECISION is an error of its package, not an opinion.
    """
    if Verdict.NO_DECISION in (champion, challenger):
        return False
    return (champion is Verdict.OK) is not (challenger is Verdict.OK)


class InspectionReported(Shape):
    """One inspection as its station judged it. Idempotent by `(station, epoch, sequence)`.

    `score` is the detector's raw output: larger is more anomalous, comparable only within a package.
    OK means score < ok_limit, NG score ≥ ng_limit, REVIEW in between. `recipe_version` 0 is a recipe of the station's
    own settings, or none. `embedding`: how the package sees the part as a whole, comparable only within a package; None
    where it is longer than reports carry (packages made before they were this short), or where nothing was judged.
    """

    sequence: Sequence
    trigger_number: int | None = Field(default=None, ge=0, le=2**53)
    part_id: PartId | None = None
    product: Name | None = None
    captured_at: UtcTime
    # By how much `captured_at` is off against the station's steady clock, in s: positive when it is ahead. None: it
    # agrees within the station's tolerance (2 s), or the station does not tell.
    clock_error_s: float | None = Field(default=None, allow_inf_nan=False)
    verdict: Verdict
    cause: VerdictCause
    score: float | None = None
    ok_limit: float | None = None
    ng_limit: float | None = None
    defect_class: str | None = Field(default=None, max_length=64)
    package_id: PackageId | None = None
    variant: Variant | None = None
    provider: str | None = Field(default=None, max_length=64)
    disposition: Disposition
    signal: SignalState
    image_fault: ImageFault | None = None
    recipe_version: int | None = Field(default=None, ge=0, le=2**31 - 1)
    latency: StageLatency | None = None
    image: ImageMeasures | None = None
    embedding: list[EmbeddedValue] | None = Field(default=None, min_length=1, max_length=MAX_EMBEDDING)
    challenger: ChallengerVerdict | None = None
    is_simulated: bool

    @model_validator(mode="after")
    def _verdict_fits_cause(self) -> Self:
        if (self.verdict is Verdict.NO_DECISION) == (self.cause is VerdictCause.SCORE):
            msg = f"verdict {self.verdict} does not go with cause {self.cause}"
            raise ValueError(msg)
        if self.verdict is not Verdict.NO_DECISION and (self.score is None or self.package_id is None):
            msg = f"verdict {self.verdict} needs a score and the package that gave it"
            raise ValueError(msg)
        return self


class InspectionsReported(Message):
    """Reports of one station and epoch: one while live, up to 500 while draining a backlog."""

    station: StationAddress
    epoch: Epoch
    reports: list[InspectionReported] = Field(min_length=1, max_length=MAX_REPORTS_PER_MESSAGE)


class LatencySummary(Shape):
    """Percentiles over the heartbeat's window, in ms."""

    count: Count
    p50_ms: Milliseconds
    p99_ms: Milliseconds
    max_ms: Milliseconds


class StageSummary(LatencySummary):
    """One stage over the heartbeat's window. `over_budget`: parts of the window that took longer than recipes allow.

    `late`: late parts of the window that owe it to this stage first, the one furthest beyond its budget or, where no
    budget is broken, the longest.
    """

    stage: Stage
    over_budget: Count = 0
    late: Count = 0


class ActivePackage(Shape):
    """A package that judges parts of a product at a station right now."""

    product: Name
    package_id: PackageId
    variant: Variant
    provider: str


class StationFault(Shape):
    """Something a person must look at. `remedy` says what to do."""

    code: Name
    message: str = Field(max_length=500)
    remedy: str = Field(default="", max_length=500)
    since: UtcTime
    # Whose picture shows it.
    inspection: InspectionId | None = None


class TriggerCounts(Shape):
    """What became of a station's triggers and frames since its start, where triggers come beside the frames.

    `received`: parts announced. `repeated`: bounces and repetitions, no parts. `dropped`: parts announced faster than
    they were taken. `without_frame`: parts of which no picture came. `frames_without_trigger`: pictures of no part.
    """

    received: Count = 0
    repeated: Count = 0
    dropped: Count = 0
    without_frame: Count = 0
    frames_without_trigger: Count = 0


class StationReported(Message):
    """Retained status of a station: heartbeat, and as last will with `is_connected` false."""

    station: StationAddress
    at: UtcTime
    is_connected: bool
    state: StationState
    epoch: Epoch | None = None
    started_at: UtcTime | None = None
    agent_version: str | None = None
    active: list[ActivePackage] = []
    recipe: ActiveRecipe | None = None
    parts_total: Count = 0
    verdict_counts: dict[Verdict, Count] = {}
    cause_counts: dict[VerdictCause, Count] = {}
    parts_per_minute: float | None = None
    verdict_latency: LatencySummary | None = None
    reject_latency: LatencySummary | None = None
    stages: list[StageSummary] = Field(default=[], max_length=len(Stage))
    outbox_rows: Count = 0
    evidence_pending: Count = 0
    evidence_dropped: Count = 0
    triggers: TriggerCounts | None = None
    faults: list[StationFault] = []
    is_simulated: bool = False


class WayMeasured(Shape):
    """One way of running a package at a station: variant, provider and threads, with what was found.

    `infer_p50_ms` None: it cannot run so, `note` says why.
    """

    variant: Variant
    provider: str = Field(max_length=64)
    threads: int = Field(ge=1, le=256)
    infer_p50_ms: Milliseconds | None = None
    note: str = Field(default="", max_length=300)


class BatchMeasured(Shape):
    """So many pictures at the same moment at a station whose process serves several cameras.

    `batched_ms`: in one run of the graph; `singly_ms`: each in a run of its own, all at once. Both until the last is
    judged; None: it cannot be done so, `note` says why.
    """

    batch: int = Field(ge=2, le=64)
    batched_ms: Milliseconds | None = None
    singly_ms: Milliseconds | None = None
    note: str = Field(default="", max_length=300)


class ShadowCounts(Shape):
    """What a challenger did at a station under the present assignment.

    `judged`: parts of which both packages gave a verdict; `discordant` of them as `is_discordant` says. `skipped`:
    parts of the champion that it was not asked about, so as not to disturb. `errors`: parts on which it failed. The p99
    are of the time in the graph over the last parts that both judged. `wanted`: parts after which it becomes active by
    itself.
    """

    judged: Count = 0
    discordant: Count = 0
    skipped: Count = 0
    errors: Count = 0
    champion_p99_ms: Milliseconds | None = None
    challenger_p99_ms: Milliseconds | None = None
    wanted: Ordinal | None = None


class PackageProgress(Shape):
    """How far one assigned package has come at a station, and why not further.

    `batch`: frames of several cameras that are judged together at most; 1: each alone; None: one camera, or not known.
    `infer_p99_ms` was measured here on golden images before it judged; `deadline_ms` is what it was held against.
    `judging`: the package that judges instead, after FELL_BACK.
    While it is DOWNLOADING: `bytes_done` of `bytes_total` are at the station, `bytes_reused` of them were there before.
    `waits_until`: when the maintenance window opens that the download waits for.
    """

    product: Name
    package_id: PackageId
    state: PackageState
    reason: RefusalReason | None = None
    detail: str = Field(default="", max_length=1000)
    variant: Variant | None = None
    provider: str | None = None
    self_test_worst_error: float | None = None
    self_test_tolerance: float | None = None
    infer_p50_ms: Milliseconds | None = None
    infer_p99_ms: Milliseconds | None = None
    deadline_ms: Milliseconds | None = None
    shadow: ShadowCounts | None = None
    judging: PackageId | None = None
    threads: int | None = Field(default=None, ge=1, le=256)
    measured: list[WayMeasured] = Field(default=[], max_length=64)
    batch: int | None = Field(default=None, ge=1, le=64)
    batches: list[BatchMeasured] = Field(default=[], max_length=16)
    bytes_done: Count | None = None
    bytes_total: Count | None = None
    bytes_reused: Count | None = None
    waits_until: UtcTime | None = None
    at: UtcTime


class PackageStatus(Message):
    """Retained report on the current assignment, number by number."""

    station: StationAddress
    assignment_number: Count
    at: UtcTime
    # Set when the very assignment of that number was refused (expired, no room …); strangers and repeats set nothing.
    refused: RefusalReason | None = None
    detail: str = Field(default="", max_length=1000)
    packages: list[PackageProgress] = []


class EvidenceOffered(Message):
    """A picture of an inspection that the station can upload (HTTP body, before the bytes)."""

    inspection: InspectionId
    kind: EvidenceKind
    sha256: Sha256
    size_bytes: int = Field(ge=1, le=64 * 1024 * 1024)
    media_type: str = Field(pattern=r"^image/(png|jpeg)$")
    is_simulated: bool
