# SPDX-License-Identifier: Apache-2.0
"""Recipes: versions by product, pins, what each station should use and was last sent. Used by service and API.

Every function works in the caller's transaction. Chooses nothing: the rule is `domain.recipes.wanted_versions`.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlmodel import Session, and_, col, func, or_, select

from central.domain.recipes import wanted_versions
from central.store.recipe_tables import EVERY_STATION, RecipeAssignment, RecipeDeed, RecipePin, RecipeVersion
from central.store.tables import Station


@dataclass(frozen=True)
class Sent:
    """What a station was last sent."""

    number: int
    versions: Mapping[str, int]
    issued_at: datetime


@dataclass(frozen=True)
class Choice:
    """What holds for all stations and for single ones, to tell what each should use."""

    newest: Mapping[str, int]
    own: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    pinned: Mapping[int, Mapping[str, int]] = field(default_factory=dict)

    def of(self, station: Station) -> dict[str, int]:
        """Product → version of one station."""
        return wanted_versions(self.newest, self.own.get(station.address, {}), self.pinned.get(station.id or 0, {}))


def choice(session: Session) -> Choice:
    """From the newest versions and the pins."""
    newest: dict[str, int] = {}
    own: dict[str, dict[str, int]] = defaultdict(dict)
    heads = session.exec(
        select(RecipeVersion.product, RecipeVersion.station, func.max(RecipeVersion.version)).group_by(
            col(RecipeVersion.product), col(RecipeVersion.station)
        )
    ).all()
    for product, station, version in heads:
        (newest if station == EVERY_STATION else own[station])[product] = version
    pinned: dict[int, dict[str, int]] = defaultdict(dict)
    for pin in session.exec(select(RecipePin)).all():
        pinned[pin.station_id][pin.product] = pin.version
    return Choice(newest, own, pinned)


def last_sent(session: Session) -> dict[int, Sent]:
    """By station id."""
    last = (
        select(RecipeAssignment.station_id, func.max(RecipeAssignment.number).label("number"))
        .group_by(col(RecipeAssignment.station_id))
        .subquery()
    )
    rows = session.exec(
        select(
            RecipeAssignment.station_id, RecipeAssignment.number, RecipeAssignment.versions, RecipeAssignment.issued_at
        ).join(last, and_(RecipeAssignment.station_id == last.c.station_id, RecipeAssignment.number == last.c.number))
    ).all()
    return {station_id: Sent(number, versions, issued_at) for station_id, number, versions, issued_at in rows}


def versions(session: Session, product: str, limit: int | None = None) -> list[RecipeVersion]:
    """Of a product, newest first; `limit` None: all."""
    wanted = select(RecipeVersion).where(RecipeVersion.product == product)
    return list(session.exec(wanted.order_by(col(RecipeVersion.version).desc()).limit(limit)).all())


def find(session: Session, product: str, version: int) -> RecipeVersion | None:
    """One version."""
    return session.exec(
        select(RecipeVersion).where(RecipeVersion.product == product, RecipeVersion.version == version)
    ).first()


def newest_of(session: Session, product: str, station: str) -> RecipeVersion | None:
    """The newest version made for this station alone (empty: for every station)."""
    wanted = select(RecipeVersion).where(RecipeVersion.product == product, RecipeVersion.station == station)
    return session.exec(wanted.order_by(col(RecipeVersion.version).desc())).first()


def next_version(session: Session, product: str) -> int:
    """One above every version of the product, whichever station it is for."""
    highest = session.exec(select(func.max(RecipeVersion.version)).where(RecipeVersion.product == product)).one()
    return (highest or 0) + 1


def products(session: Session) -> list[str]:
    """That have a recipe, by name."""
    return list(session.exec(select(RecipeVersion.product).distinct().order_by(RecipeVersion.product)).all())


def documents(session: Session, wanted: Mapping[str, int]) -> list[str]:
    """The documents of these versions, by product."""
    if not wanted:
        return []
    pairs = [
        and_(RecipeVersion.product == product, RecipeVersion.version == version) for product, version in wanted.items()
    ]
    return list(session.exec(select(RecipeVersion.document).where(or_(*pairs)).order_by(RecipeVersion.product)).all())


def pins_of(session: Session, product: str) -> Sequence[tuple[RecipePin, str]]:
    """Pins with the addresses of their stations."""
    found = session.exec(
        select(RecipePin, Station.address)
        .join(Station, col(RecipePin.station_id) == Station.id)
        .where(RecipePin.product == product)
        .order_by(Station.address)
    )
    return list(found.all())


def deeds_of(session: Session, product: str, limit: int) -> list[RecipeDeed]:
    """What people did with a product's recipes, newest first."""
    wanted = select(RecipeDeed).where(RecipeDeed.product == product)
    return list(session.exec(wanted.order_by(col(RecipeDeed.id).desc()).limit(limit)).all())
