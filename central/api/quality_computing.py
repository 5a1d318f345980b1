# SPDX-License-Identifier: Apache-2.0
"""Figures and attribute charts of any grouping, from counts and judgements. One place for screen and report.

Pure: reads no database. Called by `api/quality_groups.py` and `central/reports`.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

import numpy as np

from central.api.quality import audited_share
from central.api.quality_group_schemas import (
    Amount,
    AttributeChartView,
    AttributePoint,
    ChartMark,
    GroupedBy,
    GroupFigures,
    ParetoEntry,
)
from central.api.schemas import Rate
from central.api.views import plain_rate, rate_view
from central.domain.audit import Pool
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
from central.quality.charts.attributes import Counts
from central.quality.rates import Interval, escape_interval, overkill_interval
from central.store.learning_tables import Alarm
from central.store.repositories.quality import PoolKey
from central.store.repositories.quality_cells import Cell, PersonsWord, Place
from contracts.ids import StationAddress
from contracts.vocabulary import Verdict

Group = tuple[str, bool]
Key = Callable[[Place], str]
RULES: Final = {"nelson": NELSON, "western-electric": WESTERN_ELECTRIC, "none": ()}


@dataclass(frozen=True)
class ChartPlan:
    """What a chart is made of: kind, length of a sample, samples of phase I, limits, and rules beside them."""

    kind: Literal["p", "np"]
    sample: timedelta
    reference: int
    limits: Literal["exact", "3 sigma"] = "exact"
    rules: str = "none"


@dataclass(frozen=True)
class Sampled:
    """A group's samples: when each began, rejected and all parts of it, and what happened meanwhile."""

    group: Group
    at: list[datetime]
    count: Counts
    of: Counts
    marks: list[ChartMark]


def by_sample(found: Iterable[Cell], since: datetime, length: timedelta) -> list[Cell]:
    """Minutes added up to samples of `length` from `since` on: the same figures, charts and marks out of fewer cells.

    A cell ends with its sample and where another package takes over, so that a change keeps its minute.
    """
    judging: dict[tuple[str, str, bool], str] = {}
    opened: dict[tuple[str, str, bool, str], tuple[int, dict[Verdict, int]]] = {}
    added: list[Cell] = []
    for cell in found:
        place = cell.place
        stream = (place.station, place.product, place.is_simulated)
        number = (place.at - since) // length
        held = opened.get((*stream, place.package_id))
        has_changed = bool(place.package_id) and judging.get(stream) != place.package_id
        if place.package_id:
            judging[stream] = place.package_id
        if held is None or held[0] != number or has_changed:
            verdicts = dict(cell.verdicts)
            opened[*stream, place.package_id] = number, verdicts
            added.append(Cell(place, verdicts))
            continue
        for verdict, count in cell.verdicts.items():
            held[1][verdict] += count
    return added


def figures_of(
    found: Iterable[Cell],
    words: Iterable[PersonsWord],
    key: Key,
    cost: tuple[float | None, str] = (None, ""),
    *,
    pools: Mapping[PoolKey, Pool] | None = None,
) -> list[GroupFigures]:
    """Figures of each group, by name, real parts before simulated ones.

    cost: of a good part that is thrown away, and its currency. pools: which audits of a station and product may be put
    together; None: all of them, as of a piece of the past.
    """
    counted: dict[Group, dict[Verdict, int]] = defaultdict(lambda: dict.fromkeys(Verdict, 0))
    for cell in found:
        total = counted[_group(key, cell.place)]
        for verdict, count in cell.verdicts.items():
            total[verdict] += count
    said: dict[Group, list[PersonsWord]] = defaultdict(list)
    for word in words:
        said[_group(key, word.place)].append(word)
    pooled: dict[Group, dict[PoolKey, Pool]] = defaultdict(dict)
    for of, pool in (pools or {}).items():
        pooled[_group(key, Place(pool.since, of[0], of[1] or "", pool.package_id, of[2]))][of] = pool
    return [
        _figures(group, counted[group], said.get(group, []), None if pools is None else pooled[group], cost)
        for group in sorted(counted, key=lambda group: (group[1], group[0]))
    ]


def charts_of(
    found: Iterable[Cell], key: Key, alarms: Sequence[Alarm], since: datetime, plan: ChartPlan
) -> list[AttributeChartView]:
    """A chart for each group with enough samples; the first begins at `since`."""
    views = []
    for samples in sampled(found, key, alarms, since, plan):
        group, count, of = samples.group, samples.count, samples.of
        chart = attribute_chart(plan.kind, count, of, plan.reference, limits=plan.limits)
        held = defaultdict(list)
        for signal in run_rules(chart.standardized, RULES[plan.rules]):
            held[signal.at].append(f"{signal.rule}: {signal.meaning}")
        for index in chart.signal_at:
            held[index].insert(0, f"outside {plan.limits} limits")
        views.append(
            AttributeChartView(
                group=group[0],
                kind=plan.kind,
                unit="share of parts" if plan.kind == "p" else "parts",
                is_simulated=group[1],
                centre_line=float(chart.centre[-1]),
                reference=plan.reference,
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
                    for index, at in enumerate(samples.at)
                ],
                marks=samples.marks,
            )
        )
    return views


def sampled(
    found: Iterable[Cell], key: Key, alarms: Sequence[Alarm], since: datetime, plan: ChartPlan
) -> Iterator[Sampled]:
    """The samples of each group that has enough of them, by name, real parts before simulated ones."""
    collected: dict[Group, list[Cell]] = defaultdict(list)
    for cell in found:
        collected[_group(key, cell.place)].append(cell)
    for group in sorted(collected, key=lambda group: (group[1], group[0])):
        samples = _samples(collected[group], since, plan.sample)
        if len(samples) < plan.reference:
            continue
        count, of = (np.array([sample[index] for sample in samples.values()], dtype=np.int64) for index in (0, 1))
        marks = marks_of(collected[group], [a for a in alarms if _concerns(a, collected[group], group[1])])
        yield Sampled(group, list(samples), count, of, marks)


def key_of(by: GroupedBy, shifts: str, time_zone: str) -> Key:
    """What groups parts.

    Raises:
        InvalidError: shifts or time zone that are none.
    """
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


def _group(key: Key, place: Place) -> Group:
    return key(place), place.is_simulated


def _figures(
    group: Group,
    verdicts: dict[Verdict, int],
    said: Sequence[PersonsWord],
    pools: Mapping[PoolKey, Pool] | None,
    cost: tuple[float | None, str],
) -> GroupFigures:
    parts = sum(verdicts.values())
    pooled, of_accepted, of_rejected = said, verdicts[Verdict.OK], verdicts[Verdict.NG]
    if pools is not None:
        pooled = [word for word in said if _is_pooled(word, pools)]
        of_accepted = sum(pool.accepted for pool in pools.values())
        of_rejected = sum(pool.rejected for pool in pools.values())
    oldest = min((pools or {}).values(), key=lambda pool: pool.since, default=None)
    accepted = [word for word in pooled if word.verdict is Verdict.OK]
    rejected = [word for word in pooled if word.verdict is Verdict.NG]
    overkill = audited_share(overkill_interval, rejected, of_rejected, wanted=False)
    escaped = audited_share(escape_interval, accepted, of_accepted, wanted=True)
    named: dict[str, int] = defaultdict(int)
    for word in said:
        if word.is_defective:
            named[word.defect_class or "not named"] += 1
    total = sum(named.values())
    cost_of_part, currency = cost
    amount = None
    if cost_of_part is not None:
        share = Interval(overkill.low, overkill.estimate, overkill.high, overkill.method)
        amount = _amount(overkill_cost(verdicts[Verdict.NG], share, cost_of_part), currency or "cost units", overkill)
    return GroupFigures(
        group=group[0],
        is_simulated=group[1],
        parts=parts,
        verdicts=verdicts,
        first_pass_yield=rate_view(first_pass_yield(verdicts[Verdict.OK], parts), verdicts[Verdict.OK], parts),
        reject_rate=plain_rate(verdicts[Verdict.NG], parts),
        escapes=_amount(
            escape_ppm(Interval(escaped.low, escaped.estimate, escaped.high, escaped.method)),
            "ppm of accepted parts",
            escaped,
        ),
        escapes_found=escaped.count,
        escapes_audited=escaped.of,
        overkill=overkill,
        overkill_cost=amount,
        audits_since=None if oldest is None else oldest.since,
        audits_since_cut=None if oldest is None else oldest.cut,
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


def _is_pooled(word: PersonsWord, pools: Mapping[PoolKey, Pool]) -> bool:
    place = word.place
    pool = pools.get((place.station, place.product or None, place.is_simulated))
    return pool is not None and place.package_id == pool.package_id and place.at >= pool.since


def _amount(interval: Interval, unit: str, rests_on: Rate) -> Amount:
    return Amount(
        low=interval.low,
        estimate=interval.estimate,
        high=interval.high,
        unit=unit,
        method=interval.method,
        count=rests_on.count,
        of=rests_on.of,
        unsettled=rests_on.unsettled,
    )


def _samples(collected: Sequence[Cell], since: datetime, length: timedelta) -> dict[datetime, tuple[int, int]]:
    """Rejected and all parts of each sample by its beginning; times without parts have none."""
    samples: dict[datetime, tuple[int, int]] = {}
    for cell in collected:
        at = since + (cell.place.at - since) // length * length
        rejected, parts = samples.get(at, (0, 0))
        samples[at] = rejected + cell.verdicts[Verdict.NG], parts + sum(cell.verdicts.values())
    return dict(sorted((at, sample) for at, sample in samples.items() if sample[1]))


def _concerns(alarm: Alarm, collected: Sequence[Cell], is_simulated: bool) -> bool:
    """Whether an alarm speaks of any stream of a group."""
    return alarm.is_simulated == is_simulated and any(
        alarm.station in {None, cell.place.station} and alarm.product in {None, cell.place.product}
        for cell in collected
    )


def marks_of(collected: Sequence[Cell], alarms: Sequence[Alarm]) -> list[ChartMark]:
    """Alarms, and the changes of the package that judges a station's product."""
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
