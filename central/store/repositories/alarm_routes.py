# SPDX-License-Identifier: Apache-2.0
"""Routes as rows, and what stands in their outboxes. Reads and writes rows, no rule.

Used by `services/alarms/routing.py`, `services/alarms/outbox.py`, the API and the command line.
"""

from datetime import datetime
from typing import Final

from pydantic import TypeAdapter
from sqlmodel import Session, col, func, select

from central.domain.alarm_routes import AlarmRoute
from central.errors import NotFoundError
from central.store.alarm_route_tables import AlarmDelivery, AlarmRouteRow
from contracts.vocabulary import DeliveryState

UNDELIVERED: Final = (DeliveryState.HELD, DeliveryState.WAITING)
_ROUTE: TypeAdapter[AlarmRoute] = TypeAdapter(AlarmRoute)


def route_text(route: AlarmRoute) -> str:
    """A route as its column holds it."""
    return _ROUTE.dump_json(route).decode()


def read_route(row: AlarmRouteRow) -> AlarmRoute:
    """A route out of its column."""
    return _ROUTE.validate_json(row.document)


def routes(session: Session) -> list[AlarmRouteRow]:
    """By name."""
    return list(session.exec(select(AlarmRouteRow).order_by(AlarmRouteRow.name)).all())


def find_route(session: Session, name: str) -> AlarmRouteRow:
    """One route.

    Raises:
        NotFoundError: there is none of this name.
    """
    row = session.get(AlarmRouteRow, name)
    if row is None:
        known = ", ".join(each.name for each in routes(session)[:20]) or "none"
        raise NotFoundError(f"route {name}: no such route; there are: {known}")
    return row


def undelivered(session: Session) -> dict[str, dict[DeliveryState, int]]:
    """How many events of each route are held or wait; routes without any are left out."""
    wanted = (
        select(AlarmDelivery.route, AlarmDelivery.state, func.count())
        .where(col(AlarmDelivery.state).in_(UNDELIVERED))
        .group_by(col(AlarmDelivery.route), col(AlarmDelivery.state))
    )
    found: dict[str, dict[DeliveryState, int]] = {}
    for name, state, count in session.exec(wanted).all():
        found.setdefault(name, {})[DeliveryState(state)] = count
    return found


def deliveries(session: Session, name: str, limit: int) -> list[AlarmDelivery]:
    """What went or is to go over a route, newest first."""
    wanted = select(AlarmDelivery).where(AlarmDelivery.route == name)
    return list(session.exec(wanted.order_by(col(AlarmDelivery.id).desc()).limit(limit)).all())


def sent_since(session: Session, name: str, since: datetime) -> int:
    """How many messages went out over a route; a digest is one."""
    wanted = select(func.count()).where(
        AlarmDelivery.route == name,
        AlarmDelivery.state == DeliveryState.SENT,
        col(AlarmDelivery.lead_id) == col(AlarmDelivery.id),
        col(AlarmDelivery.done_at) > since,
    )
    return session.exec(wanted).one()


def leads(session: Session, rows: list[AlarmDelivery]) -> dict[int, AlarmDelivery]:
    """The leaders of the messages that these events are in, by id."""
    ids = {row.lead_id for row in rows if row.lead_id is not None}
    found = session.exec(select(AlarmDelivery).where(col(AlarmDelivery.id).in_(ids))).all()
    return {row.id: row for row in found if row.id is not None}
