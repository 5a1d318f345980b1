# SPDX-License-Identifier: Apache-2.0
"""What a station knows of itself: counts, latencies over a window, faults, and the state that follows.

Judges no part and sends nothing; `monitor.heartbeat` does the sending. Fed by the loop and the grab thread, one
short lock per part; everything derived is worked out when a status is asked for.
"""

import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from contracts.ids import InspectionId, StationAddress
from contracts.recipes import ActiveRecipe
from contracts.reports import ActivePackage, LatencySummary, StationFault, StationReported, TriggerCounts
from contracts.vocabulary import SignalState, StationState, Verdict, VerdictCause
from edge_agent.clock import Clock
from edge_agent.errors import EdgeError
from edge_agent.logins import without_login
from edge_agent.monitor.liveness import Liveness
from edge_agent.monitor.stages import StageTimes, summarize_stages
from edge_agent.monitor.state import Conditions, station_state, window_faults
from edge_agent.monitor.totals import Totals

_TEXT_LIMIT: Final = 500
_ABLE_FOR_S: Final = 0.5
_UNABLE: Final = (StationState.STARTING, StationState.HALTED, StationState.FAULT)


@dataclass(frozen=True)
class PartSeen:
    """What the monitor keeps of one part.

    Args:
        at_s: monotonic time of the record.
        verdict: the machine's word.
        cause: why.
        signal: whether the reject output took it.
        verdict_ms: capture → verdict; None for a part that was missed.
        reject_ms: capture → signal handed over.
        stages: where the time went; None for a part that was missed.
    """

    at_s: float
    verdict: Verdict
    cause: VerdictCause
    signal: SignalState
    verdict_ms: float | None = None
    reject_ms: float | None = None
    stages: StageTimes | None = None


@dataclass(frozen=True)
class Gauges:
    """Readings taken from other rooms when a status is made. `is_blind`: parts are not seen, camera or not."""

    active: list[ActivePackage]
    recipe: ActiveRecipe | None = None
    outbox_rows: int = 0
    evidence_pending: int = 0
    evidence_dropped: int = 0
    faults: Sequence[StationFault] = ()
    is_outbox_faulty: bool = False
    is_blind: bool = False
    has_product: bool = True
    triggers: TriggerCounts | None = None


class HealthMonitor:
    """Counts of this process, a window of recent parts, and the open faults.

    Args:
        station: whose status this is.
        epoch: the outbox's epoch.
        version: of the agent.
        clock: the station's clock.
        gauges: reads the other rooms; called without any lock held.
        is_simulated: the station as a whole is simulated.
        window_s: length of the window for latencies, rates and passing troubles.
        max_parts: most parts kept in the window.
        stalled_after_s: a judgement that takes longer is a fault.
    """

    def __init__(
        self,
        station: StationAddress,
        *,
        epoch: int,
        version: str,
        clock: Clock,
        gauges: Callable[[], Gauges],
        is_simulated: bool = False,
        window_s: float = 30.0,
        max_parts: int = 4096,
        stalled_after_s: float = 10.0,
    ) -> None:
        self._station = station
        self._epoch = epoch
        self._version = version
        self._clock = clock
        self._gauges = gauges
        self._is_simulated = is_simulated
        self._window_s = window_s
        self._stalled_after_s = stalled_after_s
        self._started_at = clock.now()
        self._started_s = clock.monotonic()
        self.liveness = Liveness(clock)
        self._totals = Totals()
        self._lock = threading.Lock()
        self._recent: deque[PartSeen] = deque(maxlen=max_parts)
        self._verdicts: Counter[Verdict] = Counter()
        self._causes: Counter[VerdictCause] = Counter()
        self._faults: dict[str, StationFault] = {}
        # Since when each passing trouble has been seen; forgotten when it is over.
        self._since: dict[str, datetime] = {}
        self._evidence_dropped: deque[tuple[float, int]] = deque(maxlen=256)
        self._judging_since_s: float | None = None
        self._has_started = False
        self._is_halted = False
        self._has_source = False
        self._is_able = False
        self._able_until_s = 0.0

    def started(self) -> None:
        """All rooms are up."""
        self._has_started = True

    def halted(self) -> None:
        """The station stops judging on purpose."""
        self._is_halted = True

    def source_opened(self) -> None:
        """The camera is there (again)."""
        self._has_source = True
        self.clear_fault("source-gone")

    def source_lost(self, error: EdgeError) -> None:
        """The camera is gone. One code for all reasons, so that reopening clears it."""
        self._has_source = False
        self.set_fault("source-gone", error.message, error.remedy)

    def part_begun(self) -> None:
        """A part is in the judge's hands; one that never leaves them is a fault."""
        self._judging_since_s = self._clock.monotonic()

    def part_ended(self) -> None:
        """The part has left the judge's hands."""
        self._judging_since_s = None

    def record(self, part: PartSeen) -> None:
        """Take in one part."""
        with self._lock:
            self._recent.append(part)
            self._verdicts[part.verdict] += 1
            self._causes[part.cause] += 1
            self._totals.add(part.verdict, part.cause, part.signal, part.stages)

    def totals(self) -> Totals:
        """Counters since this process began, as a copy."""
        with self._lock:
            return self._totals.copy()

    @property
    def has_source(self) -> bool:
        """Whether the camera is there."""
        return self._has_source

    def mark_simulated(self) -> None:
        """A simulated frame came: from now on the status says so."""
        self._is_simulated = True

    def set_fault(self, code: str, message: str, remedy: str = "", *, inspection: InspectionId | None = None) -> None:
        """Open a fault, or renew its text; `since` stays. `inspection`: whose picture shows it."""
        with self._lock:
            known = self._faults.get(code)
            since = known.since if known else self._clock.now()
            self._faults[code] = StationFault(
                code=code,
                # Goes to the broker and from there to many screens; errors of a camera repeat its address.
                message=without_login(message)[:_TEXT_LIMIT],
                remedy=without_login(remedy)[:_TEXT_LIMIT],
                since=since,
                inspection=inspection,
            )

    def clear_fault(self, code: str) -> None:
        """Close a fault, if it is open."""
        with self._lock:
            self._faults.pop(code, None)

    def status(self) -> StationReported:
        """The station's status now."""
        gauges = self._gauges()
        now_s = self._clock.monotonic()
        with self._lock:
            window = self._window(now_s)
            faults = dict(self._faults)
            verdicts, causes = dict(self._verdicts), dict(self._causes)
            self._evidence_dropped.append((now_s, gauges.evidence_dropped))
            while now_s - self._evidence_dropped[0][0] > self._window_s:
                self._evidence_dropped.popleft()
            dropped_lately = gauges.evidence_dropped - self._evidence_dropped[0][1]
        judging_since_s = self._judging_since_s
        stages = summarize_stages([part.stages for part in window if part.stages is not None])
        conditions = Conditions(
            has_started=self._has_started,
            is_halted=self._is_halted,
            has_source=self._has_source,
            has_package=bool(gauges.active),
            has_product=gauges.has_product,
            is_inspecting=bool(window),
            is_outbox_faulty=gauges.is_outbox_faulty,
            is_stalled=judging_since_s is not None and now_s - judging_since_s > self._stalled_after_s,
            source_fault="source-gone" in faults or gauges.is_blind,
            evidence_dropped_lately=dropped_lately,
            causes=tuple(part.cause for part in window),
            signals=tuple(part.signal for part in window),
            stages=tuple(stages),
        )
        passing = self._dated(window_faults(conditions))
        all_faults = [*faults.values(), *gauges.faults, *passing]
        covered_s = max(1.0, min(self._window_s, now_s - self._started_s))
        return StationReported(
            station=self._station,
            at=self._clock.now(),
            is_connected=True,
            state=station_state(conditions, has_faults=bool(all_faults)),
            epoch=self._epoch,
            started_at=self._started_at,
            agent_version=self._version,
            active=gauges.active,
            recipe=gauges.recipe,
            parts_total=sum(verdicts.values()),
            verdict_counts=verdicts,
            cause_counts=causes,
            parts_per_minute=round(60.0 * len(window) / covered_s, 2),
            verdict_latency=summarize([part.verdict_ms for part in window if part.verdict_ms is not None]),
            reject_latency=summarize([part.reject_ms for part in window if part.reject_ms is not None]),
            stages=stages,
            outbox_rows=gauges.outbox_rows,
            evidence_pending=gauges.evidence_pending,
            evidence_dropped=gauges.evidence_dropped,
            triggers=gauges.triggers,
            faults=all_faults,
            is_simulated=self._is_simulated,
        )

    def is_able(self) -> bool:
        """Whether parts are seen, judged and recorded, well or not so well. Half a second old at most; asked often."""
        now_s = self._clock.monotonic()
        if now_s >= self._able_until_s:
            self._is_able = self.status().state not in _UNABLE
            self._able_until_s = now_s + _ABLE_FOR_S
        return self._is_able

    def gone(self, *, is_planned: bool) -> StationReported:
        """The status that stands when this process is not there: last will, or the last word of a clean stop."""
        fault = StationFault(
            code="connection-lost",
            message="the station vanished without a word",
            remedy="check its power and network, then the log of its agent",
            since=self._clock.now(),
        )
        return StationReported(
            station=self._station,
            at=self._clock.now(),
            is_connected=False,
            state=StationState.HALTED if is_planned else StationState.FAULT,
            epoch=self._epoch,
            started_at=self._started_at,
            agent_version=self._version,
            faults=[] if is_planned else [fault],
            is_simulated=self._is_simulated,
        )

    def _window(self, now_s: float) -> list[PartSeen]:
        return [part for part in self._recent if now_s - part.at_s <= self._window_s]

    def _dated(self, faults: list[tuple[str, str, str]]) -> list[StationFault]:
        now = self._clock.now()
        self._since = {code: self._since.get(code, now) for code, _, _ in faults}
        return [
            StationFault(code=code, message=message, remedy=remedy, since=self._since[code])
            for code, message, remedy in faults
        ]


def summarize(values_ms: list[float]) -> LatencySummary | None:
    """Nearest-rank percentiles; None without values."""
    if not values_ms:
        return None
    ordered = sorted(values_ms)
    last = len(ordered) - 1
    return LatencySummary(
        count=len(ordered),
        p50_ms=round(ordered[round(0.5 * last)], 3),
        p99_ms=round(ordered[round(0.99 * last)], 3),
        max_ms=round(ordered[last], 3),
    )
