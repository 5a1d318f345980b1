# SPDX-License-Identifier: Apache-2.0
"""Asks the promotion gate about every package that a training made, once, and stores its answer with its evidence.

The rules are in `domain/promotion.py`. Starts no rollout (`services/rollouts.py` does) and moves no champion. Ticked
by the worker; a package without a row in `promotion` is one that was not asked about yet, whatever happened before.
"""

import logging
from dataclasses import asdict
from datetime import datetime
from typing import Final

from sqlmodel import Session, col, select

from central.domain.audit import is_firm
from central.domain.promotion import Check, Decision, GatePolicy, HeldOutPicture, decide
from central.services.package_registry import champion_of
from central.settings import PromotionSettings
from central.store.database import Database
from central.store.learning_tables import Alarm, Package, Promotion, Training
from contracts.jobs import EvaluationReport
from contracts.vocabulary import AlarmKind, PromotionOutcome

_LOG = logging.getLogger(__name__)


class PromotingService:
    """See the module."""

    name: Final = "promoting"
    period_s: Final = 1.0

    def __init__(self, database: Database, settings: PromotionSettings) -> None:
        self._database = database
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
                .where(col(Promotion.package_id).is_(None), col(Package.training_id).is_not(None))
                .order_by(col(Package.registered_at))
            ).all()
        for package_id in waiting:
            self._decide(package_id, now)

    def _decide(self, package_id: str, now: datetime) -> None:
        with self._database.begin() as session:
            if session.get(Promotion, package_id) is not None:
                return  # a route and the worker may ask at the same time
            package = session.get_one(Package, package_id)
            training = session.get_one(Training, package.training_id)
            champion = champion_of(session, package.product, is_simulated=package.is_simulated)
            champion_id = champion.package_id if champion else None
            decision = self._ask(session, training, champion_id)
            session.add(
                Promotion(
                    package_id=package_id,
                    champion_package_id=champion_id,
                    outcome=decision.outcome,
                    decided_at=now,
                    checks=[asdict(check) for check in decision.checks],
                )
            )
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


def _short(package_id: str | None) -> str:
    return package_id[:12] if package_id else "no package"
