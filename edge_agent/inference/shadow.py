# SPDX-License-Identifier: Apache-2.0
"""Shadow: a challenger judges the champion's parts after the champion was acted upon, and decides nothing.

One thread for each challenger, a short queue before it. It is asked only while the judge is idle and within a share of
the time (`inference.pace`); what does not fit is skipped and counted. A challenger that is slow, raises, answers NaN or
never returns costs the champion nothing but that share: the judge's thread only ever appends to a queue. One that does
not return, or fails too often, is over; its thread is left behind.

A verdict of the challenger is handed to the loop for the report of a later part: the report of its own part has gone.
Swaps no package and sends nothing. Fed by `packages.watching`, which the loop talks to; challengers are set by
`packages.switching`.
"""

import contextlib
import logging
import os
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contracts.ids import InspectionId
from contracts.reports import ChallengerVerdict, ShadowCounts, is_discordant
from contracts.vocabulary import Verdict, VerdictCause
from edge_agent.clock import Clock
from edge_agent.decision import decide
from edge_agent.inference.batching import alone
from edge_agent.inference.pace import Pace
from edge_agent.inference.session import LoadedPackage
from edge_agent.judging import MS_PER_S, Judgement, limits_of
from edge_agent.log_pace import is_worth_a_line
from edge_agent.recipes.recipe import Recipe

_log = logging.getLogger(__name__)

_WAITING_PARTS: Final = 4
_PAIRS: Final = 500
_DURATIONS: Final = 20
# More than can be waiting at once; the bound is for a loop that takes none.
_DUE: Final = 64
# The operating system gives way to everything else on a busy core.
_NICE: Final = 10
_UPLOADED: Final = (Verdict.NG, Verdict.REVIEW)


@dataclass(frozen=True)
class Trial:
    """A package that shall judge in shadow. `expected_ms`: its time in the graph as measured; `counts`: so far."""

    loaded: LoadedPackage
    expected_ms: float
    counts: ShadowCounts = field(default_factory=ShadowCounts)


@dataclass(frozen=True, eq=False)
class _Item:
    inspection: InspectionId
    view: NDArray[np.uint8]
    recipe: Recipe
    verdict: Verdict
    champion_ms: float


class Shadow:
    """See the module. Safe for many threads.

    Args:
        waiting: parts that wait for the judge now.
        ask_picture: the crop of a discordant part is wanted; must not wait.
        share: of one processor's time.
        hung_after_s: a run that takes longer is never waited for again.
        errors_in_a_row: after so many the challenger is over.
        pictures_per_hour: of discordant parts, at most.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        waiting: Callable[[], int],
        ask_picture: Callable[[InspectionId], None],
        share: float = 0.3,
        hung_after_s: float = 10.0,
        errors_in_a_row: int = 20,
        pictures_per_hour: int = 200,
    ) -> None:
        self._clock = clock
        self._waiting = waiting
        self._ask_picture = ask_picture
        self._hung_after_s = hung_after_s
        self._errors_in_a_row = errors_in_a_row
        self._pictures_per_hour = pictures_per_hour
        self._asked_s: deque[float] = deque()
        self._changed = threading.Condition()
        self._pace = Pace(share)
        self._workers: dict[str, _Worker] = {}
        self._due: deque[ChallengerVerdict] = deque(maxlen=_DUE)
        self.pictures_withheld = 0

    def set(self, product: str, trial: Trial | None) -> None:
        """From now on this challenger judges the product's parts in shadow; None: nobody does."""
        with self._changed:
            before = self._workers.pop(product, None)
            if before is not None:
                before.is_over = True
            if trial is not None:
                self._workers[product] = _Worker(self, trial, self._clock)
            self._changed.notify_all()

    def begun(self) -> None:
        """The judge takes up a part."""
        with self._changed:
            self._pace.begun(self._clock.monotonic())

    def ended(self) -> None:
        """The judge is through with it, signal and record included."""
        with self._changed:
            self._pace.ended()
            if self._workers:
                self._changed.notify_all()

    def offer(self, inspection: InspectionId, judgement: Judgement) -> None:
        """A part that the champion has judged and that was acted upon. Never waits; may skip it, counted."""
        package, view = judgement.package, judgement.view
        is_judged = judgement.decision.cause is VerdictCause.SCORE
        if package is None or view is None or not is_judged or judgement.infer_ms is None:
            return
        with self._changed:
            worker = self._workers.get(package.manifest.product)
            if worker is None or worker.is_over or worker.package_id == package.package_id:
                return
            if len(worker.items) >= _WAITING_PARTS or worker.trouble:
                worker.count(skipped=1)
                return
            # A copy: the frame's memory is the camera's.
            worker.items.append(
                _Item(inspection, view.copy(), judgement.recipe, judgement.decision.verdict, judgement.infer_ms)
            )
            self._changed.notify_all()

    def due(self) -> ChallengerVerdict | None:
        """The oldest verdict that no report has carried yet, once."""
        try:
            return self._due.popleft()
        except IndexError:
            return None

    def counts(self, product: str) -> ShadowCounts | None:
        """What the product's challenger did so far; None: there is none."""
        with self._changed:
            worker = self._workers.get(product)
            return None if worker is None else worker.told()

    def trouble(self, product: str) -> str:
        """Why the product's challenger is over, in words; empty: it is not."""
        with self._changed:
            worker = self._workers.get(product)
            if worker is None:
                return ""
            since_s = worker.running_since_s
            if not worker.trouble and since_s is not None and self._clock.monotonic() - since_s > self._hung_after_s:
                worker.trouble = f"one part took longer than {self._hung_after_s:g} s"
            return worker.trouble

    def close(self) -> None:
        """No challenger judges any more. Waits for none: one may never return."""
        for product in list(self._workers):
            self.set(product, None)

    # Of the workers

    def take(self, worker: "_Worker") -> _Item | None:
        """The next part, once there is room for it; None: the challenger is over."""
        with self._changed:
            while not worker.is_over and not worker.trouble:
                if not worker.items:
                    self._changed.wait()
                    continue
                wait_s = self._pace.wait_s(self._clock.monotonic(), worker.expected_s)
                if wait_s <= 0 and self._waiting() == 0:
                    worker.running_since_s = self._clock.monotonic()
                    return worker.items.popleft()
                self._changed.wait(max(wait_s, 0.001))
        return None

    def finished(self, worker: "_Worker", item: _Item, said: ChallengerVerdict, error: str) -> None:
        """A part was judged, or failed."""
        with self._changed:
            began_s, now_s = worker.running_since_s, self._clock.monotonic()
            worker.running_since_s = None
            if began_s is not None:
                self._pace.spent(began_s, now_s - began_s)
                worker.durations.append(now_s - began_s)
            if worker.is_over or worker.trouble:
                # It came back after somebody had given it up: its word is worth nothing any more.
                return
            is_disputed = worker.note(item, said)
            if error and worker.in_a_row >= self._errors_in_a_row:
                worker.trouble = f"{worker.in_a_row} parts in a row failed, the last: {error}"
            self._due.append(said)
            is_wanted = is_disputed and item.verdict not in _UPLOADED and self._may_ask(now_s)
        if is_wanted:
            self._ask_picture(item.inspection)

    def _may_ask(self, now_s: float) -> bool:
        while self._asked_s and now_s - self._asked_s[0] > 3600:
            self._asked_s.popleft()
        if len(self._asked_s) >= self._pictures_per_hour:
            self.pictures_withheld += 1
            return False
        self._asked_s.append(now_s)
        return True


class _Worker:
    """One challenger and its thread. Its fields are read and written under the shadow's lock."""

    def __init__(self, shadow: Shadow, trial: Trial, clock: Clock) -> None:
        self._shadow = shadow
        self._clock = clock
        self._loaded = trial.loaded
        self._counts = trial.counts
        self.items: deque[_Item] = deque()
        self.durations: deque[float] = deque([trial.expected_ms / MS_PER_S], maxlen=_DURATIONS)
        self._pairs: deque[tuple[float, float]] = deque(maxlen=_PAIRS)
        self.is_over = False
        self.trouble = ""
        self.in_a_row = 0
        self.running_since_s: float | None = None
        threading.Thread(target=self._run, name="shadow", daemon=True).start()

    @property
    def package_id(self) -> str:
        """Of the challenger."""
        return self._loaded.package_id

    @property
    def expected_s(self) -> float:
        """What the next part will take, by the slowest of the last."""
        return max(self.durations)

    def count(self, *, judged: int = 0, discordant: int = 0, skipped: int = 0, errors: int = 0) -> None:
        """Add to the counts."""
        before = self._counts
        self._counts = with_counts(
            before,
            judged=before.judged + judged,
            discordant=before.discordant + discordant,
            skipped=before.skipped + skipped,
            errors=before.errors + errors,
        )

    def note(self, item: _Item, said: ChallengerVerdict) -> bool:
        """Count a part that it answered; whether the two are discordant."""
        if said.verdict is Verdict.NO_DECISION or said.infer_ms is None:
            self.in_a_row += 1
            self.count(errors=1)
            return False
        self.in_a_row = 0
        self._pairs.append((item.champion_ms, said.infer_ms))
        is_disputed = is_discordant(item.verdict, said.verdict)
        self.count(judged=1, discordant=int(is_disputed))
        return is_disputed

    def told(self) -> ShadowCounts:
        """For the status."""
        if not self._pairs:
            return self._counts
        champion, challenger = zip(*self._pairs, strict=True)
        return with_counts(self._counts, champion_p99_ms=_p99(champion), challenger_p99_ms=_p99(challenger))

    def _run(self) -> None:
        with contextlib.suppress(OSError, AttributeError):
            # Linux keeps a niceness for each thread; elsewhere this would slow the whole station.
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        while (item := self._shadow.take(self)) is not None:
            began_s = self._clock.monotonic()
            verdict, score, error = self._judged(item)
            infer_ms = (self._clock.monotonic() - began_s) * MS_PER_S
            said = ChallengerVerdict(
                sequence=item.inspection.sequence,
                package_id=self._loaded.package_id,
                verdict=verdict,
                score=score,
                infer_ms=round(max(0.0, infer_ms), 3),
            )
            self._shadow.finished(self, item, said, error)

    def _judged(self, item: _Item) -> tuple[Verdict, float | None, str]:
        try:
            score = float(alone(self._loaded.session).run(item.view).score)
            limits = limits_of(self._loaded, item.recipe)
            # It judges after the fact, so no deadline holds here; its time is told beside the champion's.
            decision = decide(
                score, ok_limit=limits.ok_limit, ng_limit=limits.ng_limit, elapsed_ms=0.0, recipe=item.recipe
            )
        except Exception as error:  # noqa: BLE001 - whatever it was, it is the challenger's error and nobody else's
            return Verdict.NO_DECISION, None, self._failed(f"{type(error).__name__}: {error}")
        if decision.verdict is Verdict.NO_DECISION:
            return Verdict.NO_DECISION, None, self._failed(f"a score that is not finite ({score})")
        return decision.verdict, score, ""

    def _failed(self, error: str) -> str:
        if is_worth_a_line(self.in_a_row + 1):
            _log.warning("challenger failed package=%s in_a_row=%d: %s", self.package_id, self.in_a_row + 1, error)
        return error


def with_counts(counts: ShadowCounts, **changes: float | None) -> ShadowCounts:
    """The counts with some of them changed."""
    return counts.model_copy(update=changes)


def _p99(values_ms: tuple[float, ...]) -> float:
    return round(sorted(values_ms)[min(len(values_ms) - 1, int(0.99 * len(values_ms)))], 3)
