# SPDX-License-Identifier: Apache-2.0
"""Pairs of answers on one part: of a blind repeat and what was said first, and of confirmations. Counts nothing."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import and_
from sqlalchemy import select as sa_select
from sqlalchemy.orm import aliased
from sqlmodel import Session, col

from central.store.tables import Audit
from contracts.vocabulary import AuditState, Judgement


@dataclass(frozen=True)
class TwoAnswers:
    """What two inspectors, or one at two times, said of a part. `is_repeat`: planted, else asked for confirmation."""

    first_inspector: str
    second_inspector: str
    first: Judgement
    second: Judgement
    is_repeat: bool
    is_simulated: bool


def two_answers(session: Session, since: datetime, limit: int = 100_000) -> list[TwoAnswers]:
    """Later answers since a time, each with the first answer on its part; newest first."""
    first, second = aliased(Audit), aliased(Audit)
    columns: Any = [
        first.inspector,
        second.inspector,
        first.judgement,
        second.judgement,
        second.is_repeat,
        second.is_simulated,
    ]
    wanted = (
        sa_select(*columns)
        .select_from(second)
        .join(first, and_(col(first.inspection_id) == col(second.inspection_id), col(first.ask) == 1))
        .where(
            col(second.ask) > 1,
            col(second.state) == AuditState.JUDGED,
            col(second.judged_at) >= since,
            col(first.inspector).is_not(None),
            # Parts near the limit are harder than parts are: inspectors would seem to agree less than they do.
            col(first.asked_because).is_(None),
            col(second.asked_because).is_(None),
        )
        .order_by(col(second.judged_at).desc(), col(second.id).desc())
        .limit(limit)
    )
    return [
        TwoAnswers(by, by_too, Judgement(one), Judgement(two), is_repeat, is_simulated)
        for by, by_too, one, two, is_repeat, is_simulated in session.connection().execute(wanted)
    ]
