# SPDX-License-Identifier: Apache-2.0
"""What is known of each station in a rollout: its word on the package, its parts, its own past.

Reads rows, gives `Seen`; judges nothing (`domain/rollout_conditions.py` does). Called by `services/rollouts/moving.py`
and by the rollout routes, so that what is shown is what was decided on.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from pydantic import BaseModel
from sqlmodel import Session, select

from central.domain.rollout_conditions import Seen
from central.services.rollouts.assigning import package_status_of
from central.services.rollouts.counts import PartBook, PartCounts, Touched
from central.services.watches.watching import EscapeEvidence, escape_evidence, share_of
from central.store.learning_tables import Champion, RolloutRow
from central.store.tables import RollupMinute, Station
from contracts.reports import PackageProgress, PackageStatus
from contracts.vocabulary import PackageState, RefusalReason

# Audits that say how many parts the new package will rightly divert; fewer say too little to excuse anything.
_RECENT_AUDITS: Final = 100
_LEAST_AUDITS: Final = 20
JUDGES_WITHIN: Final = timedelta(hours=24)
# No station can say these of an assignment whose number it trusts: whatever came, it was not the one in force.
ANSWERS_NOTHING: Final = (
    RefusalReason.SIGNATURE,
    RefusalReason.ROLLBACK,
    RefusalReason.TOO_LARGE,
    RefusalReason.WRONG_STATION,
)


class _Link(BaseModel):
    """Of a station's status, all that is asked of each station at each look."""

    is_connected: bool


def seen_of_all(
    session: Session, rollout: RolloutRow, stations: Sequence[Station], extra_high: float, book: PartBook
) -> dict[str, Seen]:
    """Facts of these touched stations, by address. `book`: the counts of this rollout."""
    touched = {station.address: touched_of(rollout, station) for station in stations}
    new, past = book.new(session, rollout, touched), book.past(session, rollout, touched)
    return {
        station.address: _seen_of(rollout, station, extra_high, new[station.address], past[station.address])
        for station in stations
    }


def touched_of(rollout: RolloutRow, station: Station) -> Touched:
    """What the rollout noted of a station that it touched."""
    noted = rollout.before[station.address]
    return Touched(station.id or 0, noted["package_id"], int(noted["after_inspection_id"]))


def _seen_of(rollout: RolloutRow, station: Station, extra_high: float, new: PartCounts, past: PartCounts) -> Seen:
    status = package_status_of(station)
    if status is not None and status.assignment_number > (station.assignment_number or 0):
        # Nobody gave it that number: what it says of it proves nothing of ours.
        status = None
    state, refusal = word_of(status, rollout, int(rollout.before[station.address]["number"]))
    row = _row_of(status, rollout) if state is PackageState.DOWNLOADING else None
    return Seen(
        package_state=state,
        refusal=refusal,
        heard_at=heard_at(station),
        judged=new.judged,
        diverted=new.diverted,
        no_decision=new.no_decision,
        past_judged=past.judged,
        past_diverted=past.diverted,
        extra_high=extra_high,
        waits_until=row.waits_until if row is not None else None,
        bytes_done=row.bytes_done if row is not None else None,
    )


def word_of(status: PackageStatus | None, rollout: RolloutRow, number: int) -> tuple[PackageState | None, str | None]:
    """The station's state of the package under this assignment (or a later one), and its refusal, if it is one.

    A status that answers an earlier assignment says nothing. UNREACHABLE is retried by the station: no refusal yet.
    Nor is what a station says of a message that was no assignment of its own, under the number that it has.
    """
    if status is None or status.assignment_number < number:
        return None, None
    is_answer = status.refused is not None and status.refused not in ANSWERS_NOTHING
    if is_answer and status.assignment_number == number:
        return None, f"assignment {number}: {status.refused} {status.detail}".strip()
    for progress in status.packages:
        if progress.product == rollout.product and progress.package_id == rollout.package_id:
            return _state_of(progress)
    return None, None


def _row_of(status: PackageStatus | None, rollout: RolloutRow) -> PackageProgress | None:
    """What the station says of the rollout's package."""
    rows = status.packages if status is not None else []
    return next((row for row in rows if row.package_id == rollout.package_id), None)


def rightly_diverted(session: Session, rollout: RolloutRow) -> float:
    """Upper bound of the share of accepted parts that recent audits found defective under the champion."""
    champion = session.get(Champion, (rollout.product, rollout.is_simulated))
    if champion is None:
        return 0.0
    parts = escape_evidence(session, champion).parts[-_RECENT_AUDITS:]
    return share_of(EscapeEvidence(parts)).high if len(parts) >= _LEAST_AUDITS else 0.0


def heard_at(station: Station) -> datetime | None:
    """When anything came from the station. A last will is not a word of the station's."""
    is_connected = bool(station.status) and _Link.model_validate_json(station.status or "").is_connected
    said_at = station.status_at if is_connected else None
    return max((at for at in (said_at, station.last_report_at) if at is not None), default=None)


def stations_for(session: Session, rollout: RolloutRow, lost_after_s: float, now: datetime) -> list[str]:
    """Who gets the package: the stations asked for; else those heard of that judge the product; else all heard of.

    Stations that are silent now are left out: they catch up when they are heard again.
    """
    if rollout.asked_stations:
        return list(rollout.asked_stations)
    heard = heard_stations(session, lost_after_s, now, is_simulated=rollout.is_simulated)
    judging = set(
        session.exec(
            select(RollupMinute.station_id)
            .where(
                RollupMinute.product == rollout.product,
                RollupMinute.is_simulated == rollout.is_simulated,
                RollupMinute.minute >= now - JUDGES_WITHIN,
            )
            .distinct()
        ).all()
    )
    chosen = [station.address for station in heard if station.id in judging]
    return chosen or [station.address for station in heard]


def heard_stations(session: Session, lost_after_s: float, now: datetime, *, is_simulated: bool) -> list[Station]:
    """Stations of one kind that are there, by address."""
    known = session.exec(select(Station).where(Station.is_simulated == is_simulated).order_by(Station.address)).all()
    limit = now - timedelta(seconds=lost_after_s)
    return [station for station in known if (at := heard_at(station)) is not None and at >= limit]


def _state_of(progress: PackageProgress) -> tuple[PackageState | None, str | None]:
    if progress.state is PackageState.FELL_BACK:
        return progress.state, f"it erred and the station fell back: {progress.detail}"
    if progress.state is not PackageState.REFUSED:
        return progress.state, None
    if progress.reason is RefusalReason.UNREACHABLE:
        return PackageState.DOWNLOADING, None
    return progress.state, f"{progress.reason or 'no reason given'} {progress.detail}".strip()
