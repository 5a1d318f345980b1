# SPDX-License-Identifier: Apache-2.0
"""Calls people where a station waits without a package because the product's champion was withdrawn.

Nothing else would: it has refused nothing, and no rollout went back. Closed by `services/rollouts/assignment_watch.py`
once a package judges there. Called by `services/rollouts/catching_up.py`; orders nothing.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from sqlmodel import Session, col, select

from central.services.alarms.rows import Signal, open_alarms, raise_alarm
from central.store.chunks import in_chunks
from central.store.database import Database
from central.store.learning_tables import Alarm
from central.store.repositories import stations
from central.store.tables import Station
from contracts.vocabulary import AlarmKind, AlarmState

_WITHOUT: Final = "without"
_WITHDRAWN: Final = "withdrawn"


def tell_waiting(database: Database, waiting: Mapping[str, Mapping[str, str]], in_step: str, now: datetime) -> None:
    """Raise the alarm of each of these stations that has nothing to judge a product with, once.

    Args:
        database: to read and write.
        waiting: by address: product → the champion that is given to nobody.
        in_step: who closes such an alarm when it is over; what anybody else closed was told, and is not told again.
        now: the time.
    """
    if not waiting:
        return
    with database.read() as session:
        is_quiet = not _untold(session, waiting, in_step)
    if is_quiet:
        return
    with database.begin() as session:
        kept = {each.station: each.evidence.get(_WITHOUT, {}) for each in open_alarms(session, _KIND)}
        for station, packages in _untold(session, waiting, in_step):
            raise_alarm(session, _signal(station, packages, kept.get(station.address, {})), now)


_KIND: Final = AlarmKind.NOT_AS_ASSIGNED


def _untold(
    session: Session, waiting: Mapping[str, Mapping[str, str]], in_step: str
) -> list[tuple[Station, dict[str, str]]]:
    last: dict[str | None, Alarm] = {}
    for some in in_chunks(waiting):
        wanted = select(Alarm).where(Alarm.kind == _KIND, col(Alarm.station).in_(some)).order_by(col(Alarm.id))
        last |= {alarm.station: alarm for alarm in session.exec(wanted).all()}
    found = []
    for station in stations.of(session, waiting):
        # Who has another package keeps it, and judges.
        without = {name: each for name, each in waiting[station.address].items() if name not in station.assigned}
        alarm = last.get(station.address)
        if without and not (alarm is not None and _is_told(alarm, without, in_step)):
            found.append((station, without))
    return found


def _is_told(alarm: Alarm, without: Mapping[str, str], in_step: str) -> bool:
    if alarm.state is AlarmState.CLOSED and alarm.closed_by == in_step:
        return False
    told, withdrawn = alarm.evidence.get(_WITHOUT, {}), alarm.evidence.get(_WITHDRAWN, {})
    # That it was left without one by a rollout is told by that alarm.
    return all(product in told and withdrawn.get(product, each) == each for product, each in without.items())


def _signal(station: Station, packages: Mapping[str, str], kept: Mapping[str, object]) -> Signal:
    named = ", ".join(f"{product} (package {each[:12]})" for product, each in sorted(packages.items()))
    products = ", ".join(sorted(packages))
    return Signal(
        kind=_KIND,
        station=station.address,
        is_simulated=station.is_simulated,
        message=(
            f"No package judges {products} at {station.address}: it waits for the champion, which was withdrawn and is "
            f"given to nobody: {named}."
        ),
        remedy=(
            f"Its parts of {products} go to the fail-safe output. Roll out a package of the product that is published; "
            "the alarm closes once one judges there."
        ),
        evidence={_WITHOUT: {**kept, **packages}, _WITHDRAWN: dict(packages), "said": [f"waits for {named}"]},
    )
