# SPDX-License-Identifier: Apache-2.0
"""Stations: found or made by address, last status, how complete they are. Used by ingest, evidence and the API."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import String, bindparam, cast, func, literal, or_, update
from sqlmodel import Session, col, select

from central.store.chunks import in_chunks
from central.store.repositories.station_words import status_in
from central.store.tables import Station, StationEpoch, columns_of
from central.store.upserts import insert_into
from contracts.ids import StationAddress
from contracts.reports import StationReported


def ensure(session: Session, addresses: Iterable[str], now: datetime) -> dict[str, int]:
    """Ids of these stations; unknown ones are made."""
    wanted = sorted(set(addresses))
    if not wanted:
        return {}
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


def of(session: Session, addresses: Iterable[str]) -> list[Station]:
    """Those of these stations that are known."""
    found: list[Station] = []
    for some in in_chunks(sorted(set(addresses))):
        found += session.exec(select(Station).where(col(Station.address).in_(some))).all()
    return found


def locked(session: Session, addresses: Iterable[str]) -> dict[str, Station]:
    """These stations, by address, for writing; in one order, so that two who write to many do not deadlock."""
    found: dict[str, Station] = {}
    for some in in_chunks(sorted(set(addresses))):
        wanted = select(Station).where(col(Station.address).in_(some)).order_by(col(Station.id)).with_for_update()
        found |= {station.address: station for station in session.exec(wanted).all()}
    return found


def list_all(session: Session) -> list[Station]:
    """By address."""
    return list(session.exec(select(Station).order_by(Station.address)).all())


def that_refuse(session: Session) -> list[Station]:
    """Stations whose last package status has a package that they refuse. Of a fleet nearly none."""
    return _whose_word_has(session, '"REFUSED"')


def that_differ(session: Session) -> list[Station]:
    """Stations that refuse an assignment or a package, or fell back by themselves."""
    return _whose_word_has(session, '"REFUSED"', '"FELL_BACK"', '"refused":"')


def on_their_way(session: Session) -> list[Station]:
    """Stations that are bringing a package, or cannot reach one."""
    return _whose_word_has(session, '"DOWNLOADING"', '"VERIFIED"', '"INSTALLED"', '"UNREACHABLE"')


def that_lag(session: Session) -> list[Station]:
    """Stations whose last package status does not name the number of their assignment in force, by address.

    Looked for in the database; a number that is written otherwise there counts as lagging, and is read by the caller.
    """
    number = literal('"assignment_number":') + cast(col(Station.assignment_number), String) + ","
    status = func.coalesce(col(Station.package_status), "")
    wanted = select(Station).where(col(Station.assignment_number).is_not(None), ~status.contains(number))
    return list(session.exec(wanted.order_by(Station.address)).all())


def _whose_word_has(session: Session, *texts: str) -> list[Station]:
    """By address. The texts are looked for in the database: to read every status of a fleet costs too much."""
    said = or_(*(col(Station.package_status).contains(text, autoescape=True) for text in texts))
    return list(session.exec(select(Station).where(said).order_by(Station.address)).all())


def assigned_of(session: Session, *, is_simulated: bool) -> list[tuple[str, dict[str, str]]]:
    """Address of each station of a kind, with what it should run: product → package id."""
    wanted = select(Station.address, Station.assigned).where(Station.is_simulated == is_simulated)
    return [(address, dict(assigned)) for address, assigned in session.exec(wanted.order_by(Station.address)).all()]


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
    """One of `keep_statuses`."""
    keep_statuses(session, [(status, is_retained)], now)


def keep_statuses(session: Session, said: Sequence[tuple[StationReported, bool]], now: datetime) -> None:
    """Remember the last status of each station. A last will says only that the link broke: the last figures stay.

    With each whether the broker had kept it, told at a (re)connect of central. That is no sign of life when it is known
    already or a goodbye: `status_at` then stays, or every reconnect would make a dead station look heard.
    """
    ids = ensure(session, (str(status.station) for status, _ in said), now)
    # A heartbeat, which nearly all are, replaces what was known whatever that is.
    asked = [ids[str(status.station)] for status, is_retained in said if is_retained or not status.is_connected]
    known = _statuses(session, asked)
    alive, silent = list[dict[str, Any]](), list[dict[str, Any]]()
    for status, is_retained in said:
        station_id = ids[str(status.station)]
        last = known.get(station_id)
        is_sign_of_life = not is_retained or (status.is_connected and status != last)
        kept = status
        if not status.is_connected and last is not None:
            kept = last.model_copy(update={"is_connected": False, "at": max(last.at, status.at)})
        row = {
            "of_station": station_id,
            "said": kept.model_dump_json(exclude_none=True),
            "simulated": kept.is_simulated,
        }
        (alive if is_sign_of_life else silent).append(row)
    changed: dict[str, Any] = {"status": bindparam("said"), "is_simulated": bindparam("simulated")}
    _update(session, alive, {**changed, "status_at": now})
    _update(session, silent, changed)


def keep_package_statuses(session: Session, said: Mapping[StationAddress, str], now: datetime) -> None:
    """Remember the last package status of each station, as JSON."""
    ids = ensure(session, (str(address) for address in said), now)
    rows = [{"of_station": ids[str(address)], "said": payload} for address, payload in said.items()]
    _update(session, rows, {"package_status": bindparam("said")})


def beyond_given(session: Session, named: Mapping[str, int]) -> dict[str, int]:
    """Of these stations and the numbers that they name, those that nobody gave them; with what we gave last."""
    wanted = select(Station.address, Station.assignment_number)
    given = {
        address: number or 0
        for some in in_chunks(sorted(named))
        for address, number in session.exec(wanted.where(col(Station.address).in_(some))).all()
    }
    return {address: number for address, number in given.items() if named[address] > number}


def keep_package_status(session: Session, address: StationAddress, payload: str, now: datetime) -> None:
    """One of `keep_package_statuses`."""
    keep_package_statuses(session, {address: payload}, now)


def _update(session: Session, rows: Sequence[dict[str, Any]], values: dict[str, Any]) -> None:
    """One statement for many stations, in the order of their numbers: writers beside each other must not deadlock."""
    if not rows:
        return
    table = columns_of(Station)
    statement = update(table).where(table.c.id == bindparam("of_station")).values(values)
    session.connection().execute(statement, sorted(rows, key=lambda row: row["of_station"]))


def _statuses(session: Session, station_ids: Sequence[int]) -> dict[int, StationReported]:
    if not station_ids:
        return {}
    found = session.exec(select(Station.id, Station.status).where(col(Station.id).in_(station_ids))).all()
    read = {station_id: status_in(status) for station_id, status in found if station_id is not None}
    return {station_id: status for station_id, status in read.items() if status is not None}


def _ids(session: Session, addresses: list[str]) -> dict[str, int]:
    found = session.exec(select(Station.address, Station.id).where(col(Station.address).in_(addresses))).all()
    return {address: station_id for address, station_id in found if station_id is not None}
