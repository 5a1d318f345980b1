# SPDX-License-Identifier: Apache-2.0
"""Figures for rates and timelines, read from rollups and audits. Computes no interval: that is `quality/rates.py`.

Simulated and real parts never share a figure: `is_simulated` is part of every key.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, or_
from sqlalchemy import select as sql_select
from sqlmodel import Session, col, select

from central.domain.audit import PackageSpan, Pool, pool_of
from central.store.learning_tables import Alarm
from central.store.repositories.chance import is_by_chance
from central.store.rollups import CAUSE_COLUMNS, VERDICT_COLUMNS, percentile_ms
from central.store.tables import Audit, Inspection, RollupLatency, RollupMinute, Station, columns_of
from contracts.vocabulary import AlarmKind, AuditState, Judgement, Verdict, VerdictCause


@dataclass(frozen=True)
class Scope:
    """Which parts: captured from `since` (included) to `until` (not), at one station or product or all.

    `within`: only stations of this site or line (`site`, `site/line`).
    """

    since: datetime
    until: datetime
    station: str | None = None
    product: str | None = None
    within: str | None = None

    def holds(self, station: str | None, product: str | None) -> bool:
        """Whether something said of a station and a product (None: of all) concerns these parts."""
        return (
            (station is None or self.station in {None, station})
            and (station is None or self.within is None or station.startswith(f"{self.within}/"))
            and (product is None or self.product in {None, product})
        )


def at_stations(scope: Scope) -> list[Any]:
    """Conditions on `Station.address`."""
    wanted: list[Any] = [] if scope.station is None else [col(Station.address) == scope.station]
    # Names of sites and lines have no %, _ stands for itself only when escaped.
    return (
        wanted
        if scope.within is None
        else [*wanted, col(Station.address).startswith(f"{scope.within}/", autoescape=True)]
    )


@dataclass(frozen=True)
class LineCounts:
    """Parts of one station × product by verdict and cause."""

    station: str
    product: str | None
    is_simulated: bool
    verdicts: dict[Verdict, int]
    causes: dict[VerdictCause, int]

    @property
    def parts(self) -> int:
        """All of them."""
        return sum(self.verdicts.values())


@dataclass(frozen=True)
class JudgedAudit:
    """An audit of a part in scope that people judged. `is_defective` None: it waits for another inspector.

    What nobody could tell (UNSURE) is left out.
    """

    station: str
    product: str | None
    is_simulated: bool
    verdict: Verdict
    is_defective: bool | None
    inclusion_probability: float
    package_id: str | None
    captured_at: datetime


# Station, product, simulated or not.
PoolKey = tuple[str, str | None, bool]


@dataclass(frozen=True)
class MinuteEntry:
    """A rollup row with its station's address and its latency percentile."""

    rollup: RollupMinute
    station: str
    p99_verdict_ms: float | None


def line_counts(session: Session, scope: Scope) -> list[LineCounts]:
    """One entry a station × product × simulated-or-not, by station and product."""
    columns = [*VERDICT_COLUMNS.values(), *CAUSE_COLUMNS.values()]
    sums: Any = [func.sum(getattr(RollupMinute, name)) for name in columns]
    keys: Any = [Station.address, RollupMinute.product, RollupMinute.is_simulated]
    rows = session.connection().execute(_in_scope(select(*keys, *sums), scope).group_by(*keys).order_by(*keys))
    found = []
    for station, product, is_simulated, *counts in rows:
        by_name = dict(zip(columns, map(int, counts), strict=True))
        verdicts = {verdict: by_name[name] for verdict, name in VERDICT_COLUMNS.items()}
        causes: dict[VerdictCause, int] = {cause: by_name[name] for cause, name in CAUSE_COLUMNS.items()}
        causes[VerdictCause.SCORE] = sum(verdicts.values()) - sum(causes.values())
        found.append(LineCounts(station, product or None, is_simulated, verdicts, causes))
    return found


def judged_audits(session: Session, scope: Scope) -> Sequence[JudgedAudit]:
    """Judged audits of the parts in scope that chance drew: the others say nothing of a rate."""
    columns: Any = [Station.address, Audit, Inspection.verdict, Inspection.package_id, Inspection.captured_at]
    statement = (
        select(*columns)
        .join(Inspection, col(Inspection.id) == col(Audit.inspection_id))
        .join(Station, col(Station.id) == col(Inspection.station_id))
        .where(
            Audit.state == AuditState.JUDGED,
            Audit.ask == 1,
            is_by_chance(Audit),
            or_(col(Audit.outcome).is_(None), col(Audit.outcome) != Judgement.UNSURE),
            Inspection.captured_at >= scope.since,
            Inspection.captured_at < scope.until,
        )
    )
    statement = statement.where(*at_stations(scope))
    if scope.product is not None:
        statement = statement.where(Audit.product == scope.product)
    return [
        JudgedAudit(
            station=station,
            product=audit.product,
            is_simulated=audit.is_simulated,
            verdict=Verdict(verdict),
            is_defective=None if audit.outcome is None else audit.outcome is Judgement.DEFECTIVE,
            inclusion_probability=audit.inclusion_probability,
            package_id=package_id,
            captured_at=captured_at,
        )
        for station, audit, verdict, package_id, captured_at in session.exec(statement).all()
    ]


def pools(session: Session, scope: Scope) -> dict[PoolKey, Pool]:
    """Which audits of each station × product may be pooled (`domain/audit.py`)."""
    keys: Any = [Station.address, RollupMinute.product, RollupMinute.is_simulated, RollupMinute.package_id]
    minute, row = col(RollupMinute.minute), RollupMinute
    figures: Any = [func.min(minute), func.max(minute), func.sum(row.ok), func.sum(row.ng), func.sum(row.review)]
    rows = session.connection().execute(_in_scope(select(*keys, *figures), scope).group_by(*keys))
    spans: defaultdict[PoolKey, list[PackageSpan]] = defaultdict(list)
    for station, product, is_simulated, package_id, first, last, accepted, rejected, reviewed in rows:
        # Parts that no package judged (no decision) say nothing of when one was changed.
        if package_id:
            span = PackageSpan(package_id, first, last, int(accepted), int(rejected), int(reviewed))
            spans[station, product or None, is_simulated].append(span)
    alarm = columns_of(Alarm).c
    newest: dict[tuple[str | None, bool], datetime] = {}
    asked = sql_select(alarm.product, alarm.is_simulated, func.max(alarm.raised_at), func.max(alarm.closed_at))
    for product, is_simulated, raised_at, closed_at in session.connection().execute(
        asked.where(alarm.kind == AlarmKind.ESCAPES).group_by(alarm.product, alarm.is_simulated)
    ):
        newest[product, is_simulated] = max(at for at in (raised_at, closed_at) if at is not None)
    found: dict[PoolKey, Pool] = {}
    for key, of_key in spans.items():
        pool = pool_of(of_key, scope.since, newest.get(key[1:]))
        if pool is not None:
            found[key] = pool
    return found


def minutes(session: Session, scope: Scope, limit: int) -> list[MinuteEntry]:
    """Rollup rows, newest first."""
    statement = _in_scope(select(RollupMinute, Station.address), scope)
    order = (col(RollupMinute.minute).desc(), Station.address, RollupMinute.product, RollupMinute.package_id)
    rows = session.exec(statement.order_by(*order).limit(limit)).all()
    if not rows:
        return []
    oldest = min(row.minute for row, _ in rows)
    histograms: defaultdict[tuple[Any, ...], dict[int, int]] = defaultdict(dict)
    latencies = session.exec(
        select(RollupLatency).where(RollupLatency.minute >= oldest, RollupLatency.minute < scope.until)
    ).all()
    for latency in latencies:
        histograms[_key(latency)][latency.bucket] = latency.parts
    return [MinuteEntry(row, address, percentile_ms(histograms[_key(row)], 0.99)) for row, address in rows]


def _in_scope(statement: Any, scope: Scope) -> Any:
    statement = statement.join(Station, col(Station.id) == col(RollupMinute.station_id)).where(
        RollupMinute.minute >= scope.since, RollupMinute.minute < scope.until
    )
    statement = statement.where(*at_stations(scope))
    return statement if scope.product is None else statement.where(RollupMinute.product == scope.product)


def _key(row: RollupMinute | RollupLatency) -> tuple[Any, ...]:
    return row.minute, row.station_id, row.product, row.package_id, row.is_simulated
