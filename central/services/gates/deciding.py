# SPDX-License-Identifier: Apache-2.0
"""From what was measured of a package to the gate's answer with its evidence, by the terms of its product.

The rules are in `domain/gating.py` and `domain/gate_machine.py`. Measures nothing (`services/gates/gating.py` does) and
starts no rollout. Every function works in the caller's transaction. Called by `services/gates/promoting.py`.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from sqlmodel import Session, select

from central.domain.gate_machine import StationTime, machine_conditions
from central.domain.gating import (
    UNNAMED,
    Condition,
    GateTerms,
    SeenPicture,
    compare_with_champion,
    compare_with_exact,
    outcome_of,
    worst_differing,
)
from central.gate_settings import GateSettings
from central.services.gates.gating import queue_gate
from central.store.gate_tables import GatePolicyRow, GateRun
from central.store.learning_tables import Package
from central.store.repositories.station_words import package_status_in
from central.store.tables import Station
from contracts.gating import GateJob, GateReport
from contracts.vocabulary import ConditionState, Judgement, PromotionOutcome, TrainingState, WhenMissing

MOST_WORST: Final = 24
_ENDED: Final = (TrainingState.FINISHED, TrainingState.FAILED)


@dataclass(frozen=True)
class GateAnswer:
    """What the gate says, and on which conditions."""

    outcome: PromotionOutcome
    conditions: tuple[Condition, ...]


@dataclass(frozen=True)
class FoundOut:
    """Conditions of what was measured at that time, by those terms, and further evidence for people."""

    finished_at: datetime | None
    terms: GateTerms
    terms_by: str
    conditions: tuple[Condition, ...]
    shown: dict[str, Any]


def terms_of(session: Session, product: str, settings: GateSettings) -> tuple[GateTerms, GatePolicyRow | None]:
    """What is demanded of a product's packages, and the policy that says so; None: the settings do."""
    row = session.get(GatePolicyRow, product)
    source: GatePolicyRow | GateSettings = row if row is not None else settings
    return GateTerms(
        recall_margin=source.recall_margin,
        overkill_margin=source.overkill_margin,
        confidence=source.confidence,
        when_missing=WhenMissing(source.when_missing),
        needs_audits=source.needs_audits,
        deadline_ms=source.deadline_ms,
        most_memory_mb=source.most_memory_mb,
    ), row


def find_out(session: Session, package_id: str, settings: GateSettings) -> FoundOut | None:
    """Hold what was measured against the terms; None: not measured yet.

    Exact tests of hundreds of parts take a second on a busy machine: for a transaction that only reads.
    """
    row = session.get(GateRun, package_id)
    if row is None or row.state not in _ENDED:
        return None
    terms, policy = terms_of(session, row.product, settings)
    by = "settings" if policy is None else f"policy of {policy.changed_at.isoformat()} by {policy.changed_by}"
    conditions, shown = _found(session, row, terms)
    return FoundOut(row.finished_at, terms, by, tuple(conditions), shown)


def answer_of(
    session: Session, package: Package, champion_package_id: str | None, found: FoundOut | None, now: datetime
) -> GateAnswer | None:
    """The gate's answer, stored with its evidence; None: it is still being measured, or asked for just now.

    `found`: what `find_out` said just before.
    """
    row = session.get(GateRun, package.package_id)
    if row is None or row.champion_package_id != champion_package_id:
        queue_gate(session, package, champion_package_id, now)
        return None
    if row.state not in _ENDED or found is None or found.finished_at != row.finished_at:
        return None
    outcome = outcome_of(found.conditions, found.terms.when_missing)
    row.evidence = {
        "decided_at": now.isoformat(),
        "outcome": outcome.value,
        "terms": asdict(found.terms),
        "terms_by": found.terms_by,
        "conditions": [asdict(condition) for condition in found.conditions],
        **found.shown,
    }
    session.add(row)
    return GateAnswer(outcome, found.conditions)


def seen_pictures(job: GateJob, report: GateReport) -> list[SeenPicture]:
    """What was judged, with what is true of it."""
    known = {picture.sha256: picture for picture in job.pictures}
    return [
        SeenPicture(
            sha256=each.sha256,
            part=known[each.sha256].group,
            is_defective=known[each.sha256].judgement is Judgement.DEFECTIVE,
            defect_class=known[each.sha256].defect_class,
            is_test=known[each.sha256].is_test,
            inclusion_probability=known[each.sha256].inclusion_probability,
            challenger=each.verdict,
            exact=each.exact_verdict,
            champion=each.champion_verdict,
        )
        for each in report.pictures
        if each.sha256 in known
    ]


def station_times(session: Session, product: str, *, is_simulated: bool) -> list[StationTime]:
    """What each station last said of the product's packages."""
    wanted = select(Station.address, Station.package_status).where(Station.is_simulated == is_simulated)
    found = []
    for address, said in session.exec(wanted.order_by(Station.address)).all():
        status = package_status_in(said)
        for each in status.packages if status is not None else ():
            if each.product == product and each.infer_p99_ms is not None:
                variant = each.variant.value if each.variant is not None else None
                found.append(
                    StationTime(address, each.package_id, each.infer_p99_ms, each.deadline_ms, variant, each.provider)
                )
    return found


def _found(session: Session, row: GateRun, terms: GateTerms) -> tuple[list[Condition], dict[str, Any]]:
    if row.state is TrainingState.FAILED or row.job is None or row.report is None:
        detail = f"it could not be measured: {row.error or 'no report'}"
        return [Condition("measured beside the champion", ConditionState.NOT_ENOUGH_EVIDENCE, detail)], {}
    job, report = GateJob.model_validate_json(row.job), GateReport.model_validate_json(row.report)
    pictures = seen_pictures(job, report)
    times = station_times(session, row.product, is_simulated=row.is_simulated)
    variant = report.timed.variant.value if report.timed is not None else "int8"
    judged = sum(picture.is_test for picture in pictures)
    conditions = [
        *(compare_with_champion(pictures, terms) if row.champion_package_id is not None else []),
        *compare_with_exact(pictures, terms, variant),
        *machine_conditions(report, times, terms, test_pictures=row.test_pictures, judged=judged),
    ]
    worst = [
        {
            "sha256": picture.sha256,
            "why": why,
            "truth": (picture.defect_class or UNNAMED) if picture.is_defective else "good",
            "challenger": picture.challenger.value,
            "champion": picture.champion.value if picture.champion is not None else None,
            "part": picture.part,
        }
        for picture, why in worst_differing(pictures, MOST_WORST)
    ]
    return conditions, {
        "denominators": {"test_set": _counted([p for p in pictures if p.is_test]),
                         "audited": _audited([p for p in pictures if p.inclusion_probability is not None])},
        "worst_differing": worst,
        "left_out": report.left_out,
    }  # fmt: skip


def _counted(pictures: Sequence[SeenPicture]) -> dict[str, Any]:
    """Parts and pictures, and parts of each defect class."""
    defective = {(p.part, p.defect_class or UNNAMED) for p in pictures if p.is_defective}
    return {
        "pictures": len(pictures),
        "good_parts": len({p.part for p in pictures if not p.is_defective}),
        "defective_parts": len({part for part, _ in defective}),
        "by_class": dict(sorted(Counter(name for _, name in defective).items())),
    }


def _audited(pictures: Sequence[SeenPicture]) -> dict[str, Any]:
    chances = [p.inclusion_probability for p in pictures if p.inclusion_probability is not None]
    return {
        **_counted(pictures),
        "lowest_chance": min(chances, default=None),
        "highest_chance": max(chances, default=None),
        "stand_for": sum(1.0 / chance for chance in chances),
    }
