# SPDX-License-Identifier: Apache-2.0
"""Rows to the shapes of the API. Pure; adds nothing that is not stored, except intervals and the fleet word."""

from datetime import datetime

from central.api.recipe_views import recipe_sync_word, worse
from central.api.schemas import (
    AuditPart,
    AuditTask,
    Bucket,
    EvidenceView,
    InspectionView,
    Rate,
    StationRecipes,
    StationView,
)
from central.quality.rates import Interval, binomial_interval
from central.store.repositories.audits import AuditEntry
from central.store.repositories.inspections import InspectionEntry
from central.store.repositories.quality import MinuteEntry
from central.store.repositories.recipes import Sent
from central.store.repositories.station_words import package_status_in, status_in
from central.store.tables import Station
from contracts.reports import ImageMeasures, PackageStatus, StageLatency
from contracts.vocabulary import ImageFault, PackageState, Variant

CONFIDENCE = 0.95


def inspection_view(entry: InspectionEntry) -> InspectionView:
    """An inspection with its pictures."""
    row = entry.inspection
    latency = None
    if row.verdict_ms is not None:
        latency = StageLatency(
            capture_ms=row.capture_ms,
            prepare_ms=row.prepare_ms,
            infer_ms=row.infer_ms,
            decide_ms=row.decide_ms,
            actuate_ms=row.actuate_ms,
            verdict_ms=row.verdict_ms,
            reject_ms=row.reject_ms,
        )
    image = None
    if None not in (row.brightness, row.contrast, row.blur, row.colour):
        image = ImageMeasures.model_validate(
            {"brightness": row.brightness, "contrast": row.contrast, "blur": row.blur, "colour": row.colour}
        )
    return InspectionView(
        id=row.id or 0,
        station=entry.station,
        epoch=row.epoch,
        sequence=row.sequence,
        trigger_number=row.trigger_number,
        part_id=row.part_id,
        product=row.product,
        captured_at=row.captured_at,
        clock_error_s=row.clock_error_s,
        committed_at=row.committed_at,
        verdict=row.verdict,
        cause=row.cause,
        score=row.score,
        ok_limit=row.ok_limit,
        ng_limit=row.ng_limit,
        defect_class=row.defect_class,
        package_id=row.package_id,
        variant=None if row.variant is None else Variant(row.variant),
        provider=row.provider,
        disposition=row.disposition,
        signal=row.signal,
        image_fault=None if row.image_fault is None else ImageFault(row.image_fault),
        recipe_version=row.recipe_version,
        latency=latency,
        image=image,
        is_simulated=row.is_simulated,
        evidence=[
            EvidenceView(kind=item.kind, sha256=item.sha256, media_type=item.media_type, size_bytes=item.size_bytes)
            for item in entry.evidence
        ],
    )


def station_view(row: Station, inspections: int, missing: int, sent: Sent | None, now: datetime) -> StationView:
    """A station as last heard of, beside what should run there."""
    status = status_in(row.status)
    package_status = package_status_in(row.package_status)
    recipes_word = recipe_sync_word(sent, status, now)
    return StationView(
        station=row.address,
        sync=worse(sync_word(row.assignment_number, row.assigned, package_status), recipes_word),
        last_report_at=row.last_report_at,
        heard_at=row.heard_at,
        status=status,
        package_status=package_status,
        assignment_number=row.assignment_number,
        assigned=row.assigned,
        recipes=None
        if sent is None
        else StationRecipes(
            number=sent.number, issued_at=sent.issued_at, versions=dict(sent.versions), sync=recipes_word
        ),
        inspections=inspections,
        gaps=max(0, missing),
        is_simulated=row.is_simulated,
    )


def sync_word(number: int | None, assigned: dict[str, str], reported: PackageStatus | None) -> str:
    """Desired against reported, in the words fleets are usually shown with.

    REGISTERED: known, nothing assigned. UNKNOWN: assigned, never heard of packages. ERROR: refused, fell back, or
    names an assignment that nobody gave it.
    PENDING: on its way. IN_SYNC: every assigned package judges.
    """
    if number is None:
        return "REGISTERED"
    if reported is None:
        return "UNKNOWN"
    if reported.assignment_number > number:
        # It names an assignment that nobody gave it.
        return "ERROR"
    errors = (PackageState.REFUSED, PackageState.FELL_BACK)
    if reported.refused is not None or any(item.state in errors for item in reported.packages):
        return "ERROR"
    active = {item.product: item.package_id for item in reported.packages if item.state is PackageState.ACTIVE}
    is_there = reported.assignment_number >= number and all(
        active.get(name) == wanted for name, wanted in assigned.items()
    )
    return "IN_SYNC" if is_there else "PENDING"


def bucket_view(entry: MinuteEntry) -> Bucket:
    """A minute."""
    row = entry.rollup
    return Bucket(
        minute=row.minute,
        station=entry.station,
        product=row.product or None,
        package_id=row.package_id or None,
        parts=row.parts,
        ok=row.ok,
        ng=row.ng,
        review=row.review,
        no_decision=row.no_decision,
        mean_score=row.score_sum / row.score_count if row.score_count else None,
        mean_brightness=row.brightness_sum / row.brightness_count if row.brightness_count else None,
        p99_verdict_ms=entry.p99_verdict_ms,
        is_simulated=row.is_simulated,
    )


def audit_task(entry: AuditEntry, waiting: int = 0) -> AuditTask:
    """An audit as its inspector may see it: nothing that the machine said, nor what names the part."""
    row = entry.audit
    return AuditTask(
        audit_id=row.number,
        product=row.product,
        station=entry.station,
        has_picture=row.crop_sha256 is not None,
        state=row.state,
        is_simulated=row.is_simulated,
        waiting=waiting,
    )


def audit_part(entry: AuditEntry) -> AuditPart:
    """An audit and its part."""
    row, inspection = entry.audit, entry.inspection
    return AuditPart(
        **audit_task(entry).model_dump(),
        place=row.id or 0,
        captured_at=inspection.captured_at,
        epoch=inspection.epoch,
        sequence=inspection.sequence,
        trigger_number=inspection.trigger_number,
        part_id=inspection.part_id,
        asked_because=row.asked_because,
        crop_sha256=row.crop_sha256,
    )


def plain_rate(count: int, of: int) -> Rate:
    """A share of parts with its exact interval."""
    return rate_view(binomial_interval(count, of, CONFIDENCE), count, of)


def rate_view(interval: Interval, count: int, of: int, unsettled: int = 0) -> Rate:
    """An interval with what it rests on."""
    return Rate(
        estimate=interval.estimate,
        low=interval.low,
        high=interval.high,
        count=count,
        of=of,
        unsettled=unsettled,
        confidence=CONFIDENCE,
        method=interval.method,
    )
