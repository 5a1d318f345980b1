# SPDX-License-Identifier: Apache-2.0
"""What people do with recipes: make a version, restore one, pin a station, ask a station for another product.

Checks, writes rows and leaves; `services/recipe_sending.py` brings them to the stations. Called by the routes and by
`sightline-central recipe`. Every change keeps who made it, when and why; a changeover is noted as asked for, since
only the station can say that it took place.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, select

from central.domain.recipes import DocumentError, differences, loosened, read_document
from central.errors import ConflictError, InvalidError, NotFoundError
from central.messaging.gateway import Publisher
from central.services.recipe_sending import number_at_station, status_of
from central.store.database import Database
from central.store.learning_tables import Package
from central.store.recipe_tables import EVERY_STATION, RecipeDeed, RecipePin, RecipeVersion
from central.store.repositories import recipes, stations
from central.store.tables import Station
from contracts import codec
from contracts.commands import StationCommand, SwitchProduct
from contracts.ids import StationAddress
from contracts.manifest import PackageManifest
from contracts.recipes import MAX_RECIPES, ProductRecipe
from contracts.topics import Channel, topic
from contracts.vocabulary import RecipeAct

_LOG = logging.getLogger(__name__)

# What a station reads at most, as it has it; an envelope carries its payload in base64.
_MOST_ENVELOPE_BYTES: Final = 4 * 1024 * 1024
_MOST_DOCUMENT_BYTES: Final = _MOST_ENVELOPE_BYTES * 3 // 4 - 4096


@dataclass(frozen=True)
class Deed:
    """Who does it, when and why."""

    by: str
    at: datetime
    note: str


class RecipeService:
    """See the module. `can_hear`: whether the broker is connected right now."""

    def __init__(self, database: Database, publisher: Publisher, can_hear: Callable[[], bool]) -> None:
        self._database = database
        self._publisher = publisher
        self._can_hear = can_hear

    def store(
        self, product: str, document: Mapping[str, Any], based_on: int | None, deed: Deed, *, station: str | None = None
    ) -> RecipeVersion:
        """Make the next version.

        Args:
            product: whose recipe.
            document: a recipe without its version.
            based_on: the newest version for the same stations that the writer saw; None: there was none.
            deed: who, when, why.
            station: address of the only station it is for; None: every station.

        Raises:
            InvalidError: the document is no recipe (fields are named), changes nothing, or is too much for a station.
            NotFoundError: no such station.
            ConflictError: another version came in between.
        """
        with self._changing(product) as session:
            if station is not None:
                _station(session, station)
            return self._add(session, product, station or EVERY_STATION, document, based_on=based_on, deed=deed)

    def restore(self, product: str, version: int, deed: Deed) -> RecipeVersion:
        """Make a new version equal to an old one, for the same stations.

        Raises:
            NotFoundError: no such version.
            InvalidError: it equals the newest one.
        """
        with self._changing(product) as session:
            old = _version(session, product, version)
            newest = recipes.newest_of(session, product, old.station)
            document = ProductRecipe.model_validate_json(old.document).model_dump(mode="json", exclude_none=True)
            based_on = newest.version if newest else None
            return self._add(
                session, product, old.station, document, based_on=based_on, deed=deed, restored_from=version
            )

    def pin(self, station: str, product: str, version: int, deed: Deed) -> None:
        """Keep a station at one version until it is unpinned, whatever newer ones come.

        Raises:
            NotFoundError: no such station or version.
            InvalidError: that version is for another station.
        """
        with self._changing(product) as session:
            row = _station(session, station)
            wanted = _version(session, product, version)
            if wanted.station not in (EVERY_STATION, station):
                msg = f"version: {version} of {product} is for {wanted.station} alone, it cannot be used at {station}"
                raise InvalidError(msg)
            pin = session.get(RecipePin, (row.id, product))
            if pin is None:
                pin = RecipePin(
                    station_id=row.id or 0,
                    product=product,
                    version=version,
                    pinned_at=deed.at,
                    pinned_by=deed.by,
                    note=deed.note,
                )
            else:
                pin.version, pin.pinned_at, pin.pinned_by, pin.note = version, deed.at, deed.by, deed.note
            session.add(pin)
            _note(session, RecipeAct.PINNED, product, station, deed=deed, version=version)
            _require_room(session)

    def unpin(self, station: str, product: str, deed: Deed) -> None:
        """Let a station use the newest version again.

        Raises:
            NotFoundError: no such station, or it is not pinned.
        """
        with self._database.begin() as session:
            row = _station(session, station)
            pin = session.get(RecipePin, (row.id, product))
            if pin is None:
                raise NotFoundError(f"station {station}: not pinned to a version of {product}")
            session.delete(pin)
            _note(session, RecipeAct.UNPINNED, product, station, deed=deed, version=pin.version)
            _require_room(session)

    def switch(self, station: str, product: str, deed: Deed) -> list[str]:
        """Ask a station to make another product from its next captured part on.

        Returns:
            What to know about it, in words; empty: nothing.

        Raises:
            NotFoundError: no such station.
            ConflictError: it cannot be asked now, or could not inspect this product.
        """
        command = StationCommand(issued_at=deed.at, command=SwitchProduct(product=product))
        with self._database.begin() as session:
            row = _station(session, station)
            warnings = self._ready_for(session, row, product)
            _note(session, RecipeAct.SWITCH_ASKED, product, station, deed=deed)
            # Handed over inside: what was not asked is not noted either.
            to = topic(StationAddress.parse(station), Channel.COMMAND)
            if not self._publisher.publish(to, codec.encode(command), qos=1):
                raise ConflictError(f"station {station}: the broker takes nothing right now; try again")
        _LOG.info("product switch asked station=%s product=%s by=%s", station, product, deed.by)
        return warnings

    @contextmanager
    def _changing(self, product: str) -> Iterator[Session]:
        try:
            with self._database.begin() as session:
                yield session
        except IntegrityError as error:
            # Two writers at once on PostgreSQL: both counted up from the same version.
            raise ConflictError(
                f"recipe of {product}: somebody changed it in between; read it and try again"
            ) from error

    def _ready_for(self, session: Session, station: Station, product: str) -> list[str]:
        status = status_of(station)
        if status is not None and status.recipe is not None and status.recipe.is_led:
            msg = f"station {station.address}: its line's controller says what it makes; change over there"
            raise ConflictError(msg)
        if not self._can_hear():
            # A command that waited for the broker would surprise the line later.
            msg = "broker: expected to be connected, it is away; the station cannot be asked"
            raise ConflictError(f"{msg}, try again when GET /ready says that it is there")
        if status is None or not status.is_connected:
            raise ConflictError(
                f"station {station.address}: expected to be connected, it is offline; try again when it is back"
            )
        judging = {package.product for package in status.active}
        sent = recipes.last_sent(session).get(station.id or 0)
        has_recipe = sent is not None and product in sent.versions
        if not has_recipe and product not in judging:
            known = ", ".join(sorted({*(sent.versions if sent else ()), *judging})) or "none"
            msg = f"product: {station.address} has neither a recipe nor a package for {product}; it has {known}"
            raise ConflictError(
                f"{msg}. Make a recipe of {product} for it, or roll a package of {product} out to it first"
            )
        if has_recipe and sent is not None and number_at_station(station) < sent.number and product not in judging:
            msg = f"station {station.address}: its recipes (number {sent.number}) are on their way; try again"
            raise ConflictError(msg)
        family = product
        if has_recipe and sent is not None:
            for text in recipes.documents(session, {product: sent.versions[product]}):
                family = ProductRecipe.model_validate_json(text).package_family or product
        if family in judging:
            return []
        return [f"no package for {family} judges at {station.address}: its parts get no decision and are held"]

    def _add(
        self,
        session: Session,
        product: str,
        station: str,
        document: Mapping[str, Any],
        *,
        based_on: int | None,
        deed: Deed,
        restored_from: int | None = None,
    ) -> RecipeVersion:
        newest = recipes.newest_of(session, product, station)
        if (newest.version if newest else None) != based_on:
            there = f"version {newest.version} by {newest.created_by}" if newest else "no version yet"
            msg = f"based_on: expected the newest version, got {based_on or 'none'}, there is {there}"
            raise ConflictError(f"{msg}; read it and try again")
        try:
            recipe = read_document(document, product, recipes.next_version(session, product))
        except DocumentError as error:
            raise InvalidError(f"document: {error}") from error
        if newest and not differences(ProductRecipe.model_validate_json(newest.document), recipe):
            raise InvalidError(f"document: says what version {newest.version} says; nothing to change")
        row = RecipeVersion(
            product=product,
            station=station,
            version=recipe.version,
            document=recipe.model_dump_json(),
            created_at=deed.at,
            created_by=deed.by,
            note=deed.note,
            restored_from=restored_from,
            warnings=loosened(recipe, _manifest_of(session, recipe)),
        )
        session.add(row)
        session.flush()
        _require_room(session)
        _LOG.info("recipe made product=%s version=%d station=%s by=%s", product, row.version, station or "all", deed.by)
        return row


def _note(
    session: Session, act: RecipeAct, product: str, station: str, *, deed: Deed, version: int | None = None
) -> None:
    session.add(
        RecipeDeed(at=deed.at, by=deed.by, act=act, product=product, station=station, version=version, note=deed.note)
    )


def _manifest_of(session: Session, recipe: ProductRecipe) -> PackageManifest | None:
    package = session.get(Package, recipe.limits.package_id) if recipe.limits else None
    return PackageManifest.model_validate_json(package.manifest) if package else None


def _station(session: Session, address: str) -> Station:
    row = stations.find(session, address)
    if row is None:
        raise NotFoundError(f"station {address}: never heard of")
    return row


def _version(session: Session, product: str, version: int) -> RecipeVersion:
    row = recipes.find(session, product, version)
    if row is None:
        raise NotFoundError(f"recipe of {product}: no version {version}")
    return row


def _require_room(session: Session) -> None:
    """Every station must be able to read what it would be sent; else it refuses all of it.

    Raises:
        InvalidError: too many recipes for a station, or too large ones.
    """
    chosen = recipes.choice(session)
    sets = {tuple(sorted(chosen.newest.items()))}
    sets |= {tuple(sorted(chosen.of(station).items())) for station in session.exec(select(Station)).all()}
    for wanted in sets:
        if len(wanted) > MAX_RECIPES:
            raise InvalidError(f"product: a station takes at most {MAX_RECIPES} recipes, this would be {len(wanted)}")
        size = sum(len(text.encode()) for text in recipes.documents(session, dict(wanted)))
        if size > _MOST_DOCUMENT_BYTES:
            msg = f"document: recipes of a station take at most {_MOST_DOCUMENT_BYTES} bytes together, got {size}"
            raise InvalidError(f"{msg}; make landmarks smaller")
