# SPDX-License-Identifier: Apache-2.0
"""Assignments of stations: numbered, signed, written down, then published from the rows.

An assignment is the whole desired state of one station. Chooses no package: rollouts and catch-up do. Called by
`services/rollouts.py`.

The row is written in the caller's transaction; publishing reads rows, so a kill in between only delays the message.
Everything in force is published again after each connect, because a broker may forget what it retained.
"""

import base64
import json
import logging
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Final

from securesystemslib.signer import Signer
from sqlmodel import Session, col, func, select

from central.messaging.gateway import Publisher
from central.store.database import Database
from central.store.learning_tables import Assignment
from central.store.tables import Inspection, Station
from central.trust.assignments import AssignmentError, open_assignment, seal_assignment, signer_of
from contracts import codec
from contracts.commands import AssignPackage, ChallengerAssignment, ProductAssignment
from contracts.ids import StationAddress
from contracts.reports import PackageStatus
from contracts.topics import Channel, topic

_LOG = logging.getLogger(__name__)

# Issued anew when less than this share of the time is left, so that a station never runs into the expiry.
_REISSUE_BELOW: Final = 0.34


class Assigner:
    """See the module. `valid_days`: after that a station refuses the assignment."""

    def __init__(self, database: Database, publisher: Publisher, signer: Signer, valid_days: float) -> None:
        self._database = database
        self._publisher = publisher
        self._signer = signer
        self._valid = timedelta(days=valid_days)
        # All assignments in force are known to be signed by it.
        self._checked_keyid = ""

    def assign(
        self,
        session: Session,
        station: Station,
        packages: dict[str, str],
        reason: str,
        now: datetime,
        *,
        challengers: Mapping[str, ChallengerAssignment] | None = None,
        urgent: Collection[str] = (),
    ) -> int:
        """Write the next assignment of a station: product → package id, everything it should run.

        `challengers`: by product, what should judge beside it in shadow; None: nothing. The packages of `urgent`
        products are fetched outside the station's maintenance windows too. What was urgent before and is still assigned
        stays so: a renewal must not make a station wait that was sent back.

        Returns:
            Its number: above every number that we gave or the station has named, so that a restored backup of the
            database cannot make a station refuse us for ever.
        """
        number = max(station.assignment_number or 0, _number_at_station(station)) + 1
        urgent_before = self._urgent(session, station)
        expires_at = now + self._valid
        assignment = AssignPackage(
            station=StationAddress.parse(station.address),
            number=number,
            issued_at=now,
            expires_at=expires_at,
            packages=[
                ProductAssignment(
                    product=product,
                    package_id=package_id,
                    challenger=(challengers or {}).get(product),
                    is_urgent=product in urgent or urgent_before.get(product) == package_id,
                )
                for product, package_id in sorted(packages.items())
            ],
        )
        row = Assignment(
            station_id=_id_of(station),
            number=number,
            packages=dict(packages),
            issued_at=now,
            expires_at=expires_at,
            reason=reason,
            sealed=seal_assignment(assignment, self._signer).decode(),
            after_inspection_id=session.exec(select(func.max(Inspection.id))).one() or 0,
        )
        station.assignment_number = number
        station.assigned = dict(packages)
        station.assignment_expires_at = expires_at
        session.add(row)
        session.add(station)
        session.flush()
        _LOG.info("assignment written station=%s number=%d reason=%s", station.address, number, reason)
        return number

    def _urgent(self, session: Session, station: Station) -> dict[str, str]:
        """Product → package id of what the station was told to fetch at once."""
        row = self.in_force(session, station)
        if row is None:
            return {}
        try:
            last = open_assignment(row.sealed.encode(), self._signer.public_key)
        except AssignmentError:
            # Sealed by a key of before: what was urgent then has long been fetched.
            return {}
        return {each.product: each.package_id for each in last.packages if each.is_urgent}

    def in_force(self, session: Session, station: Station) -> Assignment | None:
        """The station's last assignment."""
        return session.exec(
            select(Assignment).where(
                Assignment.station_id == station.id, Assignment.number == station.assignment_number
            )
        ).first()

    def publish_waiting(self, now: datetime, *, everything: bool) -> int:
        """Publish assignments in force that were not yet handed to the broker, or all of them again."""
        with self._database.read() as session:
            wanted = select(Assignment, Station.address).join(Station, col(Assignment.station_id) == Station.id)
            wanted = wanted.where(Assignment.number == Station.assignment_number)
            if not everything:
                wanted = wanted.where(col(Assignment.published_at).is_(None))
            waiting = [(row.id, address, row.sealed) for row, address in session.exec(wanted).all()]
        sent = [
            row_id
            for row_id, address, sealed in waiting
            if self._publisher.publish(
                topic(StationAddress.parse(address), Channel.ASSIGNMENT), sealed.encode(), qos=1, retain=True
            )
        ]
        if sent:
            with self._database.begin() as session:
                for row in session.exec(select(Assignment).where(col(Assignment.id).in_(sent))).all():
                    row.published_at = row.published_at or now
                    session.add(row)
        return len(sent)

    def renew(self, now: datetime) -> None:
        """Issue anew what would expire before long, or was signed by a key that was exchanged since; else unchanged."""
        self._sign_anew(now)
        with self._database.begin() as session:
            due = session.exec(
                select(Station).where(col(Station.assignment_expires_at) < now + self._valid * _REISSUE_BELOW)
            ).all()
            for station in due:
                row = self.in_force(session, station)
                challengers = {} if row is None else challengers_of(row)
                why = "renewed before it expires"
                self.assign(session, station, station.assigned, why, now, challengers=challengers)

    def _sign_anew(self, now: datetime) -> None:
        keyid = self._signer.public_key.keyid
        if keyid == self._checked_keyid:
            return
        with self._database.begin() as session:
            wanted = select(Station, Assignment.sealed).join(Assignment, col(Assignment.station_id) == Station.id)
            rows = session.exec(wanted.where(Assignment.number == Station.assignment_number)).all()
            for station, sealed in rows:
                if signer_of(sealed) != keyid:
                    row = self.in_force(session, station)
                    challengers = {} if row is None else challengers_of(row)
                    why = "the assignment key was exchanged"
                    self.assign(session, station, station.assigned, why, now, challengers=challengers)
        self._checked_keyid = keyid


def challengers_of(row: Assignment) -> dict[str, ChallengerAssignment]:
    """Challengers of an assignment of ours, by product. They are in its signed text and nowhere else."""
    payload = base64.b64decode(json.loads(row.sealed)["payload"])
    packages = codec.decode(AssignPackage, payload).packages
    return {item.product: item.challenger for item in packages if item.challenger is not None}


def package_status_of(station: Station) -> PackageStatus | None:
    """The station's last word on its packages."""
    return PackageStatus.model_validate_json(station.package_status) if station.package_status else None


def _number_at_station(station: Station) -> int:
    status = package_status_of(station)
    return status.assignment_number if status else 0


def _id_of(station: Station) -> int:
    if station.id is None:
        msg = f"station {station.address} is not stored yet"
        raise ValueError(msg)
    return station.id
