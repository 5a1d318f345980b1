# SPDX-License-Identifier: Apache-2.0
"""Keeps what triggers answered: a row for each change of an answer, the newest of each trigger being what holds now.

Decides nothing (`domain/training_triggers.py`, `services/trainings/requests.py`). Works in the caller's transaction.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete, or_
from sqlmodel import Session, col, func, select

from central.domain.training_triggers import Decision
from central.store.learning_tables import Alarm, TrainingDecisionRow
from contracts.vocabulary import AlarmState


def standing_decision(
    session: Session, product: str, decision: Decision, *, is_simulated: bool, alarm_id: int | None
) -> TrainingDecisionRow | None:
    """The last answer of this trigger on this product (and alarm); None: it has not been asked."""
    row = TrainingDecisionRow
    wanted = (
        select(row)
        .where(row.product == product, row.is_simulated == is_simulated, row.trigger == decision.trigger)
        .where(col(row.alarm_id).is_(None) if alarm_id is None else col(row.alarm_id) == alarm_id)
        .order_by(col(row.id).desc())
    )
    return session.exec(wanted.limit(1)).first()


def is_news(row: TrainingDecisionRow | None, decision: Decision) -> bool:
    """Whether a decision says more than the row: another answer, or other figures under the same."""
    return row is None or is_other(row, decision) or (row.reason, row.figures) != (decision.reason, decision.figures)


def is_other(row: TrainingDecisionRow, decision: Decision) -> bool:
    """Whether the answer is another one. Each "yes" is one of its own: a training came of it."""
    return row.is_yes or decision.is_yes or row.because != decision.because


def note_decision(
    session: Session,
    product: str,
    decision: Decision,
    now: datetime,
    *,
    is_simulated: bool,
    alarm_id: int | None = None,
    training_id: str | None = None,
) -> None:
    """Keep an answer: a new row where it changed, else the figures of the row that holds."""
    row = standing_decision(session, product, decision, is_simulated=is_simulated, alarm_id=alarm_id)
    if not is_news(row, decision):
        return
    if row is None or is_other(row, decision):
        row = TrainingDecisionRow(
            product=product,
            is_simulated=is_simulated,
            trigger=decision.trigger,
            alarm_id=alarm_id,
            at=now,
            renewed_at=now,
            is_yes=decision.is_yes,
            because=decision.because.value,
            reason=decision.reason,
            training_id=training_id,
        )
    row.reason, row.figures, row.renewed_at = decision.reason, dict(decision.figures), now
    session.add(row)


def list_decisions(
    session: Session, product: str | None, *, is_standing: bool, limit: int
) -> Sequence[TrainingDecisionRow]:
    """Newest first; `is_standing`: the last answer of each product, trigger and open alarm alone."""
    wanted = select(TrainingDecisionRow).order_by(col(TrainingDecisionRow.id).desc()).limit(limit)
    if product is not None:
        wanted = wanted.where(TrainingDecisionRow.product == product)
    if is_standing:
        wanted = wanted.where(col(TrainingDecisionRow.id).in_(_newest_of_each()))
    return session.exec(wanted).all()


def surplus(session: Session, kept: int) -> int:
    """How many rows there are beyond `kept`."""
    return max(0, session.exec(select(func.count()).select_from(TrainingDecisionRow)).one() - kept)


def prune_decisions(session: Session, kept: int) -> int:
    """Let the oldest go until `kept` are left. What holds now stays, however old. Gives how many went."""
    row = TrainingDecisionRow
    if not surplus(session, kept):
        return 0
    newest = select(row.id).order_by(col(row.id).desc()).limit(kept)
    gone = delete(row).where(col(row.id).not_in(newest), col(row.id).not_in(_newest_of_each()))
    return int(session.connection().execute(gone).rowcount)


def _newest_of_each() -> Any:
    """Ids of what holds now. Of an alarm that is closed nothing does."""
    row = TrainingDecisionRow
    is_open = select(Alarm.id).where(Alarm.state != AlarmState.CLOSED)
    return (
        select(func.max(row.id))
        .where(or_(col(row.alarm_id).is_(None), col(row.alarm_id).in_(is_open)))
        .group_by(col(row.product), col(row.is_simulated), col(row.trigger), col(row.alarm_id))
    )
