# SPDX-License-Identifier: Apache-2.0
"""Tells how far a training is: `progress.json`, rewritten whole, at most twice a second.

Central polls the file; a person reads the log or watches a bar (`reporting.progress_bar`). Does not decide anything.
Made by `results`, told by the steps of each run.
"""

import logging
import math
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from contracts.codec import encode
from contracts.jobs import MOST_CURVES, MOST_POINTS, PROGRESS_NAME, MetricCurve, ResourceUsage, TrainingProgress
from contracts.vocabulary import TrainingState
from models.clock import Clock
from models.errors import raise_if_asked
from models.files import write_whole
from models.pace import Pace
from models.training.machine import made_by
from models.usage import used

_log = logging.getLogger(__name__)
_PERIOD_S = 0.5
# Told the stage and the fraction 0 … 1 of the whole, at most twice a second.
Watch = Callable[[str, float], None]


class Progress:
    """One training's progress. `enter` starts a stage that ends at `until`; `within` moves inside it.

    What is told never falls: where a part is done again, what was planned from there on shares what is left.

    Both raise CancelledError when somebody asked to stop and the request was swallowed on its way.
    """

    def __init__(self, folder: Path, training_id: str, clock: Clock, watch: Watch | None = None) -> None:
        # Where the time of the training goes, and what its other workers use: told with its own use.
        self.pace = Pace()
        self.used_by_others: Callable[[], ResourceUsage] | None = None
        self._folder = folder
        self._watch = watch
        self._training_id = training_id
        self._clock = clock
        self._started_at: datetime = clock.now()
        self._stage, self._start, self._until = "starting", 0.0, 0.0
        self._fraction = 0.0
        # What is planned from `_planned` on is told from `_told` on; both end at 1.
        self._planned, self._told = 0.0, 0.0
        self._written_s = float("-inf")
        self._made_by = made_by()
        self._curves: list[MetricCurve] = []

    def keep_curves(self, curves: Mapping[str, Sequence[tuple[int, float]]]) -> None:
        """The course of what was trained by steps, told from now on; that of an earlier fit of the run gives way.

        Values that are no number are left out, and what is beyond `MOST_CURVES` and, thinned, `MOST_POINTS`.
        """
        self._curves = [_curve(name, points) for name, points in list(curves.items())[-MOST_CURVES:]]

    def enter(self, stage: str, until: float) -> None:
        """Begin a stage; the one before is complete."""
        raise_if_asked()
        self._stage, self._start, self._until = stage, self._until, until
        self._move_to(self._start)
        _log.info("training_id=%s stage=%s fraction=%.2f", self._training_id, stage, self._fraction)
        self._write(TrainingState.RUNNING, None)

    def go_back(self, until: float) -> None:
        """What was done from this fraction on is done again; the next stage starts there."""
        self._until = until
        if self._as_told(until) < self._fraction:
            self._planned, self._told = until, self._fraction

    def within(self, share: float) -> None:
        """Share 0 … 1 of the stage."""
        raise_if_asked()
        self._move_to(self._start + (self._until - self._start) * min(max(share, 0.0), 1.0))
        if self._clock.monotonic_s() - self._written_s >= _PERIOD_S:
            self._write(TrainingState.RUNNING, None)

    def _as_told(self, planned: float) -> float:
        return self._told + (planned - self._planned) * (1 - self._told) / (1 - self._planned)

    def _move_to(self, planned: float) -> None:
        self._fraction = min(1.0, max(self._fraction, self._as_told(planned)))

    def finish(self, state: TrainingState, error: str | None = None) -> None:
        """The last word. On a disk that takes nothing it is lost: what the training came to is known without it."""
        if state is TrainingState.FINISHED:
            self._fraction, self._stage = 1.0, "finished"
        try:
            self._write(state, error)
        except OSError as refusal:
            _log.warning("training_id=%s progress_lost=%s", self._training_id, refusal)

    def _write(self, state: TrainingState, error: str | None) -> None:
        self._written_s = self._clock.monotonic_s()
        if self._watch is not None:
            self._watch(self._stage, self._fraction)
        told = TrainingProgress(
            training_id=self._training_id, state=state, stage=self._stage, fraction=self._fraction,
            started_at=self._started_at, at=self._clock.now(), pid=os.getpid(), error=error[:4000] if error else None,
            usage=self._used(), made_by=self._made_by, curves=self._curves,
        )  # fmt: skip
        write_whole(self._folder / PROGRESS_NAME, encode(told))

    def _used(self) -> ResourceUsage:
        own = used()
        others = ResourceUsage(cpu_s=0, peak_memory_bytes=0) if self.used_by_others is None else self.used_by_others()
        return ResourceUsage(
            cpu_s=own.cpu_s + others.cpu_s, peak_memory_bytes=own.peak_memory_bytes + others.peak_memory_bytes,
            workers=others.workers, compute_s=self.pace.compute_s, data_wait_s=self.pace.data_wait_s,
            peers_wait_s=self.pace.peers_wait_s,
        )  # fmt: skip


def _curve(name: str, points: Sequence[tuple[int, float]]) -> MetricCurve:
    kept = [(step, value) for step, value in points if math.isfinite(value)]
    # The last one stays: it is what the training came to.
    kept = kept[::-1][:: max(1, math.ceil(len(kept) / MOST_POINTS))][::-1]
    return MetricCurve(name=name[:64], steps=[step for step, _ in kept], values=[value for _, value in kept])
