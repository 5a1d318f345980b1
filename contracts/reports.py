# SPDX-License-Identifier: Apache-2.0
"""What goes up from a station: inspections, status, package status, evidence offers.

Facts in the past tense. Pictures never travel here; evidence goes by HTTP, content-addressed.
"""

from typing import Annotated, Self

from pydantic import Field, model_validator

from contracts.base import Message, Shape, UtcTime
from contracts.ids import Epoch, InspectionId, Name, PackageId, PartId, Sequence, Sha256, StationAddress
from contracts.vocabulary import (
    Disposition,
    EvidenceKind,
    PackageState,
    RefusalReason,
    SignalState,
    StationState,
    Variant,
    Verdict,
    VerdictCause,
)

Milliseconds = Annotated[float, Field(ge=0)]
MAX_REPORTS_PER_MESSAGE = 500


class StageLatency(Shape):
    """Where the time of one inspection went, in ms of the station's monotonic clock.

    `verdict_ms` is capture → verdict and `reject_ms` capture → reject signal handed over.
    """

    prepare_ms: Milliseconds | None = None
    infer_ms: Milliseconds | None = None
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


class InspectionReported(Shape):
    """One inspection as its station judged it. Idempotent by `(station, epoch, sequence)`.

    `score` is the detector's raw output: larger is more anomalous, comparable only within a package.
    OK means score < ok_limit, NG score ≥ ng_limit, REVIEW in between.
    """

    sequence: Sequence
    trigger_number: int | None = Field(default=None, ge=0, le=2**53)
    part_id: PartId | None = None
    product: Name | None = None
    captured_at: UtcTime
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
    latency: StageLatency | None = None
    image: ImageMeasures | None = None
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

    count: int = Field(ge=0)
    p50_ms: Milliseconds
    p99_ms: Milliseconds
    max_ms: Milliseconds


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
    parts_total: int = 0
    verdict_counts: dict[Verdict, int] = {}
    cause_counts: dict[VerdictCause, int] = {}
    parts_per_minute: float | None = None
    verdict_latency: LatencySummary | None = None
    reject_latency: LatencySummary | None = None
    outbox_rows: int = 0
    evidence_pending: int = 0
    evidence_dropped: int = 0
    faults: list[StationFault] = []
    is_simulated: bool = False


class PackageProgress(Shape):
    """How far one assigned package has come at a station, and why not further."""

    product: Name
    package_id: PackageId
    state: PackageState
    reason: RefusalReason | None = None
    detail: str = Field(default="", max_length=1000)
    variant: Variant | None = None
    provider: str | None = None
    self_test_worst_error: float | None = None
    infer_p50_ms: Milliseconds | None = None
    at: UtcTime


class PackageStatus(Message):
    """Retained report on the current assignment, number by number."""

    station: StationAddress
    assignment_number: int = Field(ge=0)
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
