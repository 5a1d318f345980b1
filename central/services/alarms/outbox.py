# SPDX-License-Identifier: Apache-2.0
"""Which message goes next over a route, and what became of it. Rows in, rows out; sends nothing.

A message is one event, or a digest of many: of what was held in quiet hours, and of what more than the route's rate
would take. Which events go together is stored before the first attempt and never changed, so a message that is sent
again after a restart is the same message under the same id. An attempt is counted before it is made: a crash in the
middle is an attempt, too. Called by `services/alarms/delivering.py`, each function in a transaction of its own.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlmodel import Session, col, delete, or_, select

from central.domain.alarm_routes import AlarmRoute, next_attempt
from central.services.alarms.messages import Outgoing, compose
from central.settings import AlarmSettings
from central.store.alarm_route_tables import AlarmDelivery, AlarmRouteRow
from central.store.learning_tables import Alarm
from central.store.repositories import alarm_routes
from contracts.vocabulary import AlarmState, DeliveryState

_LOG = logging.getLogger(__name__)

# A message that failed so often lets those behind it pass: it may be the message and not the way.
_PATIENCE: Final = 6
_MOST_IN_DIGEST: Final = 2_000


@dataclass(frozen=True)
class Taken:
    """A message to send now. `unsaid`: how many lost events it admits."""

    lead_id: int
    route: AlarmRoute
    message: Outgoing
    unsaid: int


def due_routes(session: Session, now: datetime) -> list[str]:
    """Routes that may send something now, those that sent last long ago first. Reads only."""
    wanted = (
        select(AlarmDelivery.route)
        .where(
            col(AlarmDelivery.state).in_(alarm_routes.UNDELIVERED),
            col(AlarmDelivery.due_at) <= now,
            or_(col(AlarmDelivery.lead_id).is_(None), col(AlarmDelivery.lead_id) == col(AlarmDelivery.id)),
        )
        .distinct()
    )
    names = set(session.exec(wanted).all())
    rows = [row for row in alarm_routes.routes(session) if row.name in names]
    rows = [row for row in rows if _room(session, row, alarm_routes.read_route(row), now) > 0]
    return [row.name for row in sorted(rows, key=lambda row: (row.last_sent_at is not None, row.last_sent_at or now))]


def take(session: Session, name: str, settings: AlarmSettings, now: datetime) -> Taken | None:
    """The next message of a route, its attempt counted; None: nothing may go out now."""
    # Locked, so that two processes never make a message of the same event.
    row = session.exec(select(AlarmRouteRow).where(AlarmRouteRow.name == name).with_for_update()).first()
    if row is None:
        return None
    route = alarm_routes.read_route(row)
    room = _room(session, row, route, now)
    if room <= 0:
        return None
    events = (
        _formed(session, route, now, is_patient=True)
        or _form(session, route, room, now)
        or _formed(session, route, now, is_patient=False)
    )
    if not events:
        return None
    lead = events[0]
    assert lead.id is not None  # noqa: S101 - it was read
    lead.state, lead.attempts = DeliveryState.WAITING, lead.attempts + 1
    lead.first_attempt_at = lead.first_attempt_at or now
    lead.due_at = next_attempt(lead.attempts, now)
    session.add(lead)
    message = compose(
        route,
        [each.told for each in events],
        message_id=lead.message_id,
        at=lead.first_attempt_at,
        unsaid=row.unsaid,
        dashboard_url=settings.dashboard_url,
    )
    return Taken(lead.id, route, message, row.unsaid)


def arrived(session: Session, taken: Taken, now: datetime, left_out: str | None) -> None:
    """It is there. `left_out`: what is to be told of it all the same; None: nothing."""
    for each in _message(session, taken.lead_id):
        each.state, each.done_at, each.last_error = DeliveryState.SENT, now, left_out
        session.add(each)
    row = session.get(AlarmRouteRow, taken.route.name)
    if row is None:
        return
    if row.failing_since is not None:
        _LOG.info("alarm route works again route=%s failing_since=%s", row.name, row.failing_since)
    row.failing_since, row.failures, row.next_attempt_at, row.last_error = None, 0, None, left_out
    row.last_sent_at, row.unsaid = now, max(0, row.unsaid - taken.unsaid)
    session.add(row)


def failed(session: Session, taken: Taken, error: str, give_up_hours: float, now: datetime) -> None:
    """It did not arrive: later again, or given up."""
    row = session.get(AlarmRouteRow, taken.route.name)
    events = _message(session, taken.lead_id)
    if row is None or not events:
        return
    row.failing_since, row.failures, row.last_error = row.failing_since or now, row.failures + 1, error
    row.next_attempt_at = next_attempt(row.failures, now)
    lead = events[0]
    lead.last_error, lead.due_at = error, next_attempt(lead.attempts, now)
    first = lead.first_attempt_at or now
    if now - first >= timedelta(hours=give_up_hours):
        for each in events:
            each.state, each.done_at, each.last_error = DeliveryState.GIVEN_UP, now, error
            session.add(each)
        row.unsaid += len(events)
        _LOG.error("alarm message given up route=%s events=%s since=%s error=%s", row.name, len(events), first, error)
    else:
        _LOG.warning("alarm message failed route=%s attempts=%s error=%s", row.name, lead.attempts, error)
    session.add(lead)
    session.add(row)


def forget(session: Session, kept_days: float, now: datetime) -> None:
    """Delete what was done with long ago. Of an alarm that is open it stays: reminders are counted by it."""
    closed = select(Alarm.id).where(Alarm.state == AlarmState.CLOSED)
    session.exec(
        delete(AlarmDelivery).where(
            col(AlarmDelivery.done_at) < now - timedelta(days=kept_days), col(AlarmDelivery.alarm_id).in_(closed)
        )
    )


def _room(session: Session, row: AlarmRouteRow, route: AlarmRoute, now: datetime) -> int:
    """How many messages the route may send now."""
    if not route.is_enabled or (row.next_attempt_at is not None and row.next_attempt_at > now):
        return 0
    since = now - timedelta(minutes=route.rate.minutes)
    return route.rate.messages - alarm_routes.sent_since(session, row.name, since)


def _formed(session: Session, route: AlarmRoute, now: datetime, *, is_patient: bool) -> list[AlarmDelivery]:
    """The message that is due for another attempt, its leader first. Patient: one that has not failed for long."""
    wanted = select(AlarmDelivery).where(
        AlarmDelivery.route == route.name,
        col(AlarmDelivery.state).in_(alarm_routes.UNDELIVERED),
        col(AlarmDelivery.lead_id) == col(AlarmDelivery.id),
        col(AlarmDelivery.due_at) <= now,
        col(AlarmDelivery.attempts) < _PATIENCE if is_patient else col(AlarmDelivery.attempts) >= _PATIENCE,
    )
    first = session.exec(wanted.order_by(col(AlarmDelivery.id)).limit(1)).first()
    if first is None:
        return []
    events = _message(session, first.id or 0)
    return events if _may_go(session, route, events, [first], now) else []


def _form(session: Session, route: AlarmRoute, room: int, now: datetime) -> list[AlarmDelivery]:
    """A new message out of what waits: one event, or a digest where more wait than may go out, or were held."""
    loose = select(AlarmDelivery).where(
        AlarmDelivery.route == route.name,
        col(AlarmDelivery.state).in_(alarm_routes.UNDELIVERED),
        col(AlarmDelivery.lead_id).is_(None),
        col(AlarmDelivery.due_at) <= now,
    )
    found = session.exec(loose.order_by(col(AlarmDelivery.id)).limit(_MOST_IN_DIGEST)).all()
    events = [each for each in found if _may_go(session, route, [each], [each], now)]
    if not events:
        return []
    is_digest = len(events) > room or any(each.state is DeliveryState.HELD for each in events)
    events = events if is_digest else events[:1]
    for each in events:
        each.lead_id, each.state = events[0].id, DeliveryState.WAITING
        session.add(each)
    session.flush()
    return events


def _may_go(
    session: Session, route: AlarmRoute, events: Sequence[AlarmDelivery], hold: Sequence[AlarmDelivery], now: datetime
) -> bool:
    """Whether quiet hours let a message pass; if not, `hold` is held until they end.

    They may have begun since the event was put into the outbox, or been set since.
    """
    ends = [route.held_until(each.event, each.severity, now) for each in events]
    if any(end is None for end in ends):
        return True
    for each in hold:
        each.state, each.due_at = DeliveryState.HELD, max(end for end in ends if end is not None)
        session.add(each)
    return False


def _message(session: Session, lead_id: int) -> list[AlarmDelivery]:
    """The events of a message that are still on their way, its leader first: it has the lowest number."""
    wanted = select(AlarmDelivery).where(
        AlarmDelivery.lead_id == lead_id, col(AlarmDelivery.state).in_(alarm_routes.UNDELIVERED)
    )
    return list(session.exec(wanted.order_by(col(AlarmDelivery.id))).all())
