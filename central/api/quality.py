# SPDX-License-Identifier: Apache-2.0
"""`/quality`: rates with intervals and denominators, minutes, charts. Reads rollups and audits, decides nothing."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Depends, Query

from central.api.auth import ServicesOf, allow
from central.api.schemas import Bucket, ChartView, LineRates, Rate, RatesView
from central.api.views import CONFIDENCE, bucket_view, plain_rate, rate_view
from central.errors import InvalidError
from central.quality.rates import escape_interval
from central.store.repositories import quality
from central.store.repositories.quality import JudgedAudit, LineCounts, Scope
from central.store.rollups import minute_of
from contracts.base import UtcTime
from contracts.ids import Name
from contracts.vocabulary import Role, Verdict, VerdictCause

router = APIRouter(prefix="/quality", tags=["quality"], dependencies=[Depends(allow(Role.VIEWER))])

ALL_STATIONS = "*"
StationQuery = Annotated[str | None, Query(description="site/line/station")]


@router.get("/rates", summary="Rates per station and product")
def rates(
    services: ServicesOf,
    minutes: Annotated[int, Query(ge=1, le=60 * 24 * 400)] = 60,
    station: StationQuery = None,
    product: Name | None = None,
    until: UtcTime | None = None,
) -> RatesView:
    """Over the last `minutes` of capture time, whole minutes, the running one included.

    Without `station` each product also has a line `*` over all stations.
    """
    scope = quality_scope(services.clock.now(), minutes, station, product, until)
    with services.database.read() as session:
        counts = quality.line_counts(session, scope)
        audits = quality.judged_audits(session, scope)
    lines: list[LineCounts] = [*(_over_all(counts) if station is None else ()), *counts]
    return RatesView(since=scope.since, until=scope.until, lines=[_line(line, audits) for line in lines])


@router.get("/timeline", summary="Minutes per station, product and package")
def timeline(
    services: ServicesOf,
    *,
    minutes: Annotated[int, Query(ge=1, le=60 * 24 * 400)] = 60,
    station: StationQuery = None,
    product: Name | None = None,
    until: UtcTime | None = None,
    limit: Annotated[int, Query(ge=1, le=20_000)] = 5_000,
) -> list[Bucket]:
    """Newest first. `p99_verdict_ms` is read from a histogram: at most 10 % too high, never too low."""
    scope = quality_scope(services.clock.now(), minutes, station, product, until)
    with services.database.read() as session:
        return [bucket_view(entry) for entry in quality.minutes(session, scope, limit)]


@router.get("/charts", summary="Control charts as data")
def charts(services: ServicesOf, station: StationQuery = None) -> list[ChartView]:
    """The charts that are watched, with their limits and signals."""
    draw: Callable[[str | None, datetime], list[ChartView]] | None = getattr(services.loop, "charts", None)
    return [] if draw is None else draw(station, services.clock.now())


def quality_scope(
    now: datetime, minutes: int, station: str | None, product: str | None, until: datetime | None = None
) -> Scope:
    """The last `minutes` whole minutes up to `until`, or up to now with the running one included."""
    end = minute_of(until) if until is not None else minute_of(now) + timedelta(minutes=1)
    try:
        return Scope(end - timedelta(minutes=minutes), end, station, product)
    except OverflowError as error:
        raise InvalidError(f"until: expected a time in reach, got {until}") from error


def _over_all(counts: Iterable[LineCounts]) -> list[LineCounts]:
    """One line per product, all stations together; simulated and real apart."""
    total: dict[tuple[str | None, bool], LineCounts] = {}
    for line in counts:
        key = (line.product, line.is_simulated)
        known = total.setdefault(
            key,
            LineCounts(
                ALL_STATIONS,
                line.product,
                line.is_simulated,
                dict.fromkeys(Verdict, 0),
                dict.fromkeys(VerdictCause, 0),
            ),
        )
        for verdict, count in line.verdicts.items():
            known.verdicts[verdict] += count
        for cause, count in line.causes.items():
            known.causes[cause] += count
    return list(total.values())


def _line(line: LineCounts, audits: Sequence[JudgedAudit]) -> LineRates:
    judged = [
        audit
        for audit in audits
        if line.station in (ALL_STATIONS, audit.station)
        and (audit.product, audit.is_simulated) == (line.product, line.is_simulated)
    ]
    return LineRates(
        station=line.station,
        product=line.product,
        parts=line.parts,
        verdicts=line.verdicts,
        causes=line.causes,
        reject_rate=plain_rate(line.verdicts[Verdict.NG], line.parts),
        review_rate=plain_rate(line.verdicts[Verdict.REVIEW], line.parts),
        no_decision_rate=plain_rate(line.verdicts[Verdict.NO_DECISION], line.parts),
        escape_share_of_accepted=_escapes([audit for audit in judged if audit.verdict is Verdict.OK], line),
        overkill_share_of_rejected=_overkills([audit for audit in judged if audit.verdict is Verdict.NG]),
        is_simulated=line.is_simulated,
    )


def _escapes(judged: Sequence[JudgedAudit], line: LineCounts) -> Rate:
    defective = np.array([audit.is_defective for audit in judged], dtype=np.bool_)
    probability = np.array([audit.inclusion_probability for audit in judged], dtype=np.float64)
    # Audits belong to exact capture times, accepted parts to whole minutes: never fewer accepted than judged.
    accepted = max(line.verdicts[Verdict.OK], len(judged))
    interval = escape_interval(defective, probability, accepted, CONFIDENCE)
    return rate_view(interval, int(defective.sum()), len(judged))


def _overkills(judged: Sequence[JudgedAudit]) -> Rate:
    return plain_rate(sum(not audit.is_defective for audit in judged), len(judged))
