# SPDX-License-Identifier: Apache-2.0
"""Stations that came later, or were away, get the champions: what they should run now, never what they missed.

Finds who is behind and why not to touch somebody; signs and publishes nothing itself (`services/rollouts/assigning.py`
does). Ticked by `services/rollouts/moving.py`, which alone knows when a rollout of the product is open.
"""

import logging
from collections.abc import Callable, Sequence
from datetime import datetime

from sqlmodel import Session, col, select

from central.domain.rollout_shapes import Progress
from central.services.rollouts.assigning import CATCHING_UP, Assigner, Order, challengers_of
from central.services.rollouts.assignment_watch import IN_STEP
from central.services.rollouts.facts import heard_stations
from central.services.rollouts.planning import held
from central.services.rollouts.reach import not_taken
from central.services.rollouts.state import state_of
from central.services.rollouts.waiting_without import tell_waiting
from central.store.database import Database
from central.store.learning_tables import OPEN_ROLLOUTS, Assignment, Champion, RolloutRow
from central.store.repositories import stations
from central.store.tables import Station
from contracts.vocabulary import RolloutState

_LOG = logging.getLogger(__name__)

# Where stations stand whom a rollout to some may finish without.
_NOT_GIVEN = frozenset({Progress.AWAY, Progress.SHADOW, Progress.WAITING})


def catch_up(
    database: Database,
    assigner: Assigner,
    lost_after_s: float,
    now: datetime,
    *,
    is_withdrawn: Callable[[str], bool],
    said_gone: set[str],
) -> None:
    """Not while a rollout of the product is open, not in a freeze, not outside the product's windows or its target.

    A station without any package of the product gets the champion all the same, unless an open rollout holds it.

    A champion that was withdrawn is given to nobody: stations keep what they have, or have none, which is an alarm.
    `said_gone`: those of which that was logged; what it holds is kept up to date.
    """
    with database.read() as session:
        due = _behind(session, lost_after_s, now, is_withdrawn)
    gone = {each for each in _all_of(due) if is_withdrawn(each)}
    if gone - said_gone:
        _LOG.warning("champions were withdrawn and are given to nobody packages=%s", sorted(gone))
    said_gone &= gone
    said_gone |= gone
    if gone:
        tell_waiting(database, _without(due, _all_of(due) - gone), IN_STEP, now)
        due = _without(due, gone)
    if not due:
        return
    with database.begin() as session:
        behind = _without(_behind(session, lost_after_s, now, is_withdrawn), gone)
        locked = stations.locked(session, behind)
        orders = [
            Order(locked[address], {**locked[address].assigned, **packages}, CATCHING_UP, about=tuple(packages))
            for address, packages in behind.items()
        ]
        assigner.assign_all(session, orders, now)


def _all_of(behind: dict[str, dict[str, str]]) -> set[str]:
    return {each for packages in behind.values() for each in packages.values()}


def _without(behind: dict[str, dict[str, str]], gone: set[str]) -> dict[str, dict[str, str]]:
    kept = {
        name: {key: each for key, each in packages.items() if each not in gone} for name, packages in behind.items()
    }
    return {name: packages for name, packages in kept.items() if packages}


def _behind(
    session: Session, lost_after_s: float, now: datetime, is_withdrawn: Callable[[str], bool]
) -> dict[str, dict[str, str]]:
    under_way = {
        (row.product, row.is_simulated): _its_own(row)
        for row in session.exec(select(RolloutRow).where(col(RolloutRow.state).in_(OPEN_ROLLOUTS))).all()
    }
    behind: dict[str, dict[str, str]] = {}
    for champion in session.exec(select(Champion)).all():
        own = under_way.get((champion.product, champion.is_simulated))
        outdated = {None, *_given_before(session, champion)} - {champion.package_id}
        on_purpose = _given_since(session, champion)
        wanted = {
            address: runs
            for address, assigned in stations.assigned_of(session, is_simulated=champion.is_simulated)
            if (runs := assigned.get(champion.product)) in outdated and (address, runs) not in on_purpose
        }
        missed = _missed(session, champion, is_withdrawn) if own is None else {}
        if own is not None:
            # The rollout may last for days, and gives nothing to who came after it began: every part would be held.
            wanted = {address: runs for address, runs in wanted.items() if runs is None and address not in own}
        wanted |= dict.fromkeys(missed, champion.package_id)
        if not wanted:
            # As nearly always: whether all the others are heard need not be known.
            continue
        heard = {
            station.address
            for station in heard_stations(session, lost_after_s, now, is_simulated=champion.is_simulated)
        }
        # A policy's target says for whom the champion is; whoever came later is asked the same.
        left_out = (not_taken(session, champion.product, wanted) - missed.keys()) | _refusing(session, champion)
        wanted = {address: runs for address, runs in wanted.items() if address in heard and address not in left_out}
        # A station without any package lets nothing pass: giving it one disturbs nobody.
        untouchable = held(session, champion.product, [name for name, runs in wanted.items() if runs], None, now)
        for address in wanted.keys() - untouchable.keys():
            behind.setdefault(address, {})[champion.product] = missed.get(address, champion.package_id)
    return behind


def _its_own(row: RolloutRow) -> set[str]:
    """Stations that a rollout gives its package to, in time, or has given it."""
    planned = {item.station for wave in state_of(row).waves for item in wave.stations}
    return planned | set(row.asked_stations) | row.before.keys()


def _given_before(session: Session, champion: Champion) -> set[str | None]:
    """Packages of all rollouts and those that they would replace: a station may have been away through several.

    Also those of rollouts to some stations, which were never champion.
    """
    pairs = session.exec(
        select(RolloutRow.package_id, RolloutRow.previous_package_id)
        .where(RolloutRow.product == champion.product, RolloutRow.is_simulated == champion.is_simulated)
        .distinct()
    ).all()
    return {package_id for pair in pairs for package_id in pair}


def _refusing(session: Session, champion: Champion) -> set[str]:
    """Stations that were sent back to the champion and refused it: they are not asked the same again and again."""
    found = session.exec(
        select(RolloutRow.before).where(
            RolloutRow.product == champion.product, RolloutRow.is_simulated == champion.is_simulated
        )
    ).all()
    return {
        address
        for before in found
        for address, noted in before.items()
        if champion.package_id in noted.get("refused", [])
    }


def _given_since(session: Session, champion: Champion) -> set[tuple[str, str]]:
    """Station and package of rollouts to some stations under this champion: a person's wish, not a missed rollout."""
    return {(address, row.package_id) for row in _to_some(session, champion) for address in row.asked_stations}


def _to_some(session: Session, champion: Champion) -> Sequence[RolloutRow]:
    """Rollouts that finished under this champion and left it in its place, oldest first."""
    return session.exec(
        select(RolloutRow)
        .where(
            RolloutRow.product == champion.product,
            RolloutRow.is_simulated == champion.is_simulated,
            RolloutRow.state == RolloutState.FINISHED,
            col(RolloutRow.finished_at) > champion.since,
        )
        .order_by(col(RolloutRow.id))
    ).all()


def _missed(session: Session, champion: Champion, is_withdrawn: Callable[[str], bool]) -> dict[str, str]:
    """Stations that a rollout to some finished without, before they were given its package: what they should run.

    Out of reach, still in shadow, or their order was called back: their wave did not wait for them. It is theirs by a
    person's wish, unless it was withdrawn: then the champion alone is.
    """
    found: dict[str, str] = {}
    for row in _to_some(session, champion):
        if not any(f'"{each}"' in row.machine for each in _NOT_GIVEN):
            continue
        steps = [item for wave in state_of(row).waves for item in wave.stations if item.progress in _NOT_GIVEN]
        later = select(RolloutRow.before).where(
            RolloutRow.product == row.product,
            RolloutRow.is_simulated == row.is_simulated,
            col(RolloutRow.id) > (row.id or 0),
        )
        touched = {address for before in session.exec(later).all() for address in before}
        for station in stations.of(session, {item.station for item in steps} - touched):
            if station.assigned.get(row.product) == row.package_id:
                continue
            if not is_withdrawn(row.package_id):
                found[station.address] = row.package_id
            elif _has_challenger(session, station, row.product):
                found[station.address] = champion.package_id
    return found


def _has_challenger(session: Session, station: Station, product: str) -> bool:
    """Whether the assignment in force lets a package of the product judge in shadow."""
    wanted = select(Assignment).where(
        Assignment.station_id == station.id, Assignment.number == station.assignment_number
    )
    row = session.exec(wanted).first()
    return row is not None and product in challengers_of(row)
