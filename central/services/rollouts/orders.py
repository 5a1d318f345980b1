# SPDX-License-Identifier: Apache-2.0
"""What a rollout wants of its stations, as their next assignments: in shadow, active, or back to what they ran before.

Writes rows in the caller's transaction, for all stations of a step together; publishes nothing. Where a station goes
back to is decided here and now, not when it was assigned. Called by `services/rollouts/moving.py`.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlmodel import Session

from central.domain.rollout_shapes import Action, Assign, CallBack, RollBack, Shadow
from central.domain.way_back import WayBack
from central.services.rollouts.assigning import Assigner, Order
from central.services.rollouts.ways_back import IsWithdrawn, WaysBack
from central.store.learning_tables import RolloutRow
from central.store.repositories import stations
from central.store.tables import Station
from contracts.commands import ChallengerAssignment


def carry_out(
    session: Session,
    assigner: Assigner,
    row: RolloutRow,
    actions: Sequence[Action],
    now: datetime,
    *,
    is_withdrawn: IsWithdrawn,
) -> dict[str, WayBack]:
    """Write the next assignment of each station, and with its first one what it ran before.

    Returns:
        Of each station that goes back, where to.
    """
    if not actions:
        return {}
    locked = stations.locked(session, [action.station for action in actions])
    missing = sorted({action.station for action in actions} - locked.keys())
    if missing:
        msg = f"rollout {row.id}: expected stations that are stored, {', '.join(missing)} are not"
        raise LookupError(msg)
    # What each ran before this rollout; an order after that in shadow changes nothing of it.
    before = {
        address: row.before[address]["package_id"] if address in row.before else station.assigned.get(row.product)
        for address, station in locked.items()
    }
    backwards = [locked[action.station] for action in actions if isinstance(action, RollBack)]
    possible = WaysBack(session, row, is_withdrawn) if backwards else None
    ways = {station.address: possible.of(station) for station in backwards} if possible is not None else {}
    orders = [_order(row, action, locked[action.station], ways, before) for action in actions]
    given = assigner.assign_all(session, orders, now)
    noted = {
        action.station: {
            "package_id": before[action.station],
            "number": assignment.number,
            "after_inspection_id": assignment.after_inspection_id,
            "exposed_after": _exposed_after(row, action.station, assignment.after_inspection_id),
        }
        for action, assignment in zip(actions, given, strict=True)
        if isinstance(action, Shadow | Assign)
    }
    noted |= {name: {**row.before[name], "back_to": way.package_id} for name, way in ways.items() if name in row.before}
    if noted:
        # One new dict for all: a JSON column is written when it is another object.
        row.before = {**row.before, **noted}
    return ways


def _exposed_after(row: RolloutRow, station: str, newest: int) -> int:
    """From where on its parts may be this package's: its first order, though it was called back and given again."""
    noted = row.before.get(station, {})
    return min(newest, int(noted.get("exposed_after", noted.get("after_inspection_id", newest))))


def back_to(row: RolloutRow, station: Station, package_id: str | None, why: str = "taken back") -> Order:
    """The order that takes the rollout's package from a station again."""
    packages = dict(station.assigned)
    packages.pop(row.product, None)
    if package_id is not None:
        packages[row.product] = package_id
    # Going back waits for no maintenance window.
    return Order(station, packages, f"rollout {row.id} {why}", urgent=(row.product,), about=(row.product,))


def _order(
    row: RolloutRow,
    action: Action,
    station: Station,
    ways: Mapping[str, WayBack],
    before: Mapping[str, str | None],
) -> Order:
    packages = dict(station.assigned)
    if isinstance(action, Shadow):
        challengers = {row.product: ChallengerAssignment(package_id=row.package_id)}
        return Order(station, packages, f"rollout {row.id} in shadow", challengers=challengers, about=(row.product,))
    if isinstance(action, Assign):
        wanted = {**packages, row.product: row.package_id}
        return Order(station, wanted, f"rollout {row.id}", about=(row.product,))
    if isinstance(action, CallBack):
        # It never left it, as far as anybody heard: so it may stay there though it was withdrawn.
        return back_to(row, station, before[station.address], "called back")
    return back_to(row, station, ways[station.address].package_id)
