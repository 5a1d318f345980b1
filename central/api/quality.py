# SPDX-License-Identifier: Apache-2.0
"""`/quality`: rates with intervals and denominators, minutes, charts. Reads rollups and audits, decides nothing."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, Depends, Query

from central.api.auth import ServicesOf, allow
from central.api.schemas import Bucket, ChartView, LineRates, Rate, RatesView
from central.api.views import CONFIDENCE, bucket_view, plain_rate, rate_view
from central.domain.audit import Pool
from central.errors import InvalidError
from central.quality.rates import escape_interval, overkill_interval
from central.store.repositories import quality
from central.store.repositories.quality import JudgedAudit, LineCounts, PoolKey, Scope
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
        pools = quality.pools(session, scope)
    lines: list[LineCounts] = [*(_over_all(counts) if station is None else ()), *counts]
    return RatesView(since=scope.since, until=scope.until, lines=[_line(line, audits, pools) for line in lines])


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


def _line(line: LineCounts, audits: Sequence[JudgedAudit], pools: Mapping[PoolKey, Pool]) -> LineRates:
    own = {
        key: pool
        for key, pool in pools.items()
        if key[1:] == (line.product, line.is_simulated) and line.station in (ALL_STATIONS, key[0])
    }
    judged = [audit for audit in audits if _is_pooled(audit, own)]
    oldest = min(own.values(), key=lambda pool: pool.since, default=None)
    return LineRates(
        station=line.station,
        product=line.product,
        parts=line.parts,
        verdicts=line.verdicts,
        causes=line.causes,
        reject_rate=plain_rate(line.verdicts[Verdict.NG], line.parts),
        review_rate=plain_rate(line.verdicts[Verdict.REVIEW], line.parts),
        no_decision_rate=plain_rate(line.verdicts[Verdict.NO_DECISION], line.parts),
        escape_share_of_accepted=_escapes(
            [audit for audit in judged if audit.verdict is Verdict.OK], sum(pool.accepted for pool in own.values())
        ),
        overkill_share_of_rejected=_overkills(
            [audit for audit in judged if audit.verdict is Verdict.NG], sum(pool.rejected for pool in own.values())
        ),
        audits_since=None if oldest is None else oldest.since,
        audits_since_cut=None if oldest is None else oldest.cut,
        is_simulated=line.is_simulated,
    )


def _is_pooled(audit: JudgedAudit, pools: Mapping[PoolKey, Pool]) -> bool:
    pool = pools.get((audit.station, audit.product, audit.is_simulated))
    return pool is not None and audit.package_id == pool.package_id and audit.captured_at >= pool.since


def _escapes(judged: Sequence[JudgedAudit], accepted: int) -> Rate:
    defective = np.array([audit.is_defective for audit in judged], dtype=np.bool_)
    # Audits belong to exact capture times, accepted parts to whole minutes: never fewer accepted than judged.
    interval = escape_interval(defective, _chance(judged), max(accepted, len(judged)), CONFIDENCE)
    return rate_view(interval, int(defective.sum()), len(judged))


def _overkills(judged: Sequence[JudgedAudit], rejected: int) -> Rate:
    good = np.array([not audit.is_defective for audit in judged], dtype=np.bool_)
    interval = overkill_interval(good, _chance(judged), max(rejected, len(judged)), CONFIDENCE)
    return rate_view(interval, int(good.sum()), len(judged))


def _chance(judged: Sequence[JudgedAudit]) -> npt.NDArray[np.float64]:
    return np.array([audit.inclusion_probability for audit in judged], dtype=np.float64)
