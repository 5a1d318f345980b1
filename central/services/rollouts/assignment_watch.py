# SPDX-License-Identifier: Apache-2.0
"""Raises an alarm when a station does not run what it was assigned, and closes it when it does again.

It refuses the assignment or a package of it, or it fell back by itself; also long after the rollout has ended. One for
each station. While a rollout is open that has touched the station, its conditions speak instead. An answer to an
earlier assignment says nothing. Orders nothing; `services/rollouts/refused_ways_back.py` does. Ticked by the worker.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from sqlmodel import Session, col, select

from central.services.alarms.rows import Signal, close, open_alarms, raise_alarm
from central.services.rollouts.assigning import package_status_of
from central.services.rollouts.facts import ANSWERS_NOTHING
from central.services.rollouts.state import state_of
from central.store.database import Database
from central.store.learning_tables import OPEN_ROLLOUTS, Alarm, RolloutRow
from central.store.repositories import stations
from central.store.tables import Station
from contracts.reports import PackageProgress, PackageStatus
from contracts.vocabulary import AlarmKind, AlarmState, PackageState, RefusalReason

_PERIOD_S: Final = 5.0
_IN_STEP: Final = "the station runs what it was assigned"


class AssignmentWatch:
    """See the module."""

    name: Final = "assignment-watch"
    period_s: Final = _PERIOD_S

    def __init__(self, database: Database) -> None:
        self._database = database

    def tick(self, now: datetime) -> None:
        """Look at every station whose last word is a refusal or a fall-back, and at every open alarm of the kind."""
        with self._database.read() as session:
            signals = _signals(session)
            is_quiet = not signals and not open_alarms(session, AlarmKind.NOT_AS_ASSIGNED)
        if is_quiet:
            return
        with self._database.begin() as session:
            for signal in _signals(session):
                raise_alarm(session, signal, now)
            for alarm in open_alarms(session, AlarmKind.NOT_AS_ASSIGNED):
                station = stations.find(session, alarm.station or "")
                if station is not None and _is_in_step(station, alarm.evidence.get("without", {})):
                    close(alarm, _IN_STEP, now)
                    session.add(alarm)


def _signals(session: Session) -> list[Signal]:
    """What is new of stations that differ: told once, until something else is the matter or it comes again."""
    differing = stations.that_differ(session)
    if not differing:
        return []
    watched = {
        (address, row.product)
        for row in session.exec(select(RolloutRow).where(col(RolloutRow.state).in_(OPEN_ROLLOUTS))).all()
        for address in state_of(row).touched
    }
    found = []
    for station in differing:
        status = package_status_of(station)
        said = list(_said(station, status, watched)) if status is not None else []
        if status is not None and said and not _is_told(session, station, said):
            found.append(_signal(station, status, said))
    return found


def _said(station: Station, status: PackageStatus, watched: set[tuple[str, str]]) -> Iterator[str]:
    """What of its present assignment it does not follow, a line each."""
    if status.assignment_number != station.assignment_number:
        return
    is_watched = any((station.address, product) in watched for product in station.assigned)
    if status.refused is not None and status.refused not in ANSWERS_NOTHING and not is_watched:
        yield f"it refuses assignment {status.assignment_number}: {status.refused} {status.detail}".strip()
    for row in status.packages:
        is_assigned = station.assigned.get(row.product) == row.package_id
        if is_assigned and (station.address, row.product) not in watched and (line := _line(row)):
            yield line


def _line(row: PackageProgress) -> str:
    package = f"package {row.package_id[:12]} of {row.product}"
    if row.state is PackageState.REFUSED and row.reason is not RefusalReason.UNREACHABLE:
        return f"it refuses {package}: {row.reason or 'no reason given'} {row.detail}".strip()
    if row.state is PackageState.FELL_BACK:
        judging = f"package {row.judging[:12]}" if row.judging is not None else "no other that it names"
        return f"it fell back from {package} by itself: {row.detail or 'no reason given'}; {judging} judges"
    return ""


def _is_told(session: Session, station: Station, said: list[str]) -> bool:
    """Whether an alarm is open that says this, or a person closed one that did."""
    wanted = select(Alarm).where(Alarm.kind == AlarmKind.NOT_AS_ASSIGNED, Alarm.station == station.address)
    last = session.exec(wanted.order_by(col(Alarm.id).desc())).first()
    if last is None or (last.state is AlarmState.CLOSED and last.closed_by == _IN_STEP):
        return False
    return (last.evidence.get("said"), last.evidence.get("assignment")) == (said, station.assignment_number)


def _signal(station: Station, status: PackageStatus, said: list[str]) -> Signal:
    evidence: dict[str, Any] = {"said": said, "assignment": status.assignment_number, "at": status.at.isoformat()}
    return Signal(
        kind=AlarmKind.NOT_AS_ASSIGNED,
        station=station.address,
        is_simulated=station.is_simulated,
        message=f"{station.address} does not run what it was assigned: {'; '.join(said)}.",
        remedy=(
            "Its last word is on the page Fleet. Mend what it names, or roll out another package there. A station that "
            "refuses what a rollout sent it back to is given another by itself. The alarm closes once it runs what it "
            "was assigned."
        ),
        evidence=evidence,
    )


def _is_in_step(station: Station, without: dict[str, Any]) -> bool:
    """Whether it has answered its last assignment and every product of it, and those it was `without`, is judged."""
    status = package_status_of(station)
    if status is None or status.assignment_number != station.assignment_number:
        return False
    if status.refused is not None and status.refused not in ANSWERS_NOTHING:
        return False
    active = {(row.product, row.package_id) for row in status.packages if row.state is PackageState.ACTIVE}
    return active >= set(station.assigned.items()) and station.assigned.keys() >= without.keys()
