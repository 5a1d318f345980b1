# SPDX-License-Identifier: Apache-2.0
"""Scores and judgements of one package at one station, for the hint without labels. Computes nothing."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import select as sa_select
from sqlmodel import Session

from central.store.repositories.chance import is_by_chance
from central.store.repositories.quality import PoolKey
from central.store.tables import Audit, Inspection, Station, columns_of
from contracts.vocabulary import AuditState, Judgement, Verdict, VerdictCause

# The newest: a hint needs no more.
MOST_SCORES: Final = 20_000
MOST_AUDITS: Final = 5_000


def accepted_scores(session: Session, key: PoolKey, package_id: str, since: datetime, until: datetime) -> list[float]:
    """Scores above 0 of parts that were accepted by their score."""
    inspection = columns_of(Inspection).c
    wanted = (
        sa_select(inspection.score)
        .where(*_of(key, package_id, since, until), inspection.verdict == Verdict.OK, inspection.score > 0.0)
        .order_by(inspection.id.desc())
        .limit(MOST_SCORES)
    )
    return [float(score) for (score,) in session.connection().execute(wanted)]


def audited_scores(
    session: Session, key: PoolKey, package_id: str, since: datetime, until: datetime
) -> Sequence[tuple[float, bool, float]]:
    """Score, whether people found it defective, inclusion probability; of settled audits that chance drew."""
    inspection, audit = columns_of(Inspection).c, columns_of(Audit).c
    wanted = (
        sa_select(inspection.score, audit.outcome, audit.inclusion_probability)
        .join(columns_of(Audit), audit.inspection_id == inspection.id)
        .where(
            *_of(key, package_id, since, until),
            inspection.score > 0.0,
            audit.state == AuditState.JUDGED,
            audit.ask == 1,
            is_by_chance(audit),
            audit.outcome.in_((Judgement.GOOD, Judgement.DEFECTIVE)),
        )
        .order_by(inspection.id.desc())
        .limit(MOST_AUDITS)
    )
    rows = session.connection().execute(wanted)
    return [(float(score), outcome == Judgement.DEFECTIVE, float(chance)) for score, outcome, chance in rows]


def _of(key: PoolKey, package_id: str, since: datetime, until: datetime) -> list[Any]:
    inspection, station = columns_of(Inspection).c, columns_of(Station).c
    at, product, is_simulated = key
    number = sa_select(station.id).where(station.address == at).scalar_subquery()
    return [
        inspection.station_id == number,
        inspection.product == product,
        inspection.is_simulated == is_simulated,
        inspection.package_id == package_id,
        inspection.cause == VerdictCause.SCORE,
        inspection.captured_at >= since,
        inspection.captured_at < until,
    ]
