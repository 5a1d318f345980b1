# SPDX-License-Identifier: Apache-2.0
"""One challenger in shadow: its thread, its counts, and how it is run on a part.

How long it takes is compared with the champion run once more here, on the same picture, at another free moment: the
champion's time on the line is of another thread, another priority and another moment, and would make the same graph
look slower. Chance says which of the two runs first. When a run may begin is said by `inference.shadow`, which owns the
lock under which the fields are read and written.
"""

import contextlib
import logging
import os
import random
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contracts.ids import InspectionId
from contracts.reports import ChallengerVerdict, ShadowCounts, is_discordant
from contracts.vocabulary import Verdict
from edge_agent.clock import Clock
from edge_agent.decision import Decision, decide
from edge_agent.inference.batching import alone
from edge_agent.inference.session import LoadedPackage
from edge_agent.judging import MS_PER_S, limits_of
from edge_agent.log_pace import is_worth_a_line
from edge_agent.recipes.recipe import Recipe

_log = logging.getLogger(__name__)

_PAIRS: Final = 500
_DURATIONS: Final = 20
# The operating system gives way to everything else on a busy core.
_NICE: Final = 10
# What the latency gate needs as a rule: 200 to know the p99, and equal packages pass after 1,170 (median). Beyond it
# the champion's runs would cost verdicts of the challenger.
_TIMED_AT_FIRST: Final = 1_600
_TIMED_LATER: Final = 4


@dataclass(frozen=True)
class Trial:
    """A package that shall judge in shadow. `expected_ms`: its time in the graph as measured; `counts`: so far."""

    loaded: LoadedPackage
    expected_ms: float
    counts: ShadowCounts = field(default_factory=ShadowCounts)


class Runner(Enum):
    """Whose graph is run."""

    CHAMPION = 1
    CHALLENGER = 2


@dataclass(eq=False)
class ShadowPart:
    """A part in shadow. `runs`: whose turn it still is, in this order; after the last of them it is done."""

    inspection: InspectionId
    view: NDArray[np.uint8]
    recipe: Recipe
    verdict: Verdict
    champion: LoadedPackage
    runs: list[Runner]
    champion_ms: float | None = None
    said: ChallengerVerdict | None = None
    error: str = ""


class Challenger:
    """See the module.

    Args:
        take: waits for its next run; None: the challenger is over.
        ran: is told of each run.
    """

    def __init__(
        self,
        trial: Trial,
        clock: Clock,
        take: "Callable[[Challenger], ShadowPart | None]",
        ran: "Callable[[Challenger, ShadowPart], None]",
    ) -> None:
        self._take = take
        self._ran = ran
        self._clock = clock
        self._loaded = trial.loaded
        self._counts = trial.counts
        self.items: deque[ShadowPart] = deque()
        # The one whose runs are under way.
        self.part: ShadowPart | None = None
        self.durations: deque[float] = deque([trial.expected_ms / MS_PER_S], maxlen=_DURATIONS)
        self._pairs: deque[tuple[float, float]] = deque(maxlen=_PAIRS)
        # Of earlier processes too, as far as it is known: those that it judged.
        self._offered = trial.counts.judged
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

    def runs(self, chance: random.Random) -> list[Runner]:
        """Whose graphs are run on the next part, in which order."""
        self._offered += 1
        if self._offered > _TIMED_AT_FIRST and self._offered % _TIMED_LATER:
            return [Runner.CHALLENGER]
        runs = [Runner.CHAMPION, Runner.CHALLENGER]
        chance.shuffle(runs)
        return runs

    def note(self, item: ShadowPart, said: ChallengerVerdict) -> bool:
        """Count a part that it answered; whether the two are discordant."""
        if said.verdict is Verdict.NO_DECISION or said.infer_ms is None:
            self.in_a_row += 1
            self.count(errors=1)
            return False
        self.in_a_row = 0
        if said.champion_infer_ms is not None:
            self._pairs.append((said.champion_infer_ms, said.infer_ms))
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
        while (item := self._take(self)) is not None:
            if item.runs.pop(0) is Runner.CHAMPION:
                item.champion_ms = self._champion_ms(item)
            else:
                item.said = self._said(item)
                if item.error:
                    # There is no time to compare.
                    item.runs.clear()
            self._ran(self, item)

    def _said(self, item: ShadowPart) -> ChallengerVerdict:
        began_s = self._clock.monotonic()
        verdict, score, item.error = self._judged(item)
        infer_ms = (self._clock.monotonic() - began_s) * MS_PER_S
        return ChallengerVerdict(
            sequence=item.inspection.sequence,
            package_id=self._loaded.package_id,
            verdict=verdict,
            score=score,
            infer_ms=round(max(0.0, infer_ms), 3),
        )

    def _champion_ms(self, item: ShadowPart) -> float | None:
        """What the champion takes on the same picture, all that `_said` takes included; None: it failed."""
        began_s = self._clock.monotonic()
        try:
            self._decision(item.champion, item)
        except Exception as error:  # noqa: BLE001 - its own guard sees to the champion; here it has no time to compare
            _log.info("champion not timed in shadow package=%s: %s", item.champion.package_id, error)
            return None
        return round(max(0.0, (self._clock.monotonic() - began_s) * MS_PER_S), 3)

    def _judged(self, item: ShadowPart) -> tuple[Verdict, float | None, str]:
        try:
            score, decision = self._decision(self._loaded, item)
        except Exception as error:  # noqa: BLE001 - whatever it was, it is the challenger's error and nobody else's
            return Verdict.NO_DECISION, None, self._failed(f"{type(error).__name__}: {error}")
        if decision.verdict is Verdict.NO_DECISION:
            return Verdict.NO_DECISION, None, self._failed(f"a score that is not finite ({score})")
        return decision.verdict, score, ""

    @staticmethod
    def _decision(package: LoadedPackage, item: ShadowPart) -> tuple[float, Decision]:
        score = float(alone(package.session).run(item.view).score)
        limits = limits_of(package, item.recipe)
        # It judges after the fact, so no deadline holds here; its time is told beside the champion's.
        return score, decide(
            score, ok_limit=limits.ok_limit, ng_limit=limits.ng_limit, elapsed_ms=0.0, recipe=item.recipe
        )

    def _failed(self, error: str) -> str:
        if is_worth_a_line(self.in_a_row + 1):
            _log.warning("challenger failed package=%s in_a_row=%d: %s", self.package_id, self.in_a_row + 1, error)
        return error


def with_counts(counts: ShadowCounts, **changes: float | None) -> ShadowCounts:
    """The counts with some of them changed."""
    return counts.model_copy(update=changes)


def _p99(values_ms: tuple[float, ...]) -> float:
    return round(sorted(values_ms)[min(len(values_ms) - 1, int(0.99 * len(values_ms)))], 3)
