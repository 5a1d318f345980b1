# SPDX-License-Identifier: Apache-2.0
"""The learning half of the plant's story: trainings, packages, promotion, a rollout.

Mixed into `Story`; holds no state of its own.
"""

from __future__ import annotations

import hashlib
import math
from datetime import timedelta
from typing import Any

from central.api import freeze_schemas, learning_schemas, rollout_schemas, schemas
from central.domain.rollout_limits import LimitTerms, WaveLimits
from central.quality.gates import DiscordanceGate, LatencyGate, MarginGate
from contracts import manifest as m
from contracts.jobs import EvaluationReport, VariantMeasured
from contracts.vocabulary import (
    DetectorKind,
    PromotionOutcome,
    RiskClass,
    RolloutState,
    TrainingState,
    TrainingTrigger,
    Variant,
    Verdict,
    WaveState,
)
from tests.dashboard.training_story import PRODUCT, TrainingStory

__all__ = ["NEW", "OLD", "PRODUCT", "STATIONS", "LearningStory"]

STATIONS = ("demo/line-1/st-1", "demo/line-1/st-2")
OLD = hashlib.sha256(b"old package").hexdigest()
TRIAL = hashlib.sha256(b"package of a trial").hexdigest()
NEW = hashlib.sha256(b"new package").hexdigest()


class LearningStory(TrainingStory):
    """What central tells of learning. The fields are those of `Story`."""

    rollout_state: RolloutState
    rollout_progress: str
    # Of the station that is done.
    way_back: rollout_schemas.WayBack | None = None

    def trainings(self) -> list[learning_schemas.TrainingView]:
        if not self.has_stations:
            return []
        return [
            learning_schemas.TrainingView(
                training_id="t-2",
                product=PRODUCT,
                detector=DetectorKind.MIXED,
                reason="alarm 7: escapes above what is tolerated",
                trigger=TrainingTrigger.ALARM,
                state=TrainingState.FINISHED,
                stage="done",
                fraction=1,
                created_at=self.now - timedelta(minutes=12),
                started_at=self.now - timedelta(minutes=12),
                finished_at=self.now - timedelta(minutes=11),
                good=420,
                defective=41,
                audit_labels=61,
                package_id=NEW,
                evaluation=self._evaluation(),
                backend="ray",
                starts=2,
                losses=1,
                site="demo",
                preemptions=1,
                spent=self.spent(),
                is_simulated=self.is_simulated,
            )
        ]

    def _evaluation(self) -> EvaluationReport:
        return EvaluationReport(
            training_id="t-2",
            product=PRODUCT,
            detector=DetectorKind.MIXED,
            package_id=NEW,
            candidate_variant=Variant.INT8_U8S8,
            champion_package_id=OLD,
            is_simulated=self.is_simulated,
            train_good=294,
            train_defective=29,
            holdout=[],
            variants=[
                VariantMeasured(variant=Variant.INT8_U8S8, image_auroc=0.9921, infer_p50_ms=9.8, is_included=True),
                VariantMeasured(variant=Variant.FP32, image_auroc=0.9927, infer_p50_ms=24.1, is_included=True),
            ],
            champion_image_auroc=0.9412,
            backbone="compact",
            backbone_weights_source="shipped",
            training_seconds=48,
        )

    def packages(self) -> list[learning_schemas.PackageView]:
        return [self._package(NEW, OLD), self._package(OLD, None)] if self.has_stations else []

    def _package(self, package_id: str, parent: str | None) -> learning_schemas.PackageView:
        is_new = parent is not None
        return learning_schemas.PackageView(
            package_id=package_id,
            product=PRODUCT,
            detector=DetectorKind.MIXED if is_new else DetectorKind.MEMORY_BANK,
            created_at=self.now - timedelta(minutes=11 if is_new else 300),
            is_champion=is_new,
            is_simulated=self.is_simulated,
            size_bytes=5_412_000,
            manifest=self._manifest(parent),
            training_id="t-2" if is_new else "t-1",
            promotion=learning_schemas.PromotionView(
                package_id=package_id,
                champion_package_id=parent,
                outcome=PromotionOutcome.PROMOTED,
                decided_at=self.now - timedelta(minutes=10 if is_new else 299),
                checks=[
                    learning_schemas.GateCheck(
                        name="fewer_escapes",
                        is_passed=True,
                        detail="lets 1 of 12 held-out defective parts through, the champion 9 of 12",
                    ),
                    learning_schemas.GateCheck(
                        name="overkill_within_margin", is_passed=True, detail="2 of 126 against 1 of 126"
                    ),
                ],
            ),
        )

    def _manifest(self, parent: str | None) -> m.PackageManifest:
        digest = hashlib.sha256(b"file").hexdigest()
        return m.PackageManifest(
            product=PRODUCT,
            detector=DetectorKind.MIXED if parent else DetectorKind.MEMORY_BANK,
            created_at=self.now,
            is_simulated=self.is_simulated,
            graph=m.GraphSignature(
                model_height_px=224,
                model_width_px=224,
                heatmap_height_px=28,
                heatmap_width_px=28,
                embedding_length=64,
            ),
            variants=[
                m.PackageVariant(
                    variant=Variant.INT8_U8S8, file="int8-u8s8.onnx", image_auroc=0.9921, parity_error=0.018
                ),
                m.PackageVariant(variant=Variant.FP32, file="fp32.onnx", image_auroc=0.9927, parity_error=0.0),
            ],
            files=[
                m.PackageFile(name="int8-u8s8.onnx", role=m.FileRole.MODEL, sha256=digest, size_bytes=1_400_000),
                m.PackageFile(name="golden.npz", role=m.FileRole.GOLDEN, sha256=digest, size_bytes=600_000),
            ],
            limits=m.Limits(
                ok_limit=0.8,
                ng_limit=1.0,
                overkill_bound=0.021,
                confidence=0.9,
                sound_parts=126,
                rule="order statistic of held-out sound parts",
            ),
            golden=m.GoldenSet(file="golden.npz", images=8, tolerance=0.01),
            defect_classes=["scratch"],
            lineage=m.Lineage(
                training_id="t-2",
                parent_package_id=parent,
                dataset_sha256=digest,
                sound_parts=420,
                defective_parts=41 if parent else 0,
                seed=0,
                backbone="compact",
                backbone_weights_sha256=digest,
                backbone_weights_source="shipped",
                trainer_version="0.1.0",
                training_seconds=48,
            ),
        )

    def rollouts(self) -> list[rollout_schemas.RolloutView]:
        if not self.has_stations:
            return []
        began = self.now - timedelta(minutes=6)
        return [
            rollout_schemas.RolloutView(
                id=3,
                package_id=NEW,
                previous_package_id=OLD,
                product=PRODUCT,
                state=self.rollout_state,
                reason="promoted: fewer escapes on held-out parts",
                created_at=began,
                waits_for=[f"{STATIONS[1]} ASSIGNED since 2026-01-01 10:00:00 UTC: last word: DOWNLOADING"],
                waves=[
                    self._wave(0, WaveState.FINISHED, STATIONS[0], "DONE", 60),
                    self._wave(1, self._second(), STATIONS[1], self.rollout_progress, 0),
                ],
                history=[
                    f"{began:%Y-%m-%dT%H:%M:%SZ} rollout began",
                    f"{began + timedelta(minutes=1):%Y-%m-%dT%H:%M:%SZ} canary line-1/st-1 active",
                ],
            )
        ]

    def quarantine(self) -> list[rollout_schemas.QuarantinePartView]:
        part = rollout_schemas.QuarantinePartView(station=STATIONS[0], captured_at=self.now, epoch=2, sequence=7)
        named = {"part_id": "<P-77>", "trigger_number": 41, "score": 0.98765, "sequence": 9}
        return [part.model_copy(update=named), part]

    def rollout_evidence(self) -> rollout_schemas.RolloutEvidence:
        (rollout,) = self.rollouts()
        moved = {"before": "BAKING", "after": "DONE", "why": "60 of 60 parts judged"}
        seen = {"heard_at": self.now.isoformat(), "judged": 60, "diverted": 3, "no_decision": 0, "refusal": None}
        seen["extra_high"] = 0.0603744
        return rollout_schemas.RolloutEvidence(
            rollout=rollout,
            steps=[
                rollout_schemas.RolloutStep(
                    at=rollout.created_at,
                    lines=[rollout.history[1]],
                    evidence={
                        "state": ["RUNNING", "RUNNING"],
                        "stations": {STATIONS[0]: {**moved, "seen": seen}},
                        "gates": {"0": {"outcome": "PASSED", "gates": _gates()}},
                    },
                )
            ],
            looks=[rollout_schemas.RolloutLook(wave=0, at=self.now, evidence=self._limits())],
            exposure=rollout_schemas.RolloutExposure(
                rollout_id=rollout.id,
                package_id=NEW,
                parts=1264,
                passed=1204,
                stations=[
                    rollout_schemas.ExposureAtStation(
                        station=STATIONS[0],
                        verdicts={Verdict.OK: 1204, Verdict.NG: 60},
                        first_at=rollout.created_at,
                        last_at=self.now,
                    )
                ],
            ),
        )

    @staticmethod
    def _limits() -> dict[str, Any]:
        """As central makes them: a station watched for 6 chunks, and one whose past is too short."""
        terms = LimitTerms(alpha=0.05, chunk_parts=10, least_chunks=5, needs_limits=False)
        limits = WaveLimits(terms, {STATIONS[0]: [(1, 0, 0), (2, 0, 0)] * 20, STATIONS[1]: []})
        for _ in range(6):
            limits.take(STATIONS[0], (3, 0, 0))
        return limits.answer(STATIONS[:1]).evidence

    def rollout_policies(self) -> list[rollout_schemas.RolloutPolicyView]:
        plan, before = rollout_schemas.PlanBody(), self.now - timedelta(days=3)
        known = {PRODUCT: True, "rign": False} if self.has_stations else {}
        return [
            rollout_schemas.RolloutPolicyView(
                product=product,
                is_product_known=is_known,
                risk=RiskClass.CRITICAL,
                is_automatic=False,
                plan=plan,
                changed_at=before,
                changed_by="anna",
                note="brakes: <look> first",
            )
            for product, is_known in known.items()
        ]

    def freezes(self) -> list[freeze_schemas.FreezeView]:
        if not self.has_stations:
            return []
        return [
            freeze_schemas.FreezeView(
                id=1,
                site=None,
                begins=self.now - timedelta(hours=1),
                ends=self.now + timedelta(days=2),
                reason="holidays",
                made_at=self.now - timedelta(days=9),
                made_by="anna",
                is_in_force=True,
            )
        ]

    def _wave(self, index: int, state: WaveState, station: str, progress: str, judged: int) -> rollout_schemas.WaveView:
        return rollout_schemas.WaveView(
            index=index,
            state=state,
            success_condition="active and 60 parts judged",
            error_condition="more than 2 % without a decision, or rejects above 3 times the former rate",
            started_at=self.now - timedelta(minutes=5),
            stations=[
                rollout_schemas.WaveStation(
                    station=station,
                    assignment_number=4,
                    progress=progress,
                    detail="",
                    parts_judged=judged,
                    reject_rate=wilson(3, 60) if judged else None,
                    is_done=judged > 0,
                    before_package_id=TRIAL if judged else OLD,
                    way_back=self.way_back if judged else None,
                )
            ],
        )

    def _second(self) -> WaveState:
        is_waiting = self.rollout_state is RolloutState.WAITING_FOR_APPROVAL
        return WaveState.SCHEDULED if is_waiting else WaveState.RUNNING


def wilson(count: int, of: int) -> schemas.Rate:
    share = count / of
    middle = (share + 1.92 / of) / (1 + 3.84 / of)
    half = 1.96 * math.sqrt(share * (1 - share) / of + 0.96 / of**2) / (1 + 3.84 / of)
    low, high = max(0.0, middle - half), min(1.0, middle + half)
    return schemas.Rate(estimate=share, low=low, high=high, count=count, of=of, method="Wilson")


def _gates() -> dict[str, Any]:
    """The evidence of real gates after a few parts, and of one that a later version may bring."""
    right, margin, latency = DiscordanceGate(0.05), MarginGate(0.05, 0.02), LatencyGate(0.05, 40.0)
    for number in range(12):
        right.update(number != 3)
        margin.wait_for_label()
        latency.update(20.0, 50.0 if number == 7 else 21.0)
    return {
        "who is right": right.evidence(),
        "margin": margin.evidence(),
        "latency": latency.evidence(),
        "of a later version": {"gate": "margin", "decision": "ABORT"},
    }
