# SPDX-License-Identifier: Apache-2.0
"""What a rollout wants of its stations, as their next assignments: in shadow, active, or back to what they ran before.

Writes rows in the caller's transaction, for all stations of a step together; publishes nothing. Called by
`services/rollouts.py`.
"""

from collections.abc import Sequence
from datetime import datetime

from sqlmodel import Session

from central.domain.rollout_shapes import Action, Assign, Shadow
from central.services.assigning import Assigner, Order
from central.store.learning_tables import RolloutRow
from central.store.repositories import stations
from central.store.tables import Station
from contracts.commands import ChallengerAssignment


def carry_out(session: Session, assigner: Assigner, row: RolloutRow, actions: Sequence[Action], now: datetime) -> None:
    """Write the next assignment of each station, and with its first one what it ran before."""
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
    orders = [_order(row, action, locked[action.station], before[action.station]) for action in actions]
    given = assigner.assign_all(session, orders, now)
    touched = {
        action.station: {
            "package_id": before[action.station],
            "number": assignment.number,
            "after_inspection_id": assignment.after_inspection_id,
        }
        for action, assignment in zip(actions, given, strict=True)
        if isinstance(action, Shadow | Assign)
    }
    if touched:
        # One new dict for all: a JSON column is written when it is another object.
        row.before = {**row.before, **touched}


def _order(row: RolloutRow, action: Action, station: Station, before: str | None) -> Order:
    packages = dict(station.assigned)
    if isinstance(action, Shadow):
        challengers = {row.product: ChallengerAssignment(package_id=row.package_id)}
        return Order(station, packages, f"rollout {row.id} in shadow", challengers=challengers, about=(row.product,))
    if isinstance(action, Assign):
        wanted = {**packages, row.product: row.package_id}
        return Order(station, wanted, f"rollout {row.id}", about=(row.product,))
    packages.pop(row.product, None)
    if before is not None:
        packages[row.product] = before
    # Going back waits for no maintenance window.
    return Order(station, packages, f"rollout {row.id} taken back", urgent=(row.product,), about=(row.product,))
