# SPDX-License-Identifier: Apache-2.0
"""`/quality`: rates with intervals and denominators, minutes, charts. Reads rollups and audits, decides nothing."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, Depends, Query

from central.api.answers import errors_of_one_answer
from central.api.auth import ServicesOf, allow
from central.api.queries import StationQuery
from central.api.schemas import Bucket, ChartView, LineRates, Rate, RatesView
from central.api.views import CONFIDENCE, bucket_view, plain_rate, rate_view
from central.api.written import WrittenTime
from central.domain.audit import Pool
from central.errors import InvalidError
from central.quality.agreement import allow_for_errors
from central.quality.rates import Interval, WeightedShare, escape_interval, overkill_interval, with_unsettled
from central.store.repositories import quality
from central.store.repositories.quality import JudgedAudit, LineCounts, PoolKey, Scope
from central.store.repositories.quality_cells import PersonsWord
from central.store.rollups import minute_of
from contracts.ids import Name
from contracts.vocabulary import Role, Verdict, VerdictCause

router = APIRouter(prefix="/quality", tags=["quality"], dependencies=[Depends(allow(Role.VIEWER))])

ALL_STATIONS = "*"
Judged = JudgedAudit | PersonsWord


@router.get("/rates", summary="Rates per station and product")
def rates(
    services: ServicesOf,
    minutes: Annotated[int, Query(ge=1, le=60 * 24 * 400)] = 60,
    station: StationQuery = None,
    product: Name | None = None,
    until: WrittenTime | None = None,
) -> RatesView:
    """Over the last `minutes` of capture time, whole minutes, the running one included.

    Without `station` each product also has a line `*` over all stations.
    """
    scope = quality_scope(services.clock.now(), minutes, station, product, until)
    with services.database.read() as session:
        counts = quality.line_counts(session, scope)
        audits = quality.judged_audits(session, scope)
        pools = quality.pools(session, scope)
        errors = errors_of_one_answer(session, scope.until) if services.settings.audit.confirms else {}
    lines: list[LineCounts] = [*(_over_all(counts) if station is None else ()), *counts]
    return RatesView(
        since=scope.since,
        until=scope.until,
        lines=[_line(line, audits, pools, errors.get(line.is_simulated)) for line in lines],
    )


@router.get("/timeline", summary="Minutes per station, product and package")
def timeline(
    services: ServicesOf,
    *,
    minutes: Annotated[int, Query(ge=1, le=60 * 24 * 400)] = 60,
    station: StationQuery = None,
    product: Name | None = None,
    until: WrittenTime | None = None,
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


def _line(
    line: LineCounts, audits: Sequence[JudgedAudit], pools: Mapping[PoolKey, Pool], error: Interval | None
) -> LineRates:
    own = {
        key: pool
        for key, pool in pools.items()
        if key[1:] == (line.product, line.is_simulated) and line.station in (ALL_STATIONS, key[0])
    }
    judged = [audit for audit in audits if _is_pooled(audit, own)]
    oldest = min(own.values(), key=lambda pool: pool.since, default=None)
    escapes = _escapes(
        [audit for audit in judged if audit.verdict is Verdict.OK], sum(pool.accepted for pool in own.values())
    )
    return LineRates(
        station=line.station,
        product=line.product,
        parts=line.parts,
        verdicts=line.verdicts,
        causes=line.causes,
        reject_rate=plain_rate(line.verdicts[Verdict.NG], line.parts),
        review_rate=plain_rate(line.verdicts[Verdict.REVIEW], line.parts),
        no_decision_rate=plain_rate(line.verdicts[Verdict.NO_DECISION], line.parts),
        escape_share_of_accepted=escapes,
        escape_share_allowing_for_errors=None if error is None else _allowing(escapes, error),
        overkill_share_of_rejected=_overkills(
            [audit for audit in judged if audit.verdict is Verdict.NG], sum(pool.rejected for pool in own.values())
        ),
        good_share_of_review=_overkills(
            [audit for audit in judged if audit.verdict is Verdict.REVIEW], sum(pool.reviewed for pool in own.values())
        ),
        audits_since=None if oldest is None else oldest.since,
        audits_since_cut=None if oldest is None else oldest.cut,
        is_simulated=line.is_simulated,
    )


def _is_pooled(audit: JudgedAudit, pools: Mapping[PoolKey, Pool]) -> bool:
    pool = pools.get((audit.station, audit.product, audit.is_simulated))
    return pool is not None and audit.package_id == pool.package_id and audit.captured_at >= pool.since


def audited_share(share: WeightedShare, judged: Sequence[Judged], population: int, *, wanted: bool) -> Rate:
    """Share of defective (`wanted`), or of good, parts by audits, some of which may wait for another inspector."""
    settled = [audit for audit in judged if audit.is_defective is not None]
    waiting = [audit for audit in judged if audit.is_defective is None]
    found = np.array([audit.is_defective is wanted for audit in settled], dtype=np.bool_)
    # Audits belong to exact capture times, parts to whole minutes: never fewer parts than judged.
    parts = max(population, len(judged))
    interval = with_unsettled(share, found, _chance(settled), _chance(waiting), parts, confidence=CONFIDENCE)
    return rate_view(interval, int(found.sum()), len(settled), len(waiting))


def _allowing(escapes: Rate, error: Interval) -> Rate:
    observed = Interval(escapes.low, escapes.estimate, escapes.high, escapes.method)
    return rate_view(allow_for_errors(observed, error), escapes.count, escapes.of, escapes.unsettled)


def _escapes(judged: Sequence[JudgedAudit], accepted: int) -> Rate:
    return audited_share(escape_interval, judged, accepted, wanted=True)


def _overkills(judged: Sequence[JudgedAudit], rejected: int) -> Rate:
    return audited_share(overkill_interval, judged, rejected, wanted=False)


def _chance(judged: Sequence[Judged]) -> npt.NDArray[np.float64]:
    return np.array([audit.inclusion_probability for audit in judged], dtype=np.float64)
