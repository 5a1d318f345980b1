# SPDX-License-Identifier: Apache-2.0
"""Counters over the life of the process, for those who read them at their own pace and take differences.

Only ever rises; keeps no window and no part. Fed by `monitor.health` under its lock, a few additions a part; read as a
copy by the page's metrics.
"""

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from contracts.vocabulary import SignalState, Stage, Verdict, VerdictCause
from edge_agent.monitor.stages import StageTimes

# Upper ends of the buckets, ms: from a signal on the wire to a part that waited seconds.
BUCKETS_MS: Final = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0)


@dataclass
class StageTotal:
    """One stage. `buckets`: parts by time, one entry for each of `BUCKETS_MS` and one for all above, not summed up."""

    buckets: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS_MS) + 1))
    sum_ms: float = 0.0
    over_budget: int = 0
    late: int = 0

    def copy(self) -> "StageTotal":
        """One that does not change any more."""
        return StageTotal(list(self.buckets), self.sum_ms, self.over_budget, self.late)


@dataclass
class Totals:
    """Parts by verdict and cause, signals, and the time of each stage."""

    parts: Counter[tuple[Verdict, VerdictCause]] = field(default_factory=Counter)
    signals: Counter[SignalState] = field(default_factory=Counter)
    stages: dict[Stage, StageTotal] = field(default_factory=lambda: {stage: StageTotal() for stage in Stage})

    def add(self, verdict: Verdict, cause: VerdictCause, signal: SignalState, times: StageTimes | None) -> None:
        """Take in one part; `times` None: it was not seen."""
        self.parts[verdict, cause] += 1
        self.signals[signal] += 1
        if times is None:
            return
        for stage, took_ms in times.ms.items():
            total = self.stages[stage]
            total.buckets[bisect_left(BUCKETS_MS, took_ms)] += 1
            total.sum_ms += took_ms
            total.over_budget += stage in times.over_budget
            total.late += stage is times.late_by

    def copy(self) -> "Totals":
        """One that does not change any more."""
        return Totals(
            Counter(self.parts), Counter(self.signals), {stage: total.copy() for stage, total in self.stages.items()}
        )
