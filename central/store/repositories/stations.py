# SPDX-License-Identifier: Apache-2.0
"""Stations: found or made by address, last status, how complete they are. Used by ingest, evidence and the API."""

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import func
from sqlmodel import Session, col, select

from central.store.tables import Station, StationEpoch
from central.store.upserts import insert_into
from contracts.ids import StationAddress
from contracts.reports import StationReported


def ensure(session: Session, addresses: Iterable[str], now: datetime) -> dict[str, int]:
    """Ids of these stations; unknown ones are made."""
    wanted = sorted(set(addresses))
    known = _ids(session, wanted)
    missing = [address for address in wanted if address not in known]
    if missing:
        rows = [
            {"address": address, "first_seen_at": now, "assigned": {}, "is_simulated": False} for address in missing
        ]
        session.connection().execute(insert_into(session, Station).on_conflict_do_nothing(), rows)
        known |= _ids(session, missing)
    return known


def find(session: Session, address: str) -> Station | None:
    """A station by its address `site/line/station`."""
    return session.exec(select(Station).where(Station.address == address)).first()


def list_all(session: Session) -> list[Station]:
    """By address."""
    return list(session.exec(select(Station).order_by(Station.address)).all())


def missing_sequences(session: Session) -> dict[int, tuple[int, int]]:
    """By station id: inspections stored, and numbers below the highest that never came."""
    counts = session.exec(
        select(
            StationEpoch.station_id,
            func.sum(StationEpoch.stored),
            func.sum(StationEpoch.highest - StationEpoch.stored - StationEpoch.quarantined),
        ).group_by(col(StationEpoch.station_id))
    ).all()
    return {station_id: (int(stored), int(missing)) for station_id, stored, missing in counts}


def keep_status(session: Session, status: StationReported, now: datetime, *, is_retained: bool = False) -> None:
    """Remember the last status. A last will says only that the link broke: the last known figures stay.

    `is_retained`: what the broker had kept, told at a (re)connect of central. It is no sign of life when it is known
    already or a goodbye: `status_at` then stays, or every reconnect would make a dead station look heard.
    """
    station = _made(session, status.station, now)
    last = StationReported.model_validate_json(station.status) if station.status else None
    is_sign_of_life = not is_retained or (status.is_connected and status != last)
    if not status.is_connected and last is not None:
        status = last.model_copy(update={"is_connected": False, "at": max(last.at, status.at)})
    station.status = status.model_dump_json(exclude_none=True)
    if is_sign_of_life:
        station.status_at = now
    station.is_simulated = status.is_simulated
    session.add(station)


def keep_package_status(session: Session, address: StationAddress, payload: str, now: datetime) -> None:
    """Remember the last package status, as JSON."""
    station = _made(session, address, now)
    station.package_status = payload
    session.add(station)


def _made(session: Session, address: StationAddress, now: datetime) -> Station:
    station_id = ensure(session, [str(address)], now)[str(address)]
    return session.exec(select(Station).where(Station.id == station_id)).one()


def _ids(session: Session, addresses: list[str]) -> dict[str, int]:
    found = session.exec(select(Station.address, Station.id).where(col(Station.address).in_(addresses))).all()
    return {address: station_id for address, station_id in found if station_id is not None}
