# SPDX-License-Identifier: Apache-2.0
"""Assignments of stations: numbered, signed, written down, then published from the rows.

An assignment is the whole desired state of one station. Chooses no package: rollouts and catch-up do. Called by
`services/rollouts/moving.py`.

The row is written in the caller's transaction; publishing reads rows, so a kill in between only delays the message.
Everything in force is published again after each connect, because a broker may forget what it retained.
"""

import base64
import json
import logging
import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from securesystemslib.signer import Signer
from sqlalchemy import insert
from sqlmodel import Session, col, func, select, update

from central.messaging.gateway import Publisher
from central.store.chunks import in_chunks
from central.store.database import Database
from central.store.learning_tables import Assignment
from central.store.repositories.station_words import next_number, package_status_in
from central.store.tables import Inspection, Station, columns_of
from central.trust.assignments import AssignmentError, open_assignment, seal_assignment, signer_of
from contracts import codec
from contracts.commands import AssignPackage, ChallengerAssignment, ProductAssignment
from contracts.ids import StationAddress
from contracts.reports import PackageStatus
from contracts.topics import Channel, topic

_LOG = logging.getLogger(__name__)

# Reason of assignments that bring a station up to the champion; what they gave counts among a rollout's parts.
CATCHING_UP: Final = "catching up"
# Issued anew when less than this share of the time is left, so that a station never runs into the expiry.
_REISSUE_BELOW: Final = 0.34

# Of an assignment: its row, its station, the station's address, the signed text.
_Sent = tuple[int | None, int, str, str]


@dataclass(frozen=True, eq=False)
class Order:
    """What a station should run from now on: product → package id, everything.

    `challengers`: by product, what should judge beside it in shadow. `about`: the products that it changes: challengers
    in force of all others stay; None: `challengers` names all there are. `urgent`: products whose package is fetched
    at once. `reason`: for screens.
    """

    station: Station
    packages: Mapping[str, str]
    reason: str
    challengers: Mapping[str, ChallengerAssignment] = field(default_factory=dict)
    urgent: Collection[str] = ()
    about: Collection[str] | None = None


class Assigner:
    """See the module. `valid_days`: after that a station refuses the assignment."""

    def __init__(self, database: Database, publisher: Publisher, signer: Signer, valid_days: float) -> None:
        self._database = database
        self._publisher = publisher
        self._signer = signer
        self._valid = timedelta(days=valid_days)
        # The worker publishes, and so does each request that ends a rollout.
        self._publishing = threading.Lock()
        # All assignments in force are known to be signed by it.
        self._checked_keyid = ""

    def assign(
        self,
        session: Session,
        station: Station,
        packages: Mapping[str, str],
        reason: str,
        now: datetime,
        *,
        challengers: Mapping[str, ChallengerAssignment] | None = None,
        urgent: Collection[str] = (),
    ) -> int:
        """Write the next assignment of one station; see `assign_all` and `Order`. Returns its number."""
        order = Order(station, packages, reason, challengers=challengers or {}, urgent=urgent)
        return self.assign_all(session, [order], now)[0].number

    def assign_all(self, session: Session, orders: Sequence[Order], now: datetime) -> list[Assignment]:
        """Write the next assignment of each of these stations, in the order given; no station twice.

        The packages of `urgent` products are fetched outside the station's maintenance windows too. What was urgent
        before and is still assigned stays so: a renewal must not make a station wait that was sent back.

        Returns:
            What was written, without the rows' own numbers. An assignment's number is above every one that we gave,
            also where our rows are a restored backup: else a station would refuse us for ever (`next_number`).
        """
        if not orders:
            return []
        last = self.in_force_of(session, [order.station for order in orders])
        newest = session.exec(select(func.max(Inspection.id))).one() or 0
        rows = []
        for order in orders:
            station = order.station
            row = self._next(order, last.get(_id_of(station)), newest, now)
            station.assignment_number, station.assigned = row.number, dict(order.packages)
            station.assignment_expires_at = row.expires_at
            rows.append(row)
        session.add_all(order.station for order in orders)
        session.flush()
        # Core: the rows are only read again from the database, and one by one they cost most of a wave's time.
        session.connection().execute(insert(columns_of(Assignment)), [row.model_dump(exclude={"id"}) for row in rows])
        for order, row in zip(orders, rows, strict=True):
            _LOG.info(
                "assignment written station=%s number=%d reason=%s", order.station.address, row.number, row.reason
            )
        return rows

    def _next(self, order: Order, last: Assignment | None, newest: int, now: datetime) -> Assignment:
        station = order.station
        number = next_number(station.assignment_number or 0, _number_at_station(station), now)
        urgent_before = self._urgent(last)
        challengers = {**_others(order, last), **order.challengers}
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
                    challenger=challengers.get(product),
                    is_urgent=product in order.urgent or urgent_before.get(product) == package_id,
                )
                for product, package_id in sorted(order.packages.items())
            ],
        )
        return Assignment(
            station_id=_id_of(station),
            number=number,
            packages=dict(order.packages),
            issued_at=now,
            expires_at=expires_at,
            reason=order.reason,
            sealed=seal_assignment(assignment, self._signer).decode(),
            after_inspection_id=newest,
        )

    def _urgent(self, last: Assignment | None) -> dict[str, str]:
        """Product → package id of what the station was told to fetch at once."""
        if last is None or not any(each.is_urgent for each in _packages_of(last)):
            return {}
        try:
            opened = open_assignment(last.sealed.encode(), self._signer.public_key)
        except AssignmentError:
            # Sealed by a key of before: what was urgent then has long been fetched.
            return {}
        return {each.product: each.package_id for each in opened.packages if each.is_urgent}

    def in_force(self, session: Session, station: Station) -> Assignment | None:
        """The station's last assignment."""
        return self.in_force_of(session, [station]).get(_id_of(station))

    def in_force_of(self, session: Session, stations: Sequence[Station]) -> dict[int, Assignment]:
        """The last assignment of each of these stations that has one, by the station's id."""
        found: dict[int, Assignment] = {}
        for some in in_chunks(stations):
            # The station's own row may be changed and not yet written: its number as it stands in memory counts.
            numbers = {_id_of(station): station.assignment_number for station in some}
            wanted = select(Assignment).where(col(Assignment.station_id).in_(numbers))
            wanted = wanted.where(col(Assignment.number).in_({each for each in numbers.values() if each is not None}))
            rows = session.exec(wanted).all()
            found |= {row.station_id: row for row in rows if row.number == numbers[row.station_id]}
        return found

    def publish_waiting(self, now: datetime, *, everything: bool) -> int:
        """Publish assignments in force that were not yet handed to the broker, or all of them again.

        What the broker retains last must be what is in force. So one caller at a time publishes in this process, in the
        order of the numbers; and what another process put in force meanwhile is published again: it may have been at
        the broker before ours, which then replaced it.
        """
        with self._publishing:
            with self._database.read() as session:
                wanted = _in_force()
                if not everything:
                    wanted = wanted.where(col(Assignment.published_at).is_(None))
                waiting = session.exec(wanted).all()
            published = 0
            while sent := [each for each in waiting if self._publish(each)]:
                published += len(sent)
                waiting = self._mark(sent, now)
            return published

    def _publish(self, row: _Sent) -> bool:
        _, _, address, sealed = row
        name = topic(StationAddress.parse(address), Channel.ASSIGNMENT)
        return self._publisher.publish(name, sealed.encode(), qos=1, retain=True)

    def _mark(self, sent: Sequence[_Sent], now: datetime) -> list[_Sent]:
        """Note as published what is in force still. Returns what overtook the rest, to be published again."""
        overtaking: list[_Sent] = []
        with self._database.begin() as session:
            for some in in_chunks(sent):
                # Asked after publishing: who puts a newer one in force after this publishes it after ours.
                ours, station_ids = {row_id for row_id, *_ in some}, [station_id for _, station_id, *_ in some]
                in_force = session.exec(_in_force().where(col(Assignment.station_id).in_(station_ids))).all()
                newer = [each for each in in_force if each[0] not in ours]
                still = col(Assignment.id).in_([row_id for row_id, *_ in in_force if row_id in ours])
                unmarked = still & col(Assignment.published_at).is_(None)
                session.exec(update(Assignment).where(unmarked).values(published_at=now))
                # Waits for the next look, too, if the broker takes nothing more now.
                again = col(Assignment.id).in_([row_id for row_id, *_ in newer])
                session.exec(update(Assignment).where(again).values(published_at=None))
                overtaking += newer
        return overtaking

    def renew(self, now: datetime) -> None:
        """Issue anew what would expire before long, or was signed by a key that was exchanged since; else unchanged."""
        self._sign_anew(now)
        with self._database.begin() as session:
            due = session.exec(
                select(Station).where(col(Station.assignment_expires_at) < now + self._valid * _REISSUE_BELOW)
            ).all()
            self._again(session, due, "renewed before it expires", now)

    def _sign_anew(self, now: datetime) -> None:
        keyid = self._signer.public_key.keyid
        if keyid == self._checked_keyid:
            return
        with self._database.begin() as session:
            wanted = select(Station, Assignment.sealed).join(Assignment, col(Assignment.station_id) == Station.id)
            rows = session.exec(wanted.where(Assignment.number == Station.assignment_number)).all()
            foreign = [station for station, sealed in rows if signer_of(sealed) != keyid]
            self._again(session, foreign, "the assignment key was exchanged", now)
        self._checked_keyid = keyid

    def _again(self, session: Session, stations: Sequence[Station], reason: str, now: datetime) -> None:
        """The same under a new number."""
        last = self.in_force_of(session, stations)
        orders = [
            Order(
                station,
                station.assigned,
                reason,
                challengers={} if (row := last.get(_id_of(station))) is None else challengers_of(row),
            )
            for station in stations
        ]
        self.assign_all(session, orders, now)


def _in_force() -> Any:
    """Row, station, its address and the signed text of each station's assignment in force."""
    wanted = select(Assignment.id, Assignment.station_id, Station.address, Assignment.sealed)
    wanted = wanted.join(Station, col(Assignment.station_id) == Station.id)
    return wanted.where(Assignment.number == Station.assignment_number)


def to_publish_again(session: Session, station_ids: Sequence[int], before: datetime) -> None:
    """Let assignments in force of these stations be published once more, those that were published before a time.

    What the broker keeps may have been lost or replaced by an older one: the stations do not say that they got it.
    """
    for some in in_chunks(station_ids):
        waiting = col(Assignment.station_id).in_(some) & (col(Assignment.published_at) < before)
        numbers = select(Station.assignment_number).where(Station.id == Assignment.station_id).correlate(Assignment)
        in_force = col(Assignment.number) == numbers.scalar_subquery()
        session.exec(update(Assignment).where(waiting & in_force).values(published_at=None))


def challengers_of(row: Assignment) -> dict[str, ChallengerAssignment]:
    """Challengers of an assignment of ours, by product. They are in its signed text and nowhere else."""
    return {item.product: item.challenger for item in _packages_of(row) if item.challenger is not None}


def _others(order: Order, last: Assignment | None) -> dict[str, ChallengerAssignment]:
    """Challengers in force of products that the order is not about: another product's rollout ends no shadow."""
    if last is None or order.about is None:
        return {}
    return {product: each for product, each in challengers_of(last).items() if product not in order.about}


def _packages_of(row: Assignment) -> list[ProductAssignment]:
    payload = base64.b64decode(json.loads(row.sealed)["payload"])
    return codec.decode(AssignPackage, payload).packages


def package_status_of(station: Station) -> PackageStatus | None:
    """The station's last word on its packages."""
    return package_status_in(station.package_status)


def _number_at_station(station: Station) -> int:
    status = package_status_of(station)
    return status.assignment_number if status else 0


def _id_of(station: Station) -> int:
    if station.id is None:
        msg = f"station {station.address} is not stored yet"
        raise ValueError(msg)
    return station.id
