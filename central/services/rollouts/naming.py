# SPDX-License-Identifier: Apache-2.0
"""What a plan's target names and a rollout of the product will never reach: mistyped, or of another product.

Reads rows; refuses and says, moves nothing. Called by `services/rollouts/moving.py` when a plan is asked for or begun,
and by the route that sets a product's policy.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from sqlmodel import Session, col, select

from central.domain.naming import some_of
from central.domain.rollout_plan import RolloutPlan, TargetFilter, choose_waves
from central.errors import ConflictError, NotFoundError
from central.services.rollouts.facts import JUDGES_WITHIN, stations_for
from central.services.rollouts.planning import plan_of
from central.services.rollouts.refusals import plan_takes_nobody
from central.store.learning_tables import RolloutRow
from central.store.repositories import known
from central.store.repositories import stations as station_rows
from central.store.tables import RollupMinute, Station

_MOST_SAID: Final = 5
_ANYBODY: Final = ("site/line/station",)


def require_heard_of(session: Session, target: TargetFilter) -> None:
    """Sites, lines and stations that a target names are there.

    Raises:
        NotFoundError: some were never heard of.
    """
    strange = _never_heard_of(session, target)
    if strange:
        places = some_of([station.address for station in station_rows.list_all(session)]) or "none yet"
        raise NotFoundError(
            f"plan.target: {'; '.join(strange[:_MOST_SAID])}; known stations: {places}. A plan that is set before its "
            "stations are there says is_ahead: true"
        )


def require_reach(session: Session, product: str, plan: RolloutPlan, *, is_ahead: bool) -> None:
    """A policy's plan takes some station that there is; one that is set ahead, some that may come.

    Labels are left out: a value of one names a kind, which may have no station at the moment.

    Raises:
        ConflictError: its waves or its target take nobody.
    """
    everybody = [station.address for station in station_rows.list_all(session)]
    meant = everybody or _ANYBODY
    if everybody and not is_ahead:
        places = replace(plan.target, labels={})
        meant = [name for name in everybody if places.takes(name, {})]
    if not choose_waves(meant, plan.waves):
        raise ConflictError(plan_takes_nobody(product, everybody))


def never_reached(session: Session, row: RolloutRow, lost_after_s: float, now: datetime) -> list[str]:
    """What the plan's target names in vain, a few in words. Stations named one by one are taken whatever they judge.

    A station that is only silent is not among them: it catches up when it is heard again. Nor is a value of a label: it
    names a kind, which may have no station at the moment.
    """
    target = plan_of(row).target
    found = _never_heard_of(session, target)
    taken = set(stations_for(session, row, lost_after_s, now)) if target.stations else set()
    left = [name for name in target.stations if name not in taken]
    rows = station_rows.of(session, left)
    judged = _products(session, [station.id or 0 for station in rows], now)
    for station in rows:
        others = judged.get(station.id or 0, set())
        if station.is_simulated != row.is_simulated:
            kinds = ("simulated", "real") if station.is_simulated else ("real", "simulated")
            found.append(f"station {station.address} makes {kinds[0]} parts, the package is for {kinds[1]} ones")
        elif others and row.product not in others:
            found.append(f"station {station.address} judges {some_of(sorted(others))}")
    more = len(found) - _MOST_SAID
    return found if more <= 0 else [*found[:_MOST_SAID], f"and {more:,} more"]


def _never_heard_of(session: Session, target: TargetFilter) -> list[str]:
    if not (target.sites or target.lines or target.stations):
        return []
    places = {"site": known.sites(session), "line": known.lines(session), "station": _addresses(session)}
    named = {"site": target.sites, "line": target.lines, "station": target.stations}
    return [
        f"{kind} {name} was never heard of"
        for kind, names in named.items()
        for name in _missing(names, set(places[kind]))
    ]


def _addresses(session: Session) -> Sequence[str]:
    return session.exec(select(Station.address)).all()


def _missing(names: Iterable[str], heard: set[str]) -> list[str]:
    return [name for name in dict.fromkeys(names) if name not in heard]


def _products(session: Session, station_ids: Sequence[int], now: datetime) -> dict[int, set[str]]:
    """What these stations judged lately, by station id."""
    if not station_ids:
        return {}
    rows = select(RollupMinute.station_id, RollupMinute.product).where(
        col(RollupMinute.minute) >= now - JUDGES_WITHIN, RollupMinute.product != ""
    )
    found: dict[int, set[str]] = {station_id: set() for station_id in station_ids}
    for station_id, product in session.exec(rows.distinct()).all():
        if station_id in found:
            found[station_id].add(product)
    return found
