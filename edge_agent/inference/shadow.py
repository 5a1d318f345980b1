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

import logging
import random
import threading
from collections import deque
from collections.abc import Callable
from typing import Final

from contracts.ids import InspectionId
from contracts.reports import ChallengerVerdict, ShadowCounts
from contracts.vocabulary import Verdict, VerdictCause
from edge_agent.clock import Clock
from edge_agent.inference.challenger import Challenger, ShadowPart, Trial
from edge_agent.inference.pace import Pace
from edge_agent.judging import Judgement

_log = logging.getLogger(__name__)

_WAITING_PARTS: Final = 4
# More than can be waiting at once; the bound is for a loop that takes none.
_DUE: Final = 64
_UPLOADED: Final = (Verdict.NG, Verdict.REVIEW)


class Shadow:
    """See the module. Safe for many threads.

    Args:
        waiting: parts that wait for the judge now.
        ask_picture: the crop of a discordant part is wanted; must not wait.
        share: of one processor's time.
        hung_after_s: a run that takes longer is never waited for again.
        errors_in_a_row: after so many the challenger is over.
        pictures_per_hour: of discordant parts, at most.
        chance: says which of the two is timed first.
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
        chance: random.Random | None = None,
    ) -> None:
        self._clock = clock
        self._waiting = waiting
        self._ask_picture = ask_picture
        self._hung_after_s = hung_after_s
        self._errors_in_a_row = errors_in_a_row
        self._pictures_per_hour = pictures_per_hour
        self._chance = chance or random.Random()  # noqa: S311 - nobody gains by guessing it
        self._asked_s: deque[float] = deque()
        self._changed = threading.Condition()
        self._pace = Pace(share)
        self._workers: dict[str, Challenger] = {}
        self._due: deque[ChallengerVerdict] = deque(maxlen=_DUE)
        self.pictures_withheld = 0

    def set(self, product: str, trial: Trial | None) -> None:
        """From now on this challenger judges the product's parts in shadow; None: nobody does."""
        with self._changed:
            before = self._workers.pop(product, None)
            if before is not None:
                before.is_over = True
            if trial is not None:
                self._workers[product] = Challenger(trial, self._clock, self._take, self._ran)
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
                ShadowPart(
                    inspection,
                    view.copy(),
                    judgement.recipe,
                    judgement.decision.verdict,
                    package,
                    worker.runs(self._chance),
                )
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

    def _take(self, worker: Challenger) -> ShadowPart | None:
        """The next part, once there is room for it; None: the challenger is over."""
        with self._changed:
            while not worker.is_over and not worker.trouble:
                if worker.part is None and not worker.items:
                    self._changed.wait()
                    continue
                wait_s = self._pace.wait_s(self._clock.monotonic(), worker.expected_s)
                if wait_s <= 0 and self._waiting() == 0:
                    worker.running_since_s = self._clock.monotonic()
                    worker.part = worker.part or worker.items.popleft()
                    return worker.part
                self._changed.wait(max(wait_s, 0.001))
        return None

    def _ran(self, worker: Challenger, item: ShadowPart) -> None:
        """One of the part's runs is over. After its last one it has been judged, or failed."""
        with self._changed:
            began_s, now_s = worker.running_since_s, self._clock.monotonic()
            worker.running_since_s = None
            if began_s is not None:
                self._pace.spent(began_s, now_s - began_s)
                worker.durations.append(now_s - began_s)
            if worker.is_over or worker.trouble:
                # It came back after somebody had given it up: its word is worth nothing any more.
                return
            if item.runs:
                return
            worker.part = None
            if item.said is None:
                return
            said = item.said.model_copy(update={"champion_infer_ms": item.champion_ms})
            is_disputed = worker.note(item, said)
            if item.error and worker.in_a_row >= self._errors_in_a_row:
                worker.trouble = f"{worker.in_a_row} parts in a row failed, the last: {item.error}"
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
