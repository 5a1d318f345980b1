# SPDX-License-Identifier: Apache-2.0
"""CUSUM and EWMA charts of rejects by group: what a p chart sees late, a small shift that stays.

Pure: counts in, charts out. Phase I gives the share that samples are held against, phase II adds up how far they lie
from it (`quality/charts`). Called by `api/quality_groups.py`.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final, Literal

from central.api.quality_computing import ChartPlan, Key, Sampled, sampled
from central.api.quality_group_schemas import MemoryChartView, MemoryPoint
from central.quality.charts import attribute_chart, cusum_limit, ewma_chart, normal_scores, tabular_cusum
from central.quality.charts.attributes import Floats
from central.store.learning_tables import Alarm
from central.store.repositories.quality_cells import Cell

MemoryKind = Literal["cusum", "ewma"]
SLACK: Final = 0.5
# Of the textbook's CUSUM with a slack of .5 and a limit of 5; here whatever the reference is.
FALSE_ALARM_EVERY: Final = 465.0
SMOOTHING: Final = 0.2
WIDTH: Final = 3.0


def memory_charts_of(
    found: Iterable[Cell], key: Key, alarms: Sequence[Alarm], since: datetime, plan: ChartPlan, *, kind: MemoryKind
) -> list[MemoryChartView]:
    """A chart for each group with enough samples; the first begins at `since`. Limits are of `kind`, not the plan's."""
    return [_chart(group, plan, kind) for group in sampled(found, key, alarms, since, plan)]


def _chart(samples: Sampled, plan: ChartPlan, kind: MemoryKind) -> MemoryChartView:
    learnt = attribute_chart("p", samples.count, samples.of, plan.reference)
    share = float(learnt.centre[0])
    scores = normal_scores(samples.count, samples.of, share)
    points = [
        MemoryPoint(at=at, value=float(learnt.value[index]), count=int(samples.count[index]), of=int(samples.of[index]))
        for index, at in enumerate(samples.at)
    ]
    watched = slice(plan.reference, None)
    if kind == "cusum":
        limit = cusum_limit(SLACK, FALSE_ALARM_EVERY, plan.reference)
        points[watched] = _cusum(points[watched], scores[watched], limit)
    else:
        points[watched], limit = _ewma(points[watched], scores, plan.reference)
    return MemoryChartView(
        group=samples.group[0],
        kind=kind,
        unit="standard deviations",
        is_simulated=samples.group[1],
        centre_line=share,
        reference=plan.reference,
        limit=limit,
        samples_between_false_alarms=FALSE_ALARM_EVERY if kind == "cusum" else None,
        points=points,
        marks=samples.marks,
    )


def _cusum(points: Sequence[MemoryPoint], scores: Floats, limit: float) -> list[MemoryPoint]:
    path = tabular_cusum(scores, 0.0, 1.0, slack=SLACK, limit=limit)
    signals = set(path.signal_at)
    return [
        point.model_copy(
            update={
                "up": float(path.up[index]),
                "down": float(path.down[index]),
                "low": -limit,
                "high": limit,
                "began_at": points[path.began[index]].at if index in signals else None,
                "rules": _said("CUSUM", is_more=bool(path.up[index] > limit)) if index in signals else [],
            }
        )
        for index, point in enumerate(points)
    ]


def _ewma(points: Sequence[MemoryPoint], scores: Floats, reference: int) -> tuple[list[MemoryPoint], float]:
    # Shares that vary between samples more than chance explains widen the limits, never less than chance narrows them.
    path = ewma_chart(scores, reference, SMOOTHING, WIDTH, least_deviation=1.0)
    centre, signals = path.centre or 0.0, set(path.signal_at)
    drawn = [
        point.model_copy(
            update={
                "level": float(path.value[index]),
                "low": float(path.low[index]),
                "high": float(path.high[index]),
                "rules": _said("EWMA", is_more=bool(path.value[index] > centre)) if index in signals else [],
            }
        )
        for index, point in enumerate(points)
    ]
    return drawn, float(path.high[-1]) if len(path.high) else 0.0


def _said(rule: str, *, is_more: bool) -> list[str]:
    return [f"{rule}: {'more' if is_more else 'fewer'} rejects than in phase I"]
