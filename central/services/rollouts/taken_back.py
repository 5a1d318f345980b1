# SPDX-License-Identifier: Apache-2.0
"""Whether a station that does not follow its assignment judges with a package that was taken back: the worst case.

Reads rows, says it; raises and orders nothing. Asked by `services/rollouts/assignment_watch.py`.
"""

from sqlmodel import Session, col, select

from central.store.learning_tables import Champion, RolloutRow
from central.store.tables import Inspection, Station
from contracts.reports import PackageStatus
from contracts.vocabulary import PackageState, RolloutState

_TAKEN_BACK = frozenset({RolloutState.ERROR, RolloutState.STOPPED})


def judging_taken_back(session: Session, station: Station, status: PackageStatus | None) -> list[RolloutRow]:
    """By product: the last rollout of the package that judges there, where it ended in `ERROR` or was aborted.

    The champion is none, whatever became of a rollout that only repeated it, nor is what the station is to run.
    """
    said = _said(status)
    found = []
    for product in sorted(station.assigned.keys() | said.keys()):
        package_id = said.get(product) or _judged_last(session, station, product)
        if package_id is None or package_id == station.assigned.get(product):
            continue
        champion = session.get(Champion, (product, station.is_simulated))
        row = _last_of(session, product, package_id, is_simulated=station.is_simulated)
        if row is not None and row.state in _TAKEN_BACK and (champion is None or champion.package_id != package_id):
            found.append(row)
    return found


def _said(status: PackageStatus | None) -> dict[str, str]:
    """What judges by the station's own word, by product."""
    rows = [] if status is None else status.packages
    active = {row.product: row.package_id for row in rows if row.state is PackageState.ACTIVE}
    fell_back = {
        row.product: row.judging for row in rows if row.state is PackageState.FELL_BACK and row.judging is not None
    }
    return {**active, **fell_back}


def _judged_last(session: Session, station: Station, product: str) -> str | None:
    """A station that refuses a package does not say which one judges instead: its last part does."""
    wanted = select(Inspection.package_id).where(
        Inspection.station_id == station.id, Inspection.product == product, col(Inspection.package_id).is_not(None)
    )
    return session.exec(wanted.order_by(col(Inspection.epoch).desc(), col(Inspection.sequence).desc()).limit(1)).first()


def _last_of(session: Session, product: str, package_id: str, *, is_simulated: bool) -> RolloutRow | None:
    wanted = select(RolloutRow).where(
        RolloutRow.package_id == package_id, RolloutRow.product == product, RolloutRow.is_simulated == is_simulated
    )
    return session.exec(wanted.order_by(col(RolloutRow.id).desc()).limit(1)).first()
