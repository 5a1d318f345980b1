# SPDX-License-Identifier: Apache-2.0
"""Alarms to the shape of the API, each with what is likeliest behind it and the older alarm of the same cause."""

from collections.abc import Sequence
from typing import Any

from sqlmodel import Session, col, select

from central.api.schemas import AlarmView, SuggestedCause
from central.quality.cause import Cause
from central.store.cause_tables import CauseSuggestion
from central.store.learning_tables import Alarm
from contracts.vocabulary import AlarmState

# The likeliest cause with its place, of real or of simulated parts.
_Incident = tuple[str, str | None, str | None, bool]


def alarm_view(session: Session, alarm: Alarm) -> AlarmView:
    """One alarm."""
    return alarm_views(session, [alarm])[0]


def alarm_views(session: Session, alarms: Sequence[Alarm]) -> list[AlarmView]:
    """In the order in which they were given."""
    numbers = [alarm.id for alarm in alarms]
    rows = session.exec(select(CauseSuggestion).where(col(CauseSuggestion.alarm_id).in_(numbers))).all()
    suggestions = {row.alarm_id: row for row in rows}
    first = _first_of_each_incident(session)
    return [_view(alarm, suggestions.get(alarm.id or 0), first) for alarm in alarms]


def _first_of_each_incident(session: Session) -> dict[_Incident, int]:
    """The oldest open alarm of each. What is open at the same time overlaps in time."""
    wanted = (
        select(Alarm, CauseSuggestion)
        .join(CauseSuggestion, col(CauseSuggestion.alarm_id) == col(Alarm.id))
        .where(Alarm.state != AlarmState.CLOSED)
        .order_by(col(Alarm.id))
    )
    first: dict[_Incident, int] = {}
    for alarm, suggestion in session.exec(wanted).all():
        incident = _incident(alarm, suggestion)
        if incident is not None:
            first.setdefault(incident, alarm.id or 0)
    return first


def _incident(alarm: Alarm, suggestion: CauseSuggestion | None) -> _Incident | None:
    if suggestion is None or not suggestion.causes or alarm.state is AlarmState.CLOSED:
        return None
    likeliest: dict[str, Any] = suggestion.causes[0]
    return likeliest["cause"], likeliest["station"], likeliest["product"], alarm.is_simulated


def _view(alarm: Alarm, suggestion: CauseSuggestion | None, first: dict[_Incident, int]) -> AlarmView:
    incident = _incident(alarm, suggestion)
    same = None if incident is None else first.get(incident)
    return AlarmView(
        id=alarm.id or 0,
        kind=alarm.kind,
        state=alarm.state,
        station=alarm.station,
        product=alarm.product,
        raised_at=alarm.raised_at,
        raised_at_inspection_id=alarm.raised_at_inspection_id,
        message=alarm.message,
        remedy=alarm.remedy,
        evidence={
            **alarm.evidence,
            "repeats": alarm.repeats,
            "last_seen_at": alarm.last_seen_at.isoformat(),
            **({"closed_by": alarm.closed_by} if alarm.closed_by else {}),
        },
        acknowledged_by=alarm.acknowledged_by,
        closed_at=alarm.closed_at,
        cause=None if alarm.cause is None else Cause(alarm.cause),
        cause_by=alarm.cause_by,
        cause_note=alarm.cause_note or "",
        cause_at=alarm.cause_at,
        suggested_causes=[SuggestedCause.model_validate(each, strict=False) for each in suggestion.causes]
        if suggestion is not None
        else [],
        suggested_at=None if suggestion is None else suggestion.computed_at,
        began_at=None if suggestion is None else suggestion.since,
        same_cause_as=same if same != alarm.id else None,
        is_simulated=alarm.is_simulated,
    )
