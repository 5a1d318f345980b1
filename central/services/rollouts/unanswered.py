# SPDX-License-Identifier: Apache-2.0
"""Stations that are heard and still do not follow their newest assignment: they say nothing of it, or never get ready.

Measured as a rollout measures its stations: `rollout.install_timeout_s` from the order or the last byte that came,
`rollout.download_timeout_s` in all; a maintenance window that they wait for is agreed on, and time in which they are
not heard is not held against them. The clock is kept in memory: a restart of central begins it anew. Raises nothing;
`services/rollouts/assignment_watch.py` does, and shall not be told of stations that an open rollout looks at.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlmodel import Session

from central.services.rollouts.assigning import package_status_of
from central.services.rollouts.facts import heard_at
from central.services.watches.silence import Hearing
from central.settings import RolloutSettings
from central.store.repositories import stations
from central.store.tables import Station
from contracts.reports import PackageProgress, PackageStatus
from contracts.vocabulary import PackageState, RefusalReason

# A station in one of these says that it is on its way.
_ON_ITS_WAY = frozenset({PackageState.DOWNLOADING, PackageState.VERIFIED, PackageState.INSTALLED})


@dataclass(frozen=True)
class Late:
    """Why a station counts as late, in a line that stays the same while it does. `since`: of its order, or a byte.

    `is_unanswered`: its last word is on an earlier assignment.
    """

    line: str
    since: datetime
    is_unanswered: bool


@dataclass(frozen=True)
class _Waited:
    """Of one station under one assignment: since when it is waited for, and its bytes when they last changed."""

    number: int
    first: datetime
    moved_at: datetime
    bytes_done: tuple[int | None, ...] = ()


class LateAnswers:
    """See the module.

    Args:
        settings: the two limits.
        lost_after_s: who is silent for longer is not heard.
        can_hear: whether the broker is connected right now.
    """

    def __init__(self, settings: RolloutSettings, lost_after_s: float, can_hear: Callable[[], bool]) -> None:
        self._still_after = timedelta(seconds=settings.install_timeout_s)
        self._late_after = timedelta(seconds=max(settings.download_timeout_s, settings.install_timeout_s))
        self._lost_after = timedelta(seconds=lost_after_s)
        self._hearing = Hearing(can_hear)
        self._waited: dict[str, _Waited] = {}

    def look(self, session: Session, now: datetime) -> dict[str, tuple[Station, Late]]:
        """Those that are late, by address. Asking twice at the same moment gives the same."""
        hears_since = self._hearing.since(now)
        waiting = [] if hears_since is None else [*stations.that_lag(session), *stations.on_their_way(session)]
        found, waited = dict[str, tuple[Station, Late]](), dict[str, _Waited]()
        for station in waiting:
            status, heard = package_status_of(station), heard_at(station)
            number = station.assignment_number
            if number is None or hears_since is None or heard is None or heard < now - self._lost_after:
                continue
            is_unanswered = status is None or status.assignment_number != number
            rows = [] if status is None or is_unanswered else _unfinished(station, status)
            if not (rows or is_unanswered) or any(row.waits_until and row.waits_until > now for row in rows):
                continue
            step = self._step(station.address, number, tuple(row.bytes_done for row in rows), now)
            waited[station.address] = step
            still, whole = (min(now, heard) - max(at, hears_since) for at in (step.moved_at, step.first))
            if still > self._still_after or whole > self._late_after:
                line = _unanswered(number, status) if is_unanswered else _unready(rows[0])
                since = step.moved_at if still > self._still_after else step.first
                found[station.address] = station, Late(line, since, is_unanswered)
        self._waited = waited
        return found

    def _step(self, address: str, number: int, bytes_done: tuple[int | None, ...], now: datetime) -> _Waited:
        known = self._waited.get(address)
        if known is None or known.number != number:
            return _Waited(number, now, now, bytes_done)
        if known.bytes_done != bytes_done and any(bytes_done):
            return replace(known, moved_at=now, bytes_done=bytes_done)
        return known


def _unfinished(station: Station, status: PackageStatus) -> list[PackageProgress]:
    """Of its assigned packages, those that it is still bringing; what it refuses for good is a word of another kind."""
    return [
        row
        for row in status.packages
        if station.assigned.get(row.product) == row.package_id
        and (row.state in _ON_ITS_WAY or row.reason is RefusalReason.UNREACHABLE)
    ]


def _unanswered(number: int, status: PackageStatus | None) -> str:
    start = f"it is heard and has not answered assignment {number}"
    if status is None:
        return f"{start}; it never said anything of its packages"
    word = f"{status.refused or ''} {status.detail}".strip()
    return f"{start}; its last word is on assignment {status.assignment_number}{f': {word}' if word else ''}"


def _unready(row: PackageProgress) -> str:
    word = f"{row.state} {row.reason or ''}".strip()
    return f"it does not get ready with package {row.package_id[:12]} of {row.product}: {word}"
