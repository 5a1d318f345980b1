# SPDX-License-Identifier: Apache-2.0
"""Counts and judgements with all that they may be grouped by. Groups nothing and computes no rate itself."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import or_
from sqlalchemy import select as sa_select
from sqlmodel import Session, col

from central.store.repositories.chance import is_by_chance
from central.store.repositories.quality import Scope, at_stations
from central.store.rollups import VERDICT_COLUMNS
from central.store.tables import Audit, Inspection, RollupMinute, Station
from contracts.vocabulary import AuditState, Judgement, Verdict


@dataclass(frozen=True)
class Place:
    """When and where parts were judged, and by which package ("" for none)."""

    at: datetime
    station: str
    product: str
    package_id: str
    is_simulated: bool


@dataclass(frozen=True)
class Cell:
    """One minute of a station × product × package."""

    place: Place
    verdicts: dict[Verdict, int]


@dataclass(frozen=True)
class PersonsWord:
    """A judged audit that chance drew; UNSURE is left out. `is_defective` None: it waits for another inspector."""

    place: Place
    verdict: Verdict
    is_defective: bool | None
    defect_class: str | None
    inclusion_probability: float


def cells(session: Session, scope: Scope) -> Iterator[Cell]:
    """Minutes in scope, oldest first."""
    columns = [getattr(RollupMinute, name) for name in VERDICT_COLUMNS.values()]
    keys: Any = [
        RollupMinute.minute,
        Station.address,
        RollupMinute.product,
        RollupMinute.package_id,
        RollupMinute.is_simulated,
    ]
    wanted: Any = sa_select(*keys, *columns)
    wanted = wanted.join(Station, col(Station.id) == col(RollupMinute.station_id)).where(
        RollupMinute.minute >= scope.since, RollupMinute.minute < scope.until, *_of(scope, RollupMinute.product)
    )
    for row in session.connection().execute(wanted.order_by(*keys)):
        yield Cell(Place(*row[: len(keys)]), dict(zip(VERDICT_COLUMNS, map(int, row[len(keys) :]), strict=True)))


def persons_words(session: Session, scope: Scope) -> list[PersonsWord]:
    """Judgements of parts in scope, by capture time."""
    columns: Any = [
        Inspection.captured_at,
        Station.address,
        Inspection.product,
        Inspection.package_id,
        Audit.is_simulated,
        Inspection.verdict,
        Audit.outcome,
        Audit.defect_class,
        Audit.inclusion_probability,
    ]
    wanted: Any = (
        sa_select(*columns)
        .select_from(Audit)
        .join(Inspection, col(Inspection.id) == col(Audit.inspection_id))
        .join(Station, col(Station.id) == col(Inspection.station_id))
        .where(
            col(Audit.state) == AuditState.JUDGED,
            col(Audit.ask) == 1,
            is_by_chance(Audit),
            or_(col(Audit.outcome).is_(None), col(Audit.outcome) != Judgement.UNSURE),
            col(Inspection.captured_at) >= scope.since,
            col(Inspection.captured_at) < scope.until,
            *_of(scope, Inspection.product),
        )
        .order_by(col(Inspection.captured_at), col(Audit.id))
    )
    return [
        PersonsWord(
            Place(at, station, product or "", package_id or "", is_simulated),
            Verdict(verdict),
            None if outcome is None else outcome == Judgement.DEFECTIVE,
            defect_class,
            probability,
        )
        for at, station, product, package_id, is_simulated, verdict, outcome, defect_class, probability in (
            session.connection().execute(wanted)
        )
    ]


def _of(scope: Scope, product: Any) -> list[Any]:
    wanted = at_stations(scope)
    return wanted if scope.product is None else [*wanted, product == scope.product]
