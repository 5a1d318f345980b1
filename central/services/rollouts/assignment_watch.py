# SPDX-License-Identifier: Apache-2.0
"""Raises an alarm when a station does not run what it was assigned, and closes it when it does again.

It refuses the assignment or a package of it, fell back by itself, or is heard and does not follow in time
(`services/rollouts/unanswered.py`); also long after the rollout has ended. One for each station; a graver one where a
package judges that was taken back. While a rollout is open that has touched the station, its conditions speak instead.
An answer to an earlier assignment says nothing of the newest, which is then published once more. Orders nothing;
`services/rollouts/refused_ways_back.py` does. Ticked by the worker.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from sqlmodel import Session, col, select

from central.domain.alarm_severity import TAKEN_BACK
from central.services.alarms.rows import Signal, close, open_alarms, raise_alarm
from central.services.rollouts.assigning import package_status_of, to_publish_again
from central.services.rollouts.facts import ANSWERS_NOTHING
from central.services.rollouts.state import state_of
from central.services.rollouts.taken_back import judging_taken_back
from central.services.rollouts.unanswered import Late, LateAnswers
from central.settings import RolloutSettings
from central.store.database import Database
from central.store.learning_tables import OPEN_ROLLOUTS, Alarm, RolloutRow
from central.store.repositories import stations
from central.store.tables import Station
from contracts.reports import PackageProgress, PackageStatus
from contracts.vocabulary import AlarmKind, AlarmState, PackageState, RefusalReason, RolloutState

_PERIOD_S: Final = 5.0
IN_STEP: Final = "the station runs what it was assigned"
_OTHERWISE: Final = "something else is the matter there, told in another alarm"


class AssignmentWatch:
    """See the module. For the arguments see `LateAnswers`."""

    name: Final = "assignment-watch"
    period_s: Final = _PERIOD_S

    def __init__(
        self, database: Database, settings: RolloutSettings, lost_after_s: float, can_hear: Callable[[], bool]
    ) -> None:
        self._database = database
        self._republish_after = timedelta(seconds=settings.install_timeout_s)
        self._late = LateAnswers(settings, lost_after_s, can_hear)

    def tick(self, now: datetime) -> None:
        """Look at every station that refuses, fell back or is late, and at every open alarm of the kind."""
        with self._database.read() as session:
            late = self._late.look(session, now)
            is_quiet = not late and not _signals(session, late)
            is_quiet = is_quiet and not open_alarms(session, AlarmKind.NOT_AS_ASSIGNED)
        if is_quiet:
            return
        with self._database.begin() as session:
            late = self._late.look(session, now)
            for signal in _signals(session, late):
                _raise_one(session, signal, now)
            lagging = [station.id or 0 for station, each in late.values() if each.is_unanswered]
            to_publish_again(session, lagging, now - self._republish_after)
            for alarm in open_alarms(session, AlarmKind.NOT_AS_ASSIGNED):
                station = stations.find(session, alarm.station or "")
                if station is not None and _is_in_step(station, alarm.evidence.get("without", {})):
                    close(alarm, IN_STEP, now)
                    session.add(alarm)


def _raise_one(session: Session, signal: Signal, now: datetime) -> None:
    """In the place of one that is open and milder, or graver: each is told as what it is, and one is open a station."""
    for alarm in open_alarms(session, AlarmKind.NOT_AS_ASSIGNED):
        if alarm.station == signal.station and alarm.open_key != signal.open_key:
            without = alarm.evidence.get("without", {})
            signal = replace(signal, evidence={**({"without": without} if without else {}), **signal.evidence})
            close(alarm, _OTHERWISE, now)
            session.add(alarm)
    raise_alarm(session, signal, now)


def _signals(session: Session, late: Mapping[str, tuple[Station, Late]]) -> list[Signal]:
    """What is new of stations that differ: told once, until something else is the matter or it comes again."""
    differing = {station.address: station for station in stations.that_differ(session)}
    differing |= {address: station for address, (station, _) in late.items()}
    if not differing:
        return []
    watched = {
        (address, row.product)
        for row in session.exec(select(RolloutRow).where(col(RolloutRow.state).in_(OPEN_ROLLOUTS))).all()
        for address in state_of(row).touched
    }
    found = []
    for address, station in sorted(differing.items()):
        status = package_status_of(station)
        said = list(_said(station, status, watched)) if status is not None else []
        its_late = late[address][1] if address in late and not _is_watched(station, watched) else None
        if its_late is not None:
            said.append(its_late.line)
        if not said:
            continue
        taken_back = judging_taken_back(session, station, status)
        said += [_taken_back_line(row) for row in taken_back]
        if not _is_told(session, station, said):
            found.append(_signal(station, status, said, its_late, taken_back))
    return found


def _is_watched(station: Station, watched: set[tuple[str, str]]) -> bool:
    return any((station.address, product) in watched for product in station.assigned)


def _taken_back_line(row: RolloutRow) -> str:
    how = "went back by itself" if row.state is RolloutState.ERROR else "was aborted"
    return f"package {row.package_id[:12]} judges {row.product} there, which was taken back (rollout {row.id} {how})"


def _said(station: Station, status: PackageStatus, watched: set[tuple[str, str]]) -> Iterator[str]:
    """What of its present assignment it does not follow, a line each."""
    if status.assignment_number != station.assignment_number:
        return
    is_answer = status.refused is not None and status.refused not in ANSWERS_NOTHING
    if is_answer and not _is_watched(station, watched):
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
    if last is None or (last.state is AlarmState.CLOSED and last.closed_by == IN_STEP):
        return False
    return (last.evidence.get("said"), last.evidence.get("assignment")) == (said, station.assignment_number)


def _signal(
    station: Station,
    status: PackageStatus | None,
    said: list[str],
    late: Late | None,
    taken_back: list[RolloutRow],
) -> Signal:
    evidence: dict[str, Any] = {"said": said, "assignment": station.assignment_number}
    if status is not None:
        evidence["at"] = status.at.isoformat()
    since = ""
    if late is not None:
        evidence["since"] = late.since.isoformat()
        since = f" Waited for since {late.since:%Y-%m-%d %H:%M} UTC."
    remedy = (
        "Its last word is on the page Fleet. Mend what it names, or roll out another package there. A station that "
        "refuses what a rollout sent it back to is given another by itself. The alarm closes once it runs what it "
        "was assigned."
    )
    if taken_back:
        # Another key than the milder alarm's: what was told as a warning is told anew as what it has become.
        evidence |= {"chart": "judges with a package that was taken back", TAKEN_BACK: [row.id for row in taken_back]}
        lists = ", ".join(f"/rollouts/{row.id}/quarantine?station={station.address}" for row in taken_back)
        remedy = (
            "What it lets pass may hold the escapes for which that package was taken back: hold its parts, or stop the "
            f"line, until it follows. Restart its agent. What it let pass so far: {lists}. {remedy}"
        )
    return Signal(
        kind=AlarmKind.NOT_AS_ASSIGNED,
        station=station.address,
        is_simulated=station.is_simulated,
        message=f"{station.address} does not run what it was assigned: {'; '.join(said)}.{since}",
        remedy=remedy,
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
