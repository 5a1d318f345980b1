# SPDX-License-Identifier: Apache-2.0
"""A small plant as central would tell it: two stations, an alarm, a training, a rollout, audits.

Every body is built with central's own API models, so that the dashboard is tested against the shapes that
central really answers with. Used by `stub_central`.
"""

from __future__ import annotations

import hashlib
import io
import math
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import numpy as np
from PIL import Image

from central.api import schemas
from central.domain.audit import PoolCut
from central.store.recipe_tables import RecipeVersion
from contracts.ids import StationAddress
from contracts.recipes import ActiveRecipe
from contracts.reports import (
    ActivePackage,
    LatencySummary,
    PackageProgress,
    PackageStatus,
    StageLatency,
    StationReported,
    WayMeasured,
)
from contracts.vocabulary import (
    AlarmKind,
    AlarmState,
    AuditState,
    Disposition,
    EvidenceKind,
    Judgement,
    PackageState,
    RolloutState,
    SignalState,
    StationState,
    Variant,
    Verdict,
    VerdictCause,
)
from tests.dashboard.learning_story import NEW, OLD, PRODUCT, STATIONS, LearningStory, wilson
from tests.dashboard.recipe_story import RecipeStory


def png(array: np.ndarray[Any, Any]) -> bytes:
    out = io.BytesIO()
    Image.fromarray(array).save(out, format="PNG")
    return out.getvalue()


@cache
def ring_picture(seed: int, *, with_scratch: bool) -> tuple[bytes, bytes]:
    """A grey ring, and a heatmap that is hot at the scratch."""
    noise = np.random.default_rng(seed)
    y, x = np.mgrid[0:192, 0:192].astype(np.float32)
    radius = np.hypot(x - 96, y - 96)
    body = np.where((radius > 42) & (radius < 82), 165.0, 38.0) + noise.normal(0, 5, (192, 192))
    heat = np.exp(-((x - 140) ** 2 + (y - 70) ** 2) / 300) * (1.0 if with_scratch else 0.2)
    if with_scratch:
        body[np.abs((x - 140) + 0.6 * (y - 70)) < 2.2] -= (
            80 * ((radius > 42) & (radius < 82))[np.abs((x - 140) + 0.6 * (y - 70)) < 2.2]
        )
    grey = np.clip(body, 0, 255).astype(np.uint8)
    return png(np.stack([grey] * 3, axis=-1)), png((heat * 255).astype(np.uint8)[::4, ::4])


MEASURED = (
    WayMeasured(variant=Variant.INT8_U8S8, provider="CPUExecutionProvider", threads=1, infer_p50_ms=16.1),
    WayMeasured(variant=Variant.INT8_U8S8, provider="CPUExecutionProvider", threads=2, infer_p50_ms=9.8),
    WayMeasured(variant=Variant.FP16, provider="CUDAExecutionProvider", threads=1, note="fell back to <the CPU>"),
)


@dataclass
class Story(LearningStory, RecipeStory):
    """The whole state of the stub. Tests change it as they like."""

    now: datetime = field(default_factory=lambda: datetime(2026, 3, 2, 9, 40, tzinfo=UTC))
    is_simulated: bool = True
    has_stations: bool = True
    # Stations that were heard of, without ever a report, and are not there now.
    are_stations_away: bool = False
    has_audits_judged: bool = True
    audits_since_cut: PoolCut = PoolCut.PERIOD
    blobs: dict[str, bytes] = field(default_factory=dict)
    audits: dict[int, Verdict] = field(default_factory=dict)
    # What a person said when sampling was resumed.
    resumed: str = ""
    judged: list[tuple[int, schemas.AuditOutcome]] = field(default_factory=list)
    alarm_state: AlarmState = AlarmState.RAISED
    alarm_cause: schemas.SayCause | None = None
    suggested: list[schemas.SuggestedCause] = field(default_factory=list)
    same_cause_as: int | None = None
    training_held: str = ""
    rollout_state: RolloutState = RolloutState.RUNNING
    rollout_progress: str = "ASSIGNED"  # of the station in its running wave
    actions: list[str] = field(default_factory=list)
    # Of every part; None: its time can be trusted.
    clock_error_s: float | None = None
    recipe_rows: list[RecipeVersion] = field(default_factory=list)
    pins: dict[tuple[str, str], int] = field(default_factory=dict)
    refusals: dict[tuple[str, str], tuple[int, str]] = field(default_factory=dict)
    is_led: bool = False
    overruled_because: str | None = None

    def __post_init__(self) -> None:
        self.recipe_rows = self.recipe_rows or self.first_recipes()

    def blob(self, content: bytes) -> str:
        digest = hashlib.sha256(content).hexdigest()
        self.blobs[digest] = content
        return digest

    def stations(self) -> list[schemas.StationView]:
        if not self.has_stations:
            return []
        return [self._station(index, name) for index, name in enumerate(STATIONS)]

    def _station(self, index: int, name: str) -> schemas.StationView:
        address = StationAddress.parse(name)
        package = NEW if index == 0 else OLD
        return schemas.StationView(
            station=name,
            sync="IN_SYNC" if index == 0 else "PENDING",
            last_report_at=None if self.are_stations_away else self.now,
            heard_at=self.now,
            assignment_number=4 - index,
            assigned={PRODUCT: NEW},
            inspections=2400,
            is_simulated=self.is_simulated,
            status=StationReported(
                station=address,
                at=self.now,
                is_connected=not self.are_stations_away,
                state=StationState.INSPECTING,
                active=[
                    ActivePackage(
                        product=PRODUCT, package_id=package, variant=Variant.INT8_U8S8, provider="CPUExecutionProvider"
                    )
                ],
                recipe=ActiveRecipe(product=PRODUCT, version=2 - index, number=2 - index),
                parts_total=2400,
                parts_per_minute=212.4 + index,
                verdict_latency=LatencySummary(count=200, p50_ms=14.2, p99_ms=31.0, max_ms=44.0),
                reject_latency=LatencySummary(count=200, p50_ms=14.6, p99_ms=31.9, max_ms=46.0),
                is_simulated=self.is_simulated,
            ),
            package_status=PackageStatus(
                station=address,
                assignment_number=4 - index,
                at=self.now,
                packages=[
                    PackageProgress(
                        product=PRODUCT,
                        package_id=NEW,
                        state=PackageState.ACTIVE if index == 0 else PackageState.DOWNLOADING,
                        variant=Variant.INT8_U8S8,
                        self_test_worst_error=0.0021 if index == 0 else None,
                        infer_p50_ms=9.8 if index == 0 else None,
                        provider="CPUExecutionProvider" if index == 0 else None,
                        threads=2 if index == 0 else None,
                        measured=list(MEASURED) if index == 0 else [],
                        at=self.now,
                    )
                ],
            ),
        )

    def inspections(self, station: str | None, verdict: str | None, limit: int) -> schemas.InspectionPage:
        if not self.has_stations:
            return schemas.InspectionPage(items=[])
        items: list[schemas.InspectionView] = []
        for offset in range(600):
            items.append(self._inspection(offset))
            if station not in {None, items[-1].station} or verdict not in {None, items[-1].verdict}:
                items.pop()
            if len(items) >= limit:
                break
        return schemas.InspectionPage(items=items)

    def _inspection(self, offset: int) -> schemas.InspectionView:
        number = 4000 - offset
        draw = random.Random(number)
        score = abs(draw.gauss(0.34, 0.11))
        verdict, cause = Verdict.OK, VerdictCause.SCORE
        if draw.random() < 0.06:
            score, verdict = draw.uniform(1.0, 1.5), Verdict.NG
        elif draw.random() < 0.03:
            score, verdict = draw.uniform(0.82, 0.99), Verdict.REVIEW
        elif draw.random() < 0.008:
            verdict, cause = Verdict.NO_DECISION, VerdictCause.MISSED_FRAME
        evidence: list[schemas.EvidenceView] = []
        if verdict is Verdict.NG:
            crop, heat = ring_picture(number, with_scratch=True)
            for kind, content in ((EvidenceKind.CROP, crop), (EvidenceKind.HEATMAP, heat)):
                evidence.append(
                    schemas.EvidenceView(
                        kind=kind, sha256=self.blob(content), media_type="image/png", size_bytes=len(content)
                    )
                )
        missed = verdict is Verdict.NO_DECISION
        at = self.now - timedelta(seconds=0.14 * offset)
        disposition = {Verdict.OK: Disposition.PASSED, Verdict.NG: Disposition.REJECTED}.get(verdict, Disposition.HELD)
        return schemas.InspectionView(
            id=number,
            station=STATIONS[number % 2],
            epoch=1_770_000_000_000,
            sequence=number // 2 + 1,
            trigger_number=number // 2,
            part_id=f"p-{number}",
            product=PRODUCT,
            captured_at=at,
            clock_error_s=self.clock_error_s,
            committed_at=at,
            verdict=verdict,
            cause=cause,
            score=None if missed else score,
            ok_limit=None if missed else 0.8,
            ng_limit=None if missed else 1.0,
            defect_class="scratch" if verdict is Verdict.NG else None,
            package_id=None if missed else NEW,
            variant=None if missed else Variant.INT8_U8S8,
            recipe_version=2,
            disposition=disposition,
            signal=SignalState.MISSED if missed else SignalState.SENT,
            latency=None if missed else StageLatency(verdict_ms=14.0, reject_ms=14.4),
            is_simulated=self.is_simulated,
            evidence=evidence,
        )

    def rates(self, minutes: int) -> schemas.RatesView:
        rows = [self._rates(name) for name in ("*", *STATIONS)] if self.has_stations else []
        return schemas.RatesView(since=self.now - timedelta(minutes=minutes), until=self.now, lines=rows)

    def _rates(self, station: str) -> schemas.LineRates:
        parts = 4800 if station == "*" else 2400
        ng, review, none = parts * 6 // 100, parts * 3 // 100, parts // 160
        unknown = schemas.Rate(estimate=None, low=0, high=1, count=0, of=0, method="no audits")
        escape = schemas.Rate(estimate=0.0121, low=0.0043, high=0.0281, count=4, of=331, method="weighted by inclusion")
        return schemas.LineRates(
            station=station,
            product=PRODUCT,
            parts=parts,
            verdicts={
                Verdict.OK: parts - ng - review - none,
                Verdict.NG: ng,
                Verdict.REVIEW: review,
                Verdict.NO_DECISION: none,
            },
            causes={VerdictCause.SCORE: parts - none, VerdictCause.MISSED_FRAME: none},
            reject_rate=wilson(ng, parts),
            review_rate=wilson(review, parts),
            no_decision_rate=wilson(none, parts),
            escape_share_of_accepted=escape if self.has_audits_judged else unknown,
            overkill_share_of_rejected=unknown,
            good_share_of_review=unknown,
            audits_since=self.now - timedelta(minutes=7),
            audits_since_cut=self.audits_since_cut,
            is_simulated=self.is_simulated,
        )

    def timeline(self, minutes: int, station: str | None) -> list[schemas.Bucket]:
        rows: list[schemas.Bucket] = []
        for back in range(min(minutes, 40) if self.has_stations else 0):
            for name in STATIONS:
                draw = random.Random(f"{back}-{name}")
                ng = draw.randint(4, 16) + (8 if 8 < back < 18 else 0)
                rows.append(
                    schemas.Bucket(
                        minute=self.now.replace(second=0) - timedelta(minutes=back),
                        station=name,
                        product=PRODUCT,
                        package_id=NEW if back < 5 and name == STATIONS[0] else OLD,
                        parts=210,
                        ok=210 - ng - 7,
                        ng=ng,
                        review=6,
                        no_decision=1,
                        mean_score=0.35,
                        mean_brightness=118.0,
                        p99_verdict_ms=30.0,
                        is_simulated=self.is_simulated,
                    )
                )
        return [row for row in rows if station in {None, row.station}]

    def charts(self, station: str | None) -> list[schemas.ChartView]:
        if not self.has_stations:
            return []
        points = [
            schemas.ChartPoint(
                at=self.now - timedelta(minutes=40 - i),
                value=0.05 + 0.012 * math.sin(i) + (0.05 if i == 31 else 0),
                of=210,
                rule="beyond the action limit" if i == 31 else None,
            )
            for i in range(40)
        ]
        return [
            schemas.ChartView(
                name="Reject rate",
                kind="p",
                station=name,
                product=PRODUCT,
                unit="share of parts",
                phase="PHASE_2",
                centre_line=0.05,
                lower_limit=0.01,
                upper_limit=0.09,
                points=points,
                is_simulated=self.is_simulated,
            )
            for name in STATIONS
            if station in {None, name}
        ]

    def open_audits(self) -> list[schemas.AuditTask]:
        return [self._audit(number) for number in sorted(self.audits)]

    def _audit(self, number: int) -> schemas.AuditTask:
        return schemas.AuditTask(
            audit_id=number,
            product=PRODUCT,
            station=STATIONS[number % 2],
            has_picture=True,
            state=AuditState.OPEN,
            is_simulated=self.is_simulated,
            waiting=len(self.audits),
        )

    def audit_picture(self, number: int) -> bytes:
        crop, _ = ring_picture(number, with_scratch=number % 2 == 1)
        return crop

    def audit_summary(self) -> schemas.AuditSummary:
        counts = dict.fromkeys(Judgement, 0)
        for _, outcome in self.judged:
            counts[outcome.judgement] += 1
        counts[Judgement.GOOD] += 310
        counts[Judgement.DEFECTIVE] += 21
        return schemas.AuditSummary(
            awaiting_evidence=3,
            open=len(self.audits),
            judged=331 + len(self.judged),
            lost=2,
            by_judgement=counts,
            known_defect_classes=["crack", "missing_hole", "scratch"],
        )

    def judge(self, number: int, outcome: schemas.AuditOutcome) -> schemas.AuditRecorded:
        verdict = self.audits.pop(number)
        self.judged.append((number, outcome))
        return schemas.AuditRecorded(
            audit_id=number,
            verdict=verdict,
            score=0.4,
            judgement=outcome.judgement,
            is_escape=verdict is Verdict.OK and outcome.judgement is Judgement.DEFECTIVE,
            waiting=len(self.audits),
        )

    def alarms(self) -> list[schemas.AlarmView]:
        if not self.has_stations:
            return []
        return [
            schemas.AlarmView(
                id=7,
                kind=AlarmKind.ESCAPES,
                state=self.alarm_state,
                station=None,
                product=PRODUCT,
                raised_at=self.now - timedelta(minutes=17),
                message="4 of the last 60 audited accepted parts were judged defective; tolerated is 1 in 200.",
                remedy="Judge the waiting audits; a training starts by itself once 20 defective parts are known.",
                evidence={
                    "cusum": 6.21,
                    "limit": 5.0,
                    "tolerated_share": 0.005,
                    **({"training_held": self.training_held} if self.training_held else {}),
                },
                cause=self.alarm_cause.cause if self.alarm_cause else None,
                cause_by=self.alarm_cause.by if self.alarm_cause else None,
                cause_note=self.alarm_cause.note if self.alarm_cause else "",
                suggested_causes=self.suggested,
                same_cause_as=self.same_cause_as,
                is_simulated=self.is_simulated,
            )
        ]
