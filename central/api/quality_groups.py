# SPDX-License-Identifier: Apache-2.0
"""`/quality/figures`, `/attribute-charts`, `/memory-charts`: yields, Pareto, escapes, cost, charts by any grouping.

Reads rollups and audits, decides nothing; `quality_computing` computes.
"""

from datetime import timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query
from sqlmodel import Session, col, select

from central.api.auth import ServicesOf, allow
from central.api.memory_charts import MemoryKind, memory_charts_of
from central.api.quality import quality_scope
from central.api.quality_computing import ChartPlan, by_sample, charts_of, figures_of, key_of
from central.api.quality_group_schemas import (
    AttributeChartView,
    FiguresView,
    GroupedBy,
    MemoryChartView,
)
from central.api.queries import StationQuery
from central.api.written import WrittenTime
from central.errors import InvalidError
from central.store.learning_tables import Alarm
from central.store.repositories import quality
from central.store.repositories.quality import Scope
from central.store.repositories.quality_cells import cells, persons_words
from contracts.ids import Name
from contracts.vocabulary import Role

router = APIRouter(prefix="/quality", tags=["quality"], dependencies=[Depends(allow(Role.VIEWER))])

# A month of minutes of ten streams is about half a million rows; more is for the report, not for a screen.
_MOST_MINUTES = 60 * 24 * 31
MOST_POINTS = 1000
_LEAST_REFERENCE = 10
Minutes = Annotated[int, Query(ge=1, le=_MOST_MINUTES)]
Shifts = Annotated[str, Query(max_length=100, description="when shifts begin, by the clock of time_zone")]
Zone = Annotated[str, Query(max_length=64, description="name of the IANA database")]
_OF_THE_PAST = (GroupedBy.SHIFT, GroupedBy.PACKAGE)


@router.get("/figures", summary="Yield, Pareto, escapes and cost by group")
def figures(
    services: ServicesOf,
    *,
    by: GroupedBy = GroupedBy.STATION,
    minutes: Minutes = 60 * 24,
    station: StationQuery = None,
    product: Name | None = None,
    cost_of_part: Annotated[float | None, Query(ge=0, le=1e9)] = None,
    currency: Annotated[str, Query(max_length=8)] = "",
    shifts: Shifts = "06:00,14:00,22:00",
    time_zone: Zone = "UTC",
    until: WrittenTime | None = None,
) -> FiguresView:
    """Over the last `minutes` of capture time, up to `until` or now.

    Groups in order of their names, real parts before simulated ones.
    """
    key = key_of(by, shifts, time_zone)
    scope = quality_scope(services.clock.now(), minutes, station, product, until)
    with services.database.read() as session:
        # A shift or a package is a piece of the past; what is true now would say nothing of it.
        pools = None if by in _OF_THE_PAST else quality.pools(session, scope)
        found, words = cells(session, scope), persons_words(session, scope)
        groups = figures_of(found, words, key, (cost_of_part, currency), pools=pools)
    return FiguresView(since=scope.since, until=scope.until, by=by, groups=groups)


@router.get("/attribute-charts", summary="p and np charts of rejects by group")
def attribute_charts(
    services: ServicesOf,
    *,
    by: GroupedBy = GroupedBy.STATION,
    kind: Literal["p", "np"] = "p",
    minutes: Minutes = 60 * 24,
    sample_minutes: Annotated[int, Query(ge=1, le=60 * 24)] = 30,
    reference: Annotated[int, Query(ge=_LEAST_REFERENCE, le=MOST_POINTS)] = 20,
    limits: Literal["exact", "3 sigma"] = "exact",
    rules: Literal["nelson", "western-electric", "none"] = "none",
    station: StationQuery = None,
    product: Name | None = None,
    shifts: Shifts = "06:00,14:00,22:00",
    time_zone: Zone = "UTC",
    until: WrittenTime | None = None,
) -> list[AttributeChartView]:
    """Shares (p) or numbers (np) of NG parts in samples of `sample_minutes`, the first `reference` of them phase I.

    A group with fewer samples than `reference` has no chart yet. Package changes and alarms are marked. Each named rule
    that is on adds false alarms (docs/charts.md).
    """
    _require_few(minutes, sample_minutes)
    key = key_of(by, shifts, time_zone)
    scope = quality_scope(services.clock.now(), minutes, station, product, until)
    plan = ChartPlan(kind, timedelta(minutes=sample_minutes), reference, limits, rules)
    with services.database.read() as session:
        found = by_sample(cells(session, scope), scope.since, plan.sample)
        alarms = alarms_of(session, scope)
    return charts_of(found, key, alarms, scope.since, plan)


@router.get("/memory-charts", summary="CUSUM and EWMA charts of rejects by group")
def memory_charts(
    services: ServicesOf,
    *,
    by: GroupedBy = GroupedBy.STATION,
    kind: MemoryKind = "cusum",
    minutes: Minutes = 60 * 24,
    sample_minutes: Annotated[int, Query(ge=1, le=60 * 24)] = 30,
    reference: Annotated[int, Query(ge=_LEAST_REFERENCE, le=MOST_POINTS)] = 20,
    station: StationQuery = None,
    product: Name | None = None,
    shifts: Shifts = "06:00,14:00,22:00",
    time_zone: Zone = "UTC",
    until: WrittenTime | None = None,
) -> list[MemoryChartView]:
    """Small lasting shifts of the share of NG parts, against the share of the first `reference` samples.

    Samples of unequal size are put on one scale, standard deviations. The limits allow for how far the share may be off
    that few samples gave. A group with fewer samples than `reference` has no chart yet.
    """
    _require_few(minutes, sample_minutes)
    key = key_of(by, shifts, time_zone)
    scope = quality_scope(services.clock.now(), minutes, station, product, until)
    plan = ChartPlan("p", timedelta(minutes=sample_minutes), reference)
    with services.database.read() as session:
        found = by_sample(cells(session, scope), scope.since, plan.sample)
        alarms = alarms_of(session, scope)
    return memory_charts_of(found, key, alarms, scope.since, plan, kind=kind)


def _require_few(minutes: int, sample_minutes: int) -> None:
    if minutes / sample_minutes > MOST_POINTS:
        raise InvalidError(
            f"sample_minutes: expected at most {MOST_POINTS} samples, got {minutes / sample_minutes:.0f}"
        )


def alarms_of(session: Session, scope: Scope) -> list[Alarm]:
    """Those raised in scope, oldest first."""
    wanted = select(Alarm).where(Alarm.raised_at >= scope.since, Alarm.raised_at < scope.until)
    return list(session.exec(wanted.order_by(col(Alarm.id)).limit(MOST_POINTS)).all())
