# SPDX-License-Identifier: Apache-2.0
"""Orders another package where a station refuses the one that it was sent back to.

Until it takes one it judges on with what the rollout was taken back for. Each refusal is noted with the rollout, so the
station is never sent the same again, and comes to "no package" at the latest, which no station can refuse. A full disk
is left to the station, which tries again by itself. Ticked by `services/rollouts/moving.py`; raises the alarm of a
station that is left without a package.
"""

import logging
from collections.abc import Iterator
from datetime import datetime
from typing import Final

from sqlmodel import Session, col, select

from central.domain import rollout as machine
from central.domain.rollout_shapes import Progress
from central.services.rollouts.assigning import Assigner, package_status_of
from central.services.rollouts.evidence import note_step
from central.services.rollouts.lost_ways import tell_lost_ways
from central.services.rollouts.orders import back_to
from central.services.rollouts.state import state_of, text_of
from central.services.rollouts.ways_back import IsWithdrawn, WaysBack, in_lines
from central.store.database import Database
from central.store.learning_tables import OPEN_ROLLOUTS, RolloutRow
from central.store.repositories import stations
from central.store.tables import Station
from contracts.vocabulary import PackageState, RefusalReason, RolloutState

_LOG = logging.getLogger(__name__)

# Tried again by the station itself.
_RETRIED: Final = frozenset({RefusalReason.UNREACHABLE, RefusalReason.DISK})


def order_others(database: Database, assigner: Assigner, is_withdrawn: IsWithdrawn, now: datetime) -> None:
    """Look at every station that refuses a package, and send those on their way back somewhere else."""
    with database.read() as session:
        refusing = {
            (station.address, product, package_id)
            for station in stations.that_refuse(session)
            for product, package_id in _refused(station)
            if _sent_back_by(session, station, product, package_id) is not None
        }
    for address, product, package_id in sorted(refusing):
        with database.begin() as session:
            _order_another(session, assigner, (address, product, package_id), is_withdrawn, now)


def _order_another(
    session: Session, assigner: Assigner, refusal: tuple[str, str, str], is_withdrawn: IsWithdrawn, now: datetime
) -> None:
    address, product, package_id = refusal
    station = stations.locked(session, [address])[address]
    row = _sent_back_by(session, station, product, package_id)
    if row is None or (product, package_id) not in set(_refused(station)):
        # Something else was ordered meanwhile.
        return
    noted = row.before[address]
    noted = {**noted, "refused": sorted({*noted.get("refused", []), package_id})}
    row.before = {**row.before, address: noted}
    way = WaysBack(session, row, is_withdrawn).of(station)
    row.before = {**row.before, address: {**noted, "back_to": way.package_id}}
    assigner.assign_all(session, [back_to(row, station, way.package_id)], now)
    before, ways = state_of(row), {address: way}
    after = machine.with_notes(before, [f"{address} refuses package {package_id[:12]}", *in_lines(ways)], now)
    note_step(session, row.id or 0, (before, after), {}, now, gates={}, limits={}, ways=ways)
    row.machine = text_of(after)
    session.add(row)
    tell_lost_ways(session, row, ways, now)
    _LOG.error("station refuses its way back station=%s package_id=%s ordered=%s", address, package_id, way.package_id)


def _refused(station: Station) -> Iterator[tuple[str, str]]:
    """Products and packages that it was assigned last and refuses for good."""
    status = package_status_of(station)
    if status is None or status.assignment_number != station.assignment_number:
        return
    for row in status.packages:
        is_for_good = row.state is PackageState.REFUSED and row.reason not in _RETRIED
        if is_for_good and station.assigned.get(row.product) == row.package_id:
            yield row.product, row.package_id


def _sent_back_by(session: Session, station: Station, product: str, package_id: str) -> RolloutRow | None:
    """The rollout that sent the station to this package, if that is the last that it took part in."""
    wanted = select(RolloutRow).where(RolloutRow.product == product, RolloutRow.is_simulated == station.is_simulated)
    for row in session.exec(wanted.order_by(col(RolloutRow.id).desc())):
        noted = row.before.get(station.address)
        if noted is None:
            continue
        # Under an earlier version it was not noted where a station went back to.
        if noted.get("back_to", noted["package_id"]) != package_id or row.package_id == package_id:
            return None
        return row if _is_sent_back(row, station.address) else None
    return None


def _is_sent_back(row: RolloutRow, address: str) -> bool:
    if row.state in OPEN_ROLLOUTS or row.state is RolloutState.FINISHED:
        steps = (item for wave in state_of(row).waves for item in wave.stations if item.station == address)
        return any(item.progress is Progress.SET_ASIDE for item in steps)
    return True
