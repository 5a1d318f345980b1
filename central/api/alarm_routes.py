# SPDX-License-Identifier: Apache-2.0
"""`/alarm-routes`: whom alarms reach, and how that goes. Sends nothing but tests (`services/alarms/` does)."""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Response
from sqlmodel import Session, col, delete, update

from central.api.alarm_route_schemas import AlarmDeliveryView, AlarmRouteView, RouteBody, RouteTested, SetAlarmRoute
from central.api.auth import ServicesOf, allow
from central.api.schemas import By
from central.errors import ConflictError
from central.services.alarms.route_testing import send_test
from central.store.alarm_route_tables import AlarmDelivery, AlarmRouteRow
from central.store.repositories import alarm_routes
from contracts.ids import Name
from contracts.vocabulary import DeliveryState, Role

router = APIRouter(prefix="/alarm-routes", tags=["alarms"], dependencies=[Depends(allow(Role.ENGINEER))])
_admin = [Depends(allow(Role.ADMIN))]
RouteName = Annotated[Name, Path()]
# Each is looked at every two seconds.
MOST_ROUTES = 50


@router.get("", summary="Routes of alarms, by name")
def list_routes(services: ServicesOf) -> list[AlarmRouteView]:
    """With how each goes: what is held, what waits, what failed."""
    with services.database.read() as session:
        counts = alarm_routes.undelivered(session)
        return [_view(row, counts.get(row.name, {})) for row in alarm_routes.routes(session)]


@router.put("/{name}", summary="Make or change a route", dependencies=_admin)
def set_route(services: ServicesOf, name: RouteName, said: SetAlarmRoute) -> AlarmRouteView:
    """For events from now on. What is on its way already follows the new target, clock and quiet hours."""
    now = services.clock.now()
    route = said.route.read(name)
    with services.database.begin() as session:
        row = session.get(AlarmRouteRow, name)
        if row is None:
            if len(alarm_routes.routes(session)) >= MOST_ROUTES:
                raise ConflictError(f"route {name}: expected at most {MOST_ROUTES} routes; delete one first")
            row = AlarmRouteRow(name=name, document="", changed_at=now, changed_by=said.by, note=said.note)
        row.document = alarm_routes.route_text(route)
        row.changed_at, row.changed_by, row.note = now, said.by, said.note
        # Somebody mended it, perhaps: it is tried at once, and what was held is looked at again.
        row.next_attempt_at = None
        session.add(row)
        session.flush()
        of_route = col(AlarmDelivery.route) == name
        undelivered = col(AlarmDelivery.state).in_(alarm_routes.UNDELIVERED)
        session.exec(update(AlarmDelivery).where(of_route, undelivered).values(due_at=now))
        return _seen(session, row)


@router.delete("/{name}", summary="End a route", status_code=204, dependencies=_admin)
def delete_route(services: ServicesOf, name: RouteName) -> Response:
    """What was still on its way over it is dropped, and its history with it; the alarms stay."""
    with services.database.begin() as session:
        row = alarm_routes.find_route(session, name)
        session.exec(delete(AlarmDelivery).where(col(AlarmDelivery.route) == name))
        session.delete(row)
    return Response(status_code=204)


@router.get("/{name}/deliveries", summary="What went or is to go over a route, newest first")
def list_deliveries(
    services: ServicesOf, name: RouteName, limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> list[AlarmDeliveryView]:
    """One entry an event of an alarm."""
    with services.database.read() as session:
        alarm_routes.find_route(session, name)
        rows = alarm_routes.deliveries(session, name, limit)
        leads = alarm_routes.leads(session, rows)
        return [_delivery(row, leads.get(row.lead_id or 0)) for row in rows]


@router.post("/{name}/test", summary="Send a test message through a route", dependencies=_admin)
def test_route(services: ServicesOf, name: RouteName, who: By) -> RouteTested:
    """At once, whatever the hour; waits for the other side and tells what became of it."""
    with services.database.read() as session:
        route = alarm_routes.read_route(alarm_routes.find_route(session, name))
    # No transaction is open meanwhile: the other side may take its time.
    outcome = send_test(services.loop.alarm_sender, route, who.by, services.clock.now())
    return RouteTested(**asdict(outcome))


def _seen(session: Session, row: AlarmRouteRow) -> AlarmRouteView:
    return _view(row, alarm_routes.undelivered(session).get(row.name, {}))


def _view(row: AlarmRouteRow, counts: dict[DeliveryState, int]) -> AlarmRouteView:
    document = asdict(alarm_routes.read_route(row))
    document.pop("name")
    return AlarmRouteView(
        **row.model_dump(exclude={"document"}),
        route=RouteBody.model_validate(document),
        is_failing=row.failing_since is not None,
        held=counts.get(DeliveryState.HELD, 0),
        waiting=counts.get(DeliveryState.WAITING, 0),
    )


def _delivery(row: AlarmDelivery, lead: AlarmDelivery | None) -> AlarmDeliveryView:
    of_message = lead or row
    return AlarmDeliveryView(
        **row.model_dump(include={"id", "alarm_id", "event", "number", "at", "severity", "state", "done_at"}),
        due_at=max(row.due_at, of_message.due_at),
        message_id=None if lead is None else lead.message_id,
        attempts=of_message.attempts,
        last_error=of_message.last_error,
    )
