# SPDX-License-Identifier: Apache-2.0
"""What the stations of a rollout may still go back to: withdrawn and refused packages are none of it.

Reads rows and the package repository's word, asks `domain/way_back.py`. Orders nothing: `services/rollouts/orders.py`
does, and `services/rollouts/refused_ways_back.py` where a station refuses its way back. Also asked by `keys revoke
--withdraw`.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from sqlmodel import Session, col, select

from central.domain.naming import some_of
from central.domain.way_back import WayBack, way_back
from central.errors import CentralError
from central.services.rollouts.assigning import package_status_of
from central.services.rollouts.state import state_of
from central.store.learning_tables import OPEN_ROLLOUTS, Champion, RolloutRow
from central.store.repositories import stations
from central.store.tables import Station
from contracts.vocabulary import PackageState, RolloutState

_LOG = logging.getLogger(__name__)

IsWithdrawn = Callable[[str], bool]
_WITHDRAWN: Final = "was withdrawn"
_REFUSED: Final = "is refused by the station"
_TAKEN_BACK: Final = "is the one that is taken back"
# The package of before judges while the new one is in one of these.
_NOT_YET: Final = frozenset(
    {PackageState.DOWNLOADING, PackageState.VERIFIED, PackageState.INSTALLED, PackageState.REFUSED}
)


class WaysBack:
    """Of one rollout, at one moment."""

    def __init__(self, session: Session, row: RolloutRow, is_withdrawn: IsWithdrawn) -> None:
        self._row = row
        champion = session.get(Champion, (row.product, row.is_simulated))
        self._champion = champion.package_id if champion is not None else None
        self._shown = _shown(session, row)
        known = {self._champion, *self._shown, *(touched["package_id"] for touched in row.before.values())} - {None}
        self._gone = {each: _WITHDRAWN for each in known if each is not None and _is_gone(each, is_withdrawn)}
        self._gone[row.package_id] = _TAKEN_BACK

    def of(self, station: Station) -> WayBack:
        """Where it goes. What it judges with all the same needs no fetching, so it may stay there though withdrawn."""
        noted = self._row.before.get(station.address)
        if noted is None:
            return WayBack(station.assigned.get(self._row.product))
        previous, refused = noted["package_id"], noted.get("refused", [])
        others = [each for each in (self._champion, *self._shown) if each not in (None, previous)]
        if previous == self._row.package_id and self._champion != previous and others:
            # It had a trial of the package that is taken back now, and there is another that was shown to be fit.
            is_kept = False
        else:
            is_kept = not refused and previous in self._gone
        if is_kept and self._judges_still(station, previous, int(noted["number"])):
            return WayBack(previous)
        gone = {**dict.fromkeys(refused, _REFUSED), **self._gone}
        return way_back(previous, self._champion, self._shown, gone)

    def _judges_still(self, station: Station, previous: str, number: int) -> bool:
        """Whether it surely never left the package of before. No word of it: it may have."""
        if station.assigned.get(self._row.product) == previous:
            # It had the other in shadow alone.
            return True
        status = package_status_of(station)
        if status is None or status.assignment_number < number:
            return False
        for row in status.packages:
            if (row.product, row.package_id) == (self._row.product, self._row.package_id):
                return row.state in _NOT_YET or (row.state is PackageState.FELL_BACK and row.judging == previous)
        return False


def in_lines(ways: Mapping[str, WayBack]) -> list[str]:
    """Who goes back elsewhere than to the package of before, and why, for a history."""
    return [f"{some_of(names)} {way.in_words()}" for way, names in by_way(ways).items()]


def by_way(ways: Mapping[str, WayBack]) -> dict[WayBack, list[str]]:
    """Stations that do not go back to their package of before, together where they go the same way."""
    found: dict[WayBack, list[str]] = {}
    for address, way in sorted(ways.items()):
        if way.why:
            found.setdefault(way, []).append(address)
    return found


def leads_back_to(
    session: Session, package_id: str, is_withdrawn: IsWithdrawn
) -> Iterator[tuple[RolloutRow, WayBack, Sequence[str]]]:
    """Open rollouts whose way back leads to this package: the stations, and where they would go without it."""
    for row in session.exec(select(RolloutRow).where(col(RolloutRow.state).in_(OPEN_ROLLOUTS))).all():
        names = [name for name in state_of(row).touched if _before(row, name).get("package_id") == package_id]
        if not names:
            continue
        ways = WaysBack(session, row, lambda each: each == package_id or is_withdrawn(each))
        together: dict[WayBack, list[str]] = {}
        for station in stations.of(session, names):
            together.setdefault(ways.of(station), []).append(station.address)
        for way, addresses in together.items():
            yield row, way, sorted(addresses)


def _is_gone(package_id: str, is_withdrawn: IsWithdrawn) -> bool:
    try:
        return is_withdrawn(package_id)
    except CentralError as error:
        # Going back is held up by nothing; if it was withdrawn after all the station refuses it and is told another.
        _LOG.error("whether a package was withdrawn is not known package_id=%s: %s", package_id, error)
        return False


def _before(row: RolloutRow, address: str) -> Mapping[str, Any]:
    return row.before.get(address, {})


def _shown(session: Session, row: RolloutRow) -> list[str]:
    """Packages of the product whose last ended rollout finished, newest first."""
    ended = session.exec(
        select(RolloutRow.package_id, RolloutRow.state)
        .where(
            RolloutRow.product == row.product,
            RolloutRow.is_simulated == row.is_simulated,
            col(RolloutRow.finished_at).is_not(None),
        )
        .order_by(col(RolloutRow.finished_at).desc(), col(RolloutRow.id).desc())
    ).all()
    last: dict[str, RolloutState] = {}
    for package_id, state in ended:
        last.setdefault(package_id, RolloutState(state))
    return [package_id for package_id, state in last.items() if state is RolloutState.FINISHED]
