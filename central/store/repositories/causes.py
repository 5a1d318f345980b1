# SPDX-License-Identifier: Apache-2.0
"""What is asked of the tables when a cause is looked for: counts, judgements, packages and recipes put in force.

Every question is bounded in stations, time and rows, and reads along an index: alarms come when a plant is busy.
Decides nothing; `services/watches/observing.py` puts the answers together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import case, func
from sqlalchemy import select as sa_select
from sqlmodel import Session, col, select

from central.store.recipe_tables import RecipeAssignment
from central.store.repositories.chance import is_by_chance
from central.store.tables import Audit, Inspection, LabelledPicture, RollupMinute, Station, columns_of
from contracts.vocabulary import AuditState, Judgement, Verdict

# Beyond that the stations of the same line are looked at first.
MOST_STATIONS: Final = 60
_MOST_JUDGED: Final = 10_000
_MOST_RECIPES: Final = 60
_MINUTE: Final = timedelta(minutes=1)


@dataclass(frozen=True)
class StreamCount:
    """Judged and rejected (NG or REVIEW) parts of a station × product × package. first, last: minutes."""

    station_id: int
    product: str
    package_id: str
    first: datetime
    last: datetime
    before: int
    rejects_before: int
    since: int
    rejects_since: int


@dataclass(frozen=True)
class Judged:
    """A firm judgement of a part that chance drew."""

    captured_at: datetime
    product: str
    package_id: str
    verdict: Verdict
    is_defective: bool
    defect_class: str | None
    inclusion_probability: float
    is_floor: bool


@dataclass(frozen=True)
class RecipeSent:
    """A version that a station was sent in place of another, or of none."""

    at: datetime
    station_id: int
    product: str
    version: int


def stations_around(session: Session, station: str | None, product: str | None, live_since: datetime) -> dict[int, str]:
    """Addresses by id: all, or the nearest 60 of a larger plant.

    Nearest: of the alarm's line first, else those that have had parts of its product.
    """
    every = {number: address for number, address in session.exec(select(Station.id, Station.address)).all() if number}
    if len(every) <= MOST_STATIONS:
        return every
    near: set[int] = set()
    if station is not None:
        line = station.rpartition("/")[0]
        near = {number for number, address in every.items() if address.rpartition("/")[0] == line}
    elif product is not None:
        wanted = select(RollupMinute.station_id).where(
            RollupMinute.minute >= live_since, RollupMinute.product == product
        )
        near = set(session.exec(wanted.distinct()).all())
    order = sorted(every, key=lambda number: (every[number] != station, number not in near, every[number]))
    return {number: every[number] for number in order[:MOST_STATIONS]}


def stream_counts(
    session: Session,
    station_ids: Sequence[int],
    *,
    is_simulated: bool,
    before_from: datetime,
    since: datetime,
    recent_from: datetime,
    until: datetime,
) -> list[StreamCount]:
    """From rollups, whose minutes are whole: the minute of `since` counts as after it.

    before: from `before_from` to `since`; since: from `recent_from` (`since` or later) to `until`.
    """
    c = columns_of(RollupMinute).c
    rejects, judged = c.ng + c.review, c.ok + c.ng + c.review
    begin = since.replace(second=0, microsecond=0)
    is_before, is_since = c.minute < begin, c.minute >= max(begin, recent_from.replace(second=0, microsecond=0))

    def total(value: Any, where: Any) -> Any:
        return func.sum(case((where, value), else_=0))

    keys = (c.station_id, c.product, c.package_id)
    sums = (total(judged, is_before), total(rejects, is_before), total(judged, is_since), total(rejects, is_since))
    wanted = (
        sa_select(*keys, func.min(c.minute), func.max(c.minute), *sums)
        .where(
            c.minute >= before_from,
            c.minute <= until,
            c.station_id.in_(station_ids),
            c.is_simulated == is_simulated,
            c.product != "",
            c.package_id != "",
        )
        .group_by(*keys)
        .order_by(*keys)
    )
    rows = session.connection().execute(wanted).all()
    return [StreamCount(*row[:5], *map(int, row[5:])) for row in rows]


def first_part(session: Session, count: StreamCount) -> datetime:
    """Capture time of the first part in a package's first minute."""
    c = columns_of(Inspection).c
    wanted = sa_select(func.min(c.captured_at)).where(
        c.captured_at >= count.first,
        c.captured_at < count.first + _MINUTE,
        c.station_id == count.station_id,
        c.package_id == count.package_id,
    )
    at: datetime | None = session.connection().execute(wanted).scalar_one()
    return at or count.first


def judged_parts(
    session: Session, products: Sequence[str], *, is_simulated: bool, judged_from: datetime
) -> list[Judged]:
    """The newest 10,000 by when they were judged, in the order in which the parts were made."""
    audit, part = columns_of(Audit).c, columns_of(Inspection).c
    wanted = (
        sa_select(
            part.captured_at,
            audit.product,
            part.package_id,
            part.verdict,
            audit.outcome,
            audit.defect_class,
            audit.inclusion_probability,
            audit.is_floor,
        )
        .join(columns_of(Inspection), audit.inspection_id == part.id)
        .where(
            audit.product.in_(products),
            audit.judged_at >= judged_from,
            audit.state == AuditState.JUDGED,
            # Settled ones: what one inspector said of an escape may yet be refuted. Further askings have no outcome.
            audit.outcome.in_((Judgement.GOOD, Judgement.DEFECTIVE)),
            is_by_chance(audit),
            audit.is_simulated == is_simulated,
        )
        .order_by(audit.judged_at.desc())
        .limit(_MOST_JUDGED)
    )
    rows = session.connection().execute(wanted).all()
    found = [
        Judged(at, product, package_id or "", Verdict(verdict), outcome == Judgement.DEFECTIVE, named, chance, is_floor)
        for at, product, package_id, verdict, outcome, named, chance, is_floor in rows
    ]
    return sorted(found, key=lambda each: each.captured_at)


def last_judged_at(session: Session, product: str) -> datetime | None:
    """When a part of it was last judged."""
    return session.exec(select(func.max(Audit.judged_at)).where(Audit.product == product)).one()


def classes_known(session: Session, product: str, *, is_simulated: bool, before: datetime) -> set[str]:
    """Defect classes that pictures had been given by then."""
    wanted = (
        select(LabelledPicture.defect_class)
        .where(
            LabelledPicture.product == product,
            LabelledPicture.is_simulated == is_simulated,
            LabelledPicture.added_at < before,
            col(LabelledPicture.defect_class).is_not(None),
        )
        .distinct()
    )
    return {name for name in session.exec(wanted).all() if name}


def recipes_sent(session: Session, station_ids: Sequence[int], since: datetime) -> list[RecipeSent]:
    """Changes of recipe, the newest 60 sendings, oldest first."""
    wanted = (
        select(RecipeAssignment)
        .where(RecipeAssignment.issued_at >= since, col(RecipeAssignment.station_id).in_(station_ids))
        .order_by(col(RecipeAssignment.id).desc())
        .limit(_MOST_RECIPES)
    )
    found = []
    for sent in reversed(session.exec(wanted).all()):
        earlier = session.exec(
            select(RecipeAssignment.versions)
            .where(RecipeAssignment.station_id == sent.station_id, RecipeAssignment.number < sent.number)
            .order_by(col(RecipeAssignment.number).desc())
        ).first()
        for product, version in sent.versions.items():
            if (earlier or {}).get(product) != version:
                found.append(RecipeSent(sent.published_at or sent.issued_at, sent.station_id, product, version))
    return found
