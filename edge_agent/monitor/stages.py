# SPDX-License-Identifier: Apache-2.0
"""Where the time of parts goes, stage by stage, against the budgets of their recipe. Pure.

Keeps nothing; `monitor.health` keeps the window. A budget that is broken while the deadline holds costs no part: it is
the warning before parts are late. A late part is put down to one stage, so that a person knows where to look first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from contracts.reports import StageLatency, StageSummary
from contracts.vocabulary import Stage

NO_BUDGETS: Final[Mapping[Stage, float]] = MappingProxyType({})


@dataclass(frozen=True)
class StageTimes:
    """What one part took.

    Args:
        ms: time of each stage that the part reached.
        over_budget: the stages that took longer than their recipe allows.
        late_by: the stage that a late part owes it to; None for a part in time.
    """

    ms: Mapping[Stage, float]
    over_budget: frozenset[Stage] = frozenset()
    late_by: Stage | None = None


def stage_times(latency: StageLatency, budgets: Mapping[Stage, float], *, is_late: bool) -> StageTimes:
    """Hold one part against the budgets of its recipe.

    Args:
        latency: the part's times.
        budgets: longest allowed time by stage, ms; a stage without one is not held against anything.
        is_late: whether the part missed its deadline.
    """
    every = {
        Stage.CAPTURE: latency.capture_ms,
        Stage.PREPARE: latency.prepare_ms,
        Stage.INFER: latency.infer_ms,
        Stage.DECIDE: latency.decide_ms,
        Stage.ACTUATE: latency.actuate_ms,
    }
    took = {stage: value for stage, value in every.items() if value is not None}
    beyond = {stage: took[stage] - budget for stage, budget in budgets.items() if took.get(stage, 0.0) > budget}
    late_by = None
    if is_late and took:
        # What happens after the decision cannot have made the decision late.
        before = {stage: value for stage, value in took.items() if stage is not Stage.ACTUATE}
        blamed = {stage: value for stage, value in beyond.items() if stage is not Stage.ACTUATE} or before or took
        late_by = max(blamed, key=lambda stage: blamed[stage])
    return StageTimes(took, frozenset(beyond), late_by)


def summarize_stages(parts: Sequence[StageTimes]) -> list[StageSummary]:
    """Nearest-rank percentiles of every stage that any part reached, in order."""
    summaries = []
    for stage in Stage:
        taken = sorted(part.ms[stage] for part in parts if stage in part.ms)
        if not taken:
            continue
        last = len(taken) - 1
        summaries.append(
            StageSummary(
                stage=stage,
                count=len(taken),
                p50_ms=round(taken[round(0.5 * last)], 3),
                p99_ms=round(taken[round(0.99 * last)], 3),
                max_ms=round(taken[last], 3),
                over_budget=sum(stage in part.over_budget for part in parts),
                late=sum(stage is part.late_by for part in parts),
            )
        )
    return summaries
