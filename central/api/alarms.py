# SPDX-License-Identifier: Apache-2.0
"""`/alarms`: what the charts and watches saw, and who has seen to it. Raises none itself."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query
from sqlmodel import col, select

from central.api.alarm_views import alarm_view, alarm_views
from central.api.auth import ServicesOf, allow
from central.api.schemas import AlarmView, By, SayCause
from central.services.alarms.rows import acknowledge, close, find_alarm, say_cause
from central.store.learning_tables import Alarm
from contracts.vocabulary import AlarmState, Role

router = APIRouter(prefix="/alarms", tags=["alarms"], dependencies=[Depends(allow(Role.VIEWER))])

AlarmNumber = Annotated[int, Path(ge=1, le=2**62)]


@router.get("", summary="Alarms, newest first")
def list_alarms(
    services: ServicesOf,
    state: AlarmState | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> list[AlarmView]:
    """All of them, or those in one state."""
    wanted = select(Alarm).order_by(col(Alarm.id).desc()).limit(limit)
    if state is not None:
        wanted = wanted.where(Alarm.state == state)
    with services.database.read() as session:
        return alarm_views(session, session.exec(wanted).all())


@router.get("/{alarm_id}", summary="One alarm")
def get_alarm(services: ServicesOf, alarm_id: AlarmNumber) -> AlarmView:
    """With its evidence and what is likeliest behind it."""
    with services.database.read() as session:
        return alarm_view(session, find_alarm(session, alarm_id))


@router.post("/{alarm_id}/acknowledge", summary="Seen", dependencies=[Depends(allow(Role.INSPECTOR))])
def acknowledge_alarm(services: ServicesOf, alarm_id: AlarmNumber, who: By) -> AlarmView:
    """It stays open; people know that somebody looks after it."""
    with services.database.begin() as session:
        alarm = find_alarm(session, alarm_id)
        acknowledge(alarm, who.by)
        session.add(alarm)
        return alarm_view(session, alarm)


@router.post("/{alarm_id}/cause", summary="What was behind it", dependencies=[Depends(allow(Role.INSPECTOR))])
def say_cause_of_alarm(services: ServicesOf, alarm_id: AlarmNumber, found: SayCause) -> AlarmView:
    """Confirm a cause or correct the one that was said before. Also of closed alarms: some are found out later."""
    with services.database.begin() as session:
        alarm = find_alarm(session, alarm_id)
        say_cause(alarm, found.cause, found.by, found.note, services.clock.now())
        session.add(alarm)
        return alarm_view(session, alarm)


@router.post("/{alarm_id}/close", summary="Done with", dependencies=[Depends(allow(Role.ENGINEER))])
def close_alarm(services: ServicesOf, alarm_id: AlarmNumber, who: By) -> AlarmView:
    """Evidence up to now counts as dealt with; the same signal afterwards raises a new alarm."""
    with services.database.begin() as session:
        alarm = find_alarm(session, alarm_id)
        close(alarm, who.by, services.clock.now())
        session.add(alarm)
        return alarm_view(session, alarm)
