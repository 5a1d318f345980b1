# SPDX-License-Identifier: Apache-2.0
"""What a rollout wants of one station, as its next assignment: in shadow, active, or back to what it ran before.

Writes rows in the caller's transaction; publishes nothing. Called by `services/rollouts.py`.
"""

from datetime import datetime

from sqlmodel import Session, select

from central.domain.rollout_shapes import Action, Assign, Shadow
from central.services.assigning import Assigner
from central.store.learning_tables import Assignment, RolloutRow
from central.store.tables import Station
from contracts.commands import ChallengerAssignment


def carry_out(session: Session, assigner: Assigner, row: RolloutRow, action: Action, now: datetime) -> None:
    """Write the station's next assignment, and with the first one what it ran before."""
    station = session.exec(select(Station).where(Station.address == action.station).with_for_update()).one()
    packages = dict(station.assigned)
    # What it ran before this rollout; an order after that in shadow changes nothing of it.
    known = row.before.get(station.address)
    before = known["package_id"] if known is not None else packages.get(row.product)
    if isinstance(action, Shadow):
        challengers = {row.product: ChallengerAssignment(package_id=row.package_id)}
        why = f"rollout {row.id} in shadow"
        number = assigner.assign(session, station, packages, why, now, challengers=challengers)
    elif isinstance(action, Assign):
        packages[row.product] = row.package_id
        number = assigner.assign(session, station, packages, f"rollout {row.id}", now)
    else:
        packages.pop(row.product, None)
        if before is not None:
            packages[row.product] = before
        # Going back waits for no maintenance window.
        assigner.assign(session, station, packages, f"rollout {row.id} taken back", now, urgent=(row.product,))
        return
    assignment = session.exec(
        select(Assignment).where(Assignment.station_id == station.id, Assignment.number == number)
    ).one()
    touched = {"package_id": before, "number": number, "after_inspection_id": assignment.after_inspection_id}
    row.before = {**row.before, station.address: touched}
