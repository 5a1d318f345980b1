# SPDX-License-Identifier: Apache-2.0
"""Asks the promotion gate about every package that a training made, once, and stores its answer with its evidence.

First by the training's own held-out pictures (`domain/promotion.py`); what passes there is measured beside the champion
(`services/gates/gating.py`) and held against the product's terms (`services/gates/deciding.py`). Starts no rollout
(`services/rollouts/moving.py` does) and moves no champion. Ticked by the worker; a package without a row in `promotion`
is one that was not asked about yet, whatever happened before.
"""

import logging
from dataclasses import asdict
from datetime import datetime
from typing import Final

from sqlalchemy import or_
from sqlmodel import Session, col, select

from central.domain.audit import is_firm
from central.domain.gating import Condition
from central.domain.promotion import Check, Decision, GatePolicy, HeldOutPicture, decide
from central.gate_settings import GateSettings
from central.services.gates.alarms import settle_superseded, tell_decided
from central.services.gates.deciding import answer_of, find_out
from central.services.package_registry import champion_of
from central.settings import PromotionSettings
from central.store.database import Database
from central.store.gate_tables import GateRun
from central.store.learning_tables import Alarm, Package, Promotion, Training
from contracts.jobs import EvaluationReport
from contracts.vocabulary import AlarmKind, AlarmState, ConditionState, PromotionOutcome, TrainingState

_LOG = logging.getLogger(__name__)
_BEING_MEASURED: Final = (TrainingState.QUEUED, TrainingState.RUNNING)


class PromotingService:
    """See the module."""

    name: Final = "promoting"
    period_s: Final = 1.0

    def __init__(self, database: Database, settings: PromotionSettings, gate: GateSettings | None = None) -> None:
        """`gate` None: a training's own held-out pictures are all that is asked about."""
        self._database = database
        self._gate = gate
        self._policy = GatePolicy(
            min_holdout_good=settings.min_holdout_good,
            min_holdout_defective=settings.min_holdout_defective,
            max_overkill_increase=settings.max_overkill_increase,
            max_escape_increase=settings.max_escape_increase,
            min_image_auroc=settings.min_image_auroc,
            confidence=settings.confidence,
        )

    def tick(self, now: datetime) -> None:
        """Decide on what was not decided on."""
        with self._database.read() as session:
            waiting = session.exec(
                select(Package.package_id)
                .join(Promotion, col(Promotion.package_id) == Package.package_id, isouter=True)
                .join(GateRun, col(GateRun.package_id) == Package.package_id, isouter=True)
                .where(
                    col(Promotion.package_id).is_(None),
                    col(Package.training_id).is_not(None),
                    or_(col(GateRun.state).is_(None), col(GateRun.state).not_in(_BEING_MEASURED)),
                )
                .order_by(col(Package.registered_at))
            ).all()
            asked = session.exec(
                select(Alarm.id).where(Alarm.kind == AlarmKind.GATE_ASKS, Alarm.state != AlarmState.CLOSED)
            ).first()
        for package_id in waiting:
            self._decide(package_id, now)
        if asked is not None:
            with self._database.begin() as session:
                settle_superseded(session, now)

    def _decide(self, package_id: str, now: datetime) -> None:
        found = None
        if self._gate is not None:
            # Before the write lock: ingest must not wait for statistics.
            with self._database.read() as session:
                found = find_out(session, package_id, self._gate)
        with self._database.begin() as session:
            if session.get(Promotion, package_id) is not None:
                return  # a route and the worker may ask at the same time
            package = session.get_one(Package, package_id)
            training = session.get_one(Training, package.training_id)
            champion = champion_of(session, package.product, is_simulated=package.is_simulated)
            champion_id = champion.package_id if champion else None
            decision = self._ask(session, training, champion_id)
            if decision.outcome is PromotionOutcome.PROMOTED and self._gate is not None:
                answer = answer_of(session, package, champion_id, found, now)
                if answer is None:
                    return
                decision = Decision(answer.outcome, (*decision.checks, *map(_as_check, answer.conditions)))
            promotion = Promotion(
                package_id=package_id,
                champion_package_id=champion_id,
                outcome=decision.outcome,
                decided_at=now,
                checks=[asdict(check) for check in decision.checks],
            )
            session.add(promotion)
            tell_decided(session, package, promotion, now)
        _LOG.info("promotion decided package_id=%s outcome=%s", package_id, decision.outcome)

    def _ask(self, session: Session, training: Training, champion_id: str | None) -> Decision:
        if training.evaluation is None:
            missing = Check("an evaluation exists", is_passed=False, detail="the training left no evaluation")
            return Decision(PromotionOutcome.NOT_ENOUGH_EVIDENCE, (missing,))
        report = EvaluationReport.model_validate_json(training.evaluation)
        if report.champion_package_id != champion_id:
            # The champion changed while this one trained: its comparison is with a package that no longer judges.
            detail = f"compared with {_short(report.champion_package_id)}, the champion now is {_short(champion_id)}"
            stale = Check("compared with the champion of today", is_passed=False, detail=detail)
            return Decision(PromotionOutcome.NOT_ENOUGH_EVIDENCE, (stale,))
        alarm = session.get(Alarm, training.alarm_id) if training.alarm_id is not None else None
        pictures = [
            HeldOutPicture(item.group, item.judgement, item.candidate_verdict, item.champion_verdict)
            for item in report.holdout
            if is_firm(item.judgement)
        ]
        auroc = next((v.image_auroc for v in report.variants if v.variant is report.candidate_variant), None)
        return decide(
            pictures,
            self._policy,
            has_champion=champion_id is not None,
            must_fix_escapes=alarm is not None and alarm.kind is AlarmKind.ESCAPES,
            image_auroc=auroc,
        )


def _as_check(condition: Condition) -> Check:
    is_passed = condition.state is ConditionState.PASSED
    missing = "not enough evidence: " if condition.state is ConditionState.NOT_ENOUGH_EVIDENCE else ""
    shown = "" if condition.is_demanded else " (shown, not demanded)"
    return Check(condition.name + shown, is_passed, missing + condition.detail)


def _short(package_id: str | None) -> str:
    return package_id[:12] if package_id else "no package"
