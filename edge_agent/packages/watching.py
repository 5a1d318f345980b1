# SPDX-License-Identifier: Apache-2.0
"""Follows what packages do once they judge: the active ones by their guards, challengers by their counts.

The loop tells each part and goes on; a thread of its own thinks about it and acts: falls back, notes who judged well,
ends or promotes challengers, keeps their counts in the status. So falling back waits for no download and for no disk
that the installer waits for. Implements `loop.PackageTrials`. Built by the composition root.
"""

import logging
import statistics
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from contracts.ids import InspectionId
from contracts.reports import ChallengerVerdict, InspectionReported
from contracts.vocabulary import VerdictCause
from edge_agent.clock import Clock
from edge_agent.inference.shadow import Shadow
from edge_agent.judging import Judgement
from edge_agent.packages.guard import GuardPolicy, PackageGuard, PartJudged
from edge_agent.packages.installer import PackageInstaller

_log = logging.getLogger(__name__)

_TICK_S: Final = 0.25
_TELL_S: Final = 5.0
_STOP_TIMEOUT_S: Final = 2.0
# Parts of some minutes; a thread that is held up that long by a disk has other troubles.
_MAX_WAITING: Final = 4096
_OTHER_PARTS: Final = 100
# Less says nothing of what the other stages take.
_LEAST_OTHER_PARTS: Final = 10
_OF_A_PACKAGE: Final = (VerdictCause.SCORE, VerdictCause.LATE, VerdictCause.INFERENCE_ERROR)


@dataclass(frozen=True)
class _Seen:
    product: str
    package_id: str
    part: PartJudged
    other_ms: float | None


class PackageWatch:
    """See the module."""

    def __init__(
        self,
        installer: PackageInstaller,
        shadow: Shadow,
        clock: Clock,
        policy: GuardPolicy,
        *,
        tick_s: float = _TICK_S,
        tell_s: float = _TELL_S,
    ) -> None:
        self._installer = installer
        self._shadow = shadow
        self._clock = clock
        self._policy = policy
        self._tick_s = tick_s
        self._tell_s = tell_s
        self._told_s = clock.monotonic()
        self._seen: deque[_Seen] = deque(maxlen=_MAX_WAITING)
        self._guards: dict[str, tuple[str, PackageGuard]] = {}
        self._others: dict[str, deque[float]] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="package-watch", daemon=True)

    def start(self) -> None:
        """Begin to think about parts."""
        self._thread.start()

    def stop(self) -> None:
        """End; challengers go on after the next start. May be called twice."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(_STOP_TIMEOUT_S)
        self._installer.challengers.stop()

    # Of the loop

    def begun(self) -> None:
        """See `loop.PackageTrials`."""
        self._shadow.begun()

    def ended(self) -> None:
        """See `loop.PackageTrials`."""
        self._shadow.ended()

    def due(self) -> ChallengerVerdict | None:
        """See `loop.PackageTrials`."""
        return self._shadow.due()

    def judged(self, inspection: InspectionId, judgement: Judgement, report: InspectionReported) -> None:
        """See `loop.PackageTrials`."""
        package = judgement.package
        if package is None or report.cause not in _OF_A_PACKAGE:
            return
        measures = report.image
        stages = (judgement.capture_ms, judgement.prepare_ms, judgement.decide_ms)
        self._seen.append(
            _Seen(
                package.manifest.product,
                package.package_id,
                PartJudged(
                    cause=report.cause,
                    deadline_ms=judgement.recipe.deadline_ms,
                    score=report.score,
                    infer_ms=judgement.infer_ms,
                    measures=None
                    if measures is None
                    else (measures.brightness, measures.contrast, measures.blur, measures.colour),
                ),
                sum(each or 0.0 for each in stages) if report.cause is VerdictCause.SCORE else None,
            )
        )
        self._shadow.offer(inspection, judgement)

    # Of its own thread

    def _run(self) -> None:
        while not self._stopping.wait(self._tick_s):
            for step in (self.look_at_parts, self._look_at_challengers):
                self._guarded(step)

    def _guarded(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception:  # noqa: BLE001 - nobody would watch the packages any more
            _log.exception("package watch failed")

    def look_at_parts(self) -> None:
        """Think about every part that was told since."""
        while self._seen:
            seen = self._seen.popleft()
            package_id, guard = self._guards.get(seen.product, ("", None))
            if guard is None or package_id != seen.package_id:
                # From the first part of another package on; those of the old one may still come after it.
                guard = PackageGuard(self._policy, self._installer.switch.levels(seen.package_id))
                self._guards[seen.product] = seen.package_id, guard
            had_judged_well = guard.has_judged_well
            if why := guard.seen(seen.part):
                self._guards.pop(seen.product)
                self._installer.switch.fall_back(seen.product, seen.package_id, f"{why}, of {guard.parts} in all")
            elif guard.has_judged_well and not had_judged_well:
                self._installer.switch.judged_well(seen.product, seen.package_id)
            if seen.other_ms is not None:
                self._note_other(seen.product, seen.other_ms)

    def _note_other(self, product: str, other_ms: float) -> None:
        others = self._others.setdefault(product, deque(maxlen=_OTHER_PARTS))
        others.append(other_ms)
        if len(others) >= _LEAST_OTHER_PARTS:
            self._installer.readying.other_ms[product] = statistics.median(others)

    def _look_at_challengers(self) -> None:
        now_s = self._clock.monotonic()
        is_to_tell = now_s - self._told_s >= self._tell_s
        if is_to_tell:
            self._told_s = now_s
        if self._installer.challengers.look(self._installer.switch.number, is_to_tell=is_to_tell):
            self._installer.look_again()
