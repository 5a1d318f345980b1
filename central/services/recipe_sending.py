# SPDX-License-Identifier: Apache-2.0
"""Recipes to stations: what each should use is numbered, signed, written down, then published from the rows.

Sends when what a station should use changed, and to one that names a number above ours (a database that was restored).
Everything in force is published again after each connect, because a broker may forget what it retained. Chooses no
version: versions and pins do. Ticked by the worker, and by the routes so that a change leaves at once.

The row is written first and published from there, so a kill in between, or a broker that takes nothing, only delays.
"""

import logging
import threading
from datetime import datetime
from typing import Final

from securesystemslib.signer import Signer
from sqlmodel import Session, col, func, select, update

from central.messaging.gateway import Publisher
from central.store.database import Database
from central.store.recipe_tables import RecipeAssignment
from central.store.repositories import recipes
from central.store.repositories.station_words import next_number, status_in
from central.store.tables import Station
from central.trust.assignments import seal_recipes, signer_of
from contracts.ids import StationAddress
from contracts.recipes import AssignRecipes, ProductRecipe
from contracts.reports import StationReported
from contracts.topics import Channel, topic

_LOG = logging.getLogger(__name__)

_PERIOD_S: Final = 2.0


class RecipeSending:
    """See the module."""

    name: Final = "recipes"
    period_s: Final = _PERIOD_S

    def __init__(self, database: Database, publisher: Publisher, signer: Signer) -> None:
        self._database = database
        self._publisher = publisher
        self._signer = signer
        # All recipes in force are known to be signed by it.
        self._checked_keyid = ""
        # The worker and a route may send at the same time.
        self._sending = threading.Lock()
        self._must_publish_all = threading.Event()
        self._must_publish_all.set()

    def publish_all_again(self) -> None:
        """The broker was connected (again): what it retained may be gone. Done at the next tick."""
        self._must_publish_all.set()

    def tick(self, now: datetime) -> None:
        """Write what is due, publish what waits."""
        with self._sending:
            self._write_due(now)
            is_everything = self._must_publish_all.is_set()
            self._must_publish_all.clear()
            self._publish_waiting(now, everything=is_everything)

    def _write_due(self, now: datetime) -> None:
        with self._database.read() as session:
            if not self._due(session, now):
                return
        with self._database.begin() as session:
            # Asked again inside: a version may have come in between.
            for address, wanted in self._due(session, now).items():
                station = session.exec(select(Station).where(Station.address == address).with_for_update()).one()
                self._write(session, station, wanted, now)

    def _due(self, session: Session, now: datetime) -> dict[str, dict[str, int]]:
        chosen, sent = recipes.choice(session), recipes.last_sent(session)
        foreign = self._signed_by_another(session)
        due = {}
        for station in session.exec(select(Station).order_by(Station.address)).all():
            wanted, last = chosen.of(station), sent.get(station.id or 0)
            if last is None:
                is_due = bool(wanted)
            else:
                # It names a number that we do not know, and may have given before a backup was restored.
                is_ahead = next_number(last.number, number_at_station(station), now) > last.number + 1
                is_due = wanted != last.versions or is_ahead
                is_due = is_due or station.id in foreign
            if is_due:
                due[station.address] = wanted
        return due

    def _signed_by_another(self, session: Session) -> set[int]:
        """Stations whose recipes were signed by a key that was exchanged since."""
        keyid = self._signer.public_key.keyid
        if keyid == self._checked_keyid:
            return set()
        rows = session.exec(
            select(RecipeAssignment.station_id, RecipeAssignment.sealed).where(RecipeAssignment.sealed != "")
        ).all()
        found = {station_id for station_id, sealed in rows if signer_of(sealed) != keyid}
        if not found:
            self._checked_keyid = keyid
        return found

    def _write(self, session: Session, station: Station, wanted: dict[str, int], now: datetime) -> None:
        station_id = station.id or 0
        given = session.exec(
            select(func.max(RecipeAssignment.number)).where(RecipeAssignment.station_id == station_id)
        ).one()
        # A restored backup of the database must not make it refuse us for ever.
        number = next_number(given or 0, number_at_station(station), now)
        assignment = AssignRecipes(
            station=StationAddress.parse(station.address),
            number=number,
            issued_at=now,
            recipes=[ProductRecipe.model_validate_json(text) for text in recipes.documents(session, wanted)],
        )
        # What was replaced keeps its versions, and these their documents; the envelope is of no more use.
        session.exec(update(RecipeAssignment).where(col(RecipeAssignment.station_id) == station_id).values(sealed=""))
        session.add(
            RecipeAssignment(
                station_id=station_id,
                number=number,
                versions=wanted,
                issued_at=now,
                sealed=seal_recipes(assignment, self._signer).decode(),
            )
        )
        session.flush()
        _LOG.info("recipes written station=%s number=%d products=%d", station.address, number, len(wanted))

    def _publish_waiting(self, now: datetime, *, everything: bool) -> None:
        with self._database.read() as session:
            wanted = select(RecipeAssignment.id, Station.address, RecipeAssignment.sealed)
            wanted = wanted.join(Station, col(RecipeAssignment.station_id) == Station.id)
            wanted = wanted.where(RecipeAssignment.sealed != "")
            if not everything:
                wanted = wanted.where(col(RecipeAssignment.published_at).is_(None))
            waiting = session.exec(wanted).all()
        sent = [
            row_id
            for row_id, address, sealed in waiting
            if self._publisher.publish(
                topic(StationAddress.parse(address), Channel.RECIPES), sealed.encode(), qos=1, retain=True
            )
        ]
        if everything and len(sent) < len(waiting):
            self._must_publish_all.set()
        if sent:
            with self._database.begin() as session:
                for row in session.exec(select(RecipeAssignment).where(col(RecipeAssignment.id).in_(sent))).all():
                    row.published_at = row.published_at or now
                    session.add(row)


def number_at_station(station: Station) -> int:
    """Of the recipes that the station has by its own word; 0: none, or it said nothing of recipes."""
    status = status_of(station)
    return status.recipe.number if status is not None and status.recipe is not None else 0


def status_of(station: Station) -> StationReported | None:
    """The station's last word on itself."""
    return status_in(station.status)
