# SPDX-License-Identifier: Apache-2.0
"""`/quality/figures` and `/quality/attribute-charts`: yields, Pareto, escapes, cost and charts by any grouping.

Reads rollups and audits, computes with `quality/charts`, decides nothing.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Literal

import numpy as np
from fastapi import APIRouter, Depends, Query
from sqlmodel import Session, col, select

from central.api.auth import ServicesOf, allow
from central.api.quality import StationQuery, quality_scope
from central.api.quality_group_schemas import (
    Amount,
    AttributeChartView,
    AttributePoint,
    ChartMark,
    FiguresView,
    GroupedBy,
    GroupFigures,
    ParetoEntry,
)
from central.api.views import CONFIDENCE, plain_rate, rate_view
from central.domain.shifts import ShiftPlan
from central.errors import InvalidError
from central.quality.charts import (
    NELSON,
    WESTERN_ELECTRIC,
    attribute_chart,
    escape_ppm,
    first_pass_yield,
    overkill_cost,
    pareto,
    run_rules,
)
from central.quality.rates import Interval, escape_interval
from central.store.learning_tables import Alarm
from central.store.repositories.quality import Scope
from central.store.repositories.quality_cells import Cell, PersonsWord, Place, cells, persons_words
from contracts.ids import Name, StationAddress
from contracts.vocabulary import Role, Verdict

router = APIRouter(prefix="/quality", tags=["quality"], dependencies=[Depends(allow(Role.VIEWER))])

# A month of minutes of ten streams is about half a million rows; more is for the report, not for a screen.
_MOST_MINUTES = 60 * 24 * 31
_MOST_POINTS = 1000
_LEAST_REFERENCE = 10
Group = tuple[str, bool]
Minutes = Annotated[int, Query(ge=1, le=_MOST_MINUTES)]
Shifts = Annotated[str, Query(max_length=100, description="when shifts begin, by the clock of time_zone")]
Zone = Annotated[str, Query(max_length=64, description="name of the IANA database")]
_RULES = {"nelson": NELSON, "western-electric": WESTERN_ELECTRIC, "none": ()}


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
) -> FiguresView:
    """Over the last `minutes` of capture time. Groups in order of their names, real parts before simulated ones."""
    key, scope = _key(by, shifts, time_zone), quality_scope(services.clock.now(), minutes, station, product)
    with services.database.read() as session:
        counted: dict[Group, dict[Verdict, int]] = defaultdict(lambda: dict.fromkeys(Verdict, 0))
        for cell in cells(session, scope):
            total = counted[_group(key, cell.place)]
            for verdict, count in cell.verdicts.items():
                total[verdict] += count
        said: dict[Group, list[PersonsWord]] = defaultdict(list)
        for word in persons_words(session, scope):
            said[_group(key, word.place)].append(word)
    groups = [
        _figures(group, counted[group], said.get(group, []), cost_of_part, currency)
        for group in sorted(counted, key=lambda group: (group[1], group[0]))
    ]
    return FiguresView(since=scope.since, until=scope.until, by=by, groups=groups)


@router.get("/attribute-charts", summary="p and np charts of rejects by group")
def attribute_charts(
    services: ServicesOf,
    *,
    by: GroupedBy = GroupedBy.STATION,
    kind: Literal["p", "np"] = "p",
    minutes: Minutes = 60 * 24,
    sample_minutes: Annotated[int, Query(ge=1, le=60 * 24)] = 30,
    reference: Annotated[int, Query(ge=_LEAST_REFERENCE, le=_MOST_POINTS)] = 20,
    limits: Literal["exact", "3 sigma"] = "exact",
    rules: Literal["nelson", "western-electric", "none"] = "none",
    station: StationQuery = None,
    product: Name | None = None,
    shifts: Shifts = "06:00,14:00,22:00",
    time_zone: Zone = "UTC",
) -> list[AttributeChartView]:
    """Shares (p) or numbers (np) of NG parts in samples of `sample_minutes`, the first `reference` of them phase I.

    A group with fewer samples than `reference` has no chart yet. Package changes and alarms are marked. Each named rule
    that is on adds false alarms (docs/charts.md).
    """
    if minutes / sample_minutes > _MOST_POINTS:
        raise InvalidError(
            f"sample_minutes: expected at most {_MOST_POINTS} samples, got {minutes / sample_minutes:.0f}"
        )
    key, scope = _key(by, shifts, time_zone), quality_scope(services.clock.now(), minutes, station, product)
    collected: dict[Group, list[Cell]] = defaultdict(list)
    with services.database.read() as session:
        for cell in cells(session, scope):
            collected[_group(key, cell.place)].append(cell)
        alarms = _alarms(session, scope)
    views = []
    for group in sorted(collected, key=lambda group: (group[1], group[0])):
        samples = _samples(collected[group], scope.since, timedelta(minutes=sample_minutes))
        if len(samples) < reference:
            continue
        count, of = (np.array([sample[index] for sample in samples.values()], dtype=np.int64) for index in (0, 1))
        chart = attribute_chart(kind, count, of, reference, limits=limits)
        held = defaultdict(list)
        for signal in run_rules(chart.standardized, _RULES[rules]):
            held[signal.at].append(f"{signal.rule}: {signal.meaning}")
        for index in chart.signal_at:
            held[index].insert(0, f"outside {limits} limits")
        views.append(
            AttributeChartView(
                group=group[0],
                kind=kind,
                unit="share of parts" if kind == "p" else "parts",
                is_simulated=group[1],
                centre_line=float(chart.centre[-1]),
                reference=reference,
                points=[
                    AttributePoint(
                        at=at,
                        value=float(chart.value[index]),
                        count=int(count[index]),
                        of=int(of[index]),
                        low=float(chart.low[index]),
                        high=float(chart.high[index]),
                        rules=held[index],
                    )
                    for index, at in enumerate(samples)
                ],
                marks=_marks(collected[group], [a for a in alarms if _concerns(a, collected[group], group[1])]),
            )
        )
    return views


def _key(by: GroupedBy, shifts: str, time_zone: str) -> Callable[[Place], str]:
    if by is GroupedBy.SHIFT:
        try:
            plan = ShiftPlan(tuple(shifts.split(",")), time_zone)
        except ValueError as error:
            raise InvalidError(str(error)) from error
        return lambda place: plan.name(place.at)
    if by is GroupedBy.PRODUCT:
        return lambda place: place.product
    if by is GroupedBy.PACKAGE:
        return lambda place: place.package_id
    depth = {GroupedBy.SITE: 1, GroupedBy.LINE: 2, GroupedBy.STATION: 3}[by]
    return lambda place: "/".join(str(StationAddress.parse(place.station)).split("/")[:depth])


def _group(key: Callable[[Place], str], place: Place) -> Group:
    return key(place), place.is_simulated


def _figures(
    group: Group,
    verdicts: dict[Verdict, int],
    said: Sequence[PersonsWord],
    cost_of_part: float | None,
    currency: str,
) -> GroupFigures:
    parts = sum(verdicts.values())
    accepted = [word for word in said if word.verdict is Verdict.OK]
    rejected = [word for word in said if word.verdict is Verdict.NG]
    good = sum(not word.is_defective for word in rejected)
    overkill = plain_rate(good, len(rejected))
    named: dict[str, int] = defaultdict(int)
    for word in said:
        if word.is_defective:
            named[word.defect_class or "not named"] += 1
    total = sum(named.values())
    cost = None
    if cost_of_part is not None:
        share = Interval(overkill.low, overkill.estimate, overkill.high, overkill.method)
        cost = _amount(overkill_cost(verdicts[Verdict.NG], share, cost_of_part), currency or "cost units")
    return GroupFigures(
        group=group[0],
        is_simulated=group[1],
        parts=parts,
        verdicts=verdicts,
        first_pass_yield=rate_view(first_pass_yield(verdicts[Verdict.OK], parts), verdicts[Verdict.OK], parts),
        reject_rate=plain_rate(verdicts[Verdict.NG], parts),
        escapes=_amount(escape_ppm(_escapes(accepted, verdicts[Verdict.OK])), "ppm of accepted parts"),
        overkill=overkill,
        overkill_cost=cost,
        pareto=[
            ParetoEntry(
                defect_class=bar.defect_class,
                count=bar.count,
                share=rate_view(bar.share, bar.count, total),
                cumulative=bar.cumulative,
            )
            for bar in pareto(named)
        ],
    )


def _escapes(accepted: Sequence[PersonsWord], parts: int) -> Interval:
    defective = np.array([word.is_defective for word in accepted], dtype=np.bool_)
    probability = np.array([word.inclusion_probability for word in accepted], dtype=np.float64)
    # Audits belong to exact capture times, accepted parts to whole minutes: never fewer accepted than judged.
    return escape_interval(defective, probability, max(parts, len(accepted)), CONFIDENCE)


def _amount(interval: Interval, unit: str) -> Amount:
    return Amount(low=interval.low, estimate=interval.estimate, high=interval.high, unit=unit, method=interval.method)


def _samples(collected: Sequence[Cell], since: datetime, length: timedelta) -> dict[datetime, tuple[int, int]]:
    """Rejected and all parts of each sample by its beginning; times without parts have none."""
    samples: dict[datetime, tuple[int, int]] = {}
    for cell in collected:
        at = since + (cell.place.at - since) // length * length
        rejected, parts = samples.get(at, (0, 0))
        samples[at] = rejected + cell.verdicts[Verdict.NG], parts + sum(cell.verdicts.values())
    return dict(sorted((at, sample) for at, sample in samples.items() if sample[1]))


def _alarms(session: Session, scope: Scope) -> list[Alarm]:
    wanted = select(Alarm).where(Alarm.raised_at >= scope.since, Alarm.raised_at < scope.until)
    return list(session.exec(wanted.order_by(col(Alarm.id)).limit(_MOST_POINTS)).all())


def _concerns(alarm: Alarm, collected: Sequence[Cell], is_simulated: bool) -> bool:
    """Whether an alarm speaks of any stream of a group."""
    return alarm.is_simulated == is_simulated and any(
        alarm.station in {None, cell.place.station} and alarm.product in {None, cell.place.product}
        for cell in collected
    )


def _marks(collected: Sequence[Cell], alarms: Sequence[Alarm]) -> list[ChartMark]:
    marks = [ChartMark(at=alarm.raised_at, kind="alarm", text=f"{alarm.kind}: {alarm.message}") for alarm in alarms]
    judging: dict[tuple[str, str], str] = {}
    for cell in collected:
        place = cell.place
        before = judging.get((place.station, place.product))
        if place.package_id and before not in {None, place.package_id}:
            text = f"{place.station}, {place.product}: package {place.package_id[:12]}"
            marks.append(ChartMark(at=place.at, kind="package", text=text))
        if place.package_id:
            judging[place.station, place.product] = place.package_id
    return sorted(marks, key=lambda mark: (mark.at, mark.kind, mark.text))
