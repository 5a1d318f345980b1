# SPDX-License-Identifier: Apache-2.0
"""Frames of several cameras that wait at the same moment, judged in one run of the graph.

A frame never waits for one that may come, only for one that is there: in another camera's queue or being prepared. It
waits no longer than a batch gains, and not at all where its own deadline is near. A batch that fails costs no part:
each is then judged alone, in its own thread. Does not decide whether batches pay: `packages.batches` measures that.
One batcher for each session that several stations share; kept by `inference.pool`.
"""

import logging
import math
import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from contracts.reports import BatchMeasured, StationFault
from edge_agent.clock import Clock
from edge_agent.errors import InferenceError
from edge_agent.inference.session import Inference, InferenceSession
from edge_agent.reporting.faults import FaultBook

_log = logging.getLogger(__name__)

# A frame waits for others no longer than this, however much a batch gains.
MAX_WAIT_S: Final = 0.005
# A frame with less time left than this many runs of a batch, beside the wait, is judged alone and at once.
_RUNS_LEFT: Final = 2.0
# Batches in a row that may fail before no more are made: each costs its parts the time of a run.
_MAX_FAILURES: Final = 3
# How long after its deadline a frame is still waited for, when another thread runs its batch and does not come back.
_GRACE_S: Final = 1.0
_LONGEST_AWAITED_S: Final = 10.0
_FAULT: Final = "batching-off"


class BatchSession(InferenceSession, Protocol):
    """A session that can judge several images at once."""

    @property
    def takes_batches(self) -> bool:
        """Whether the graph takes more than one image a run."""
        ...

    def run_batch(self, images_bgr: Sequence[NDArray[np.uint8]]) -> list[Inference | InferenceError]:
        """Judge images of one shape in one run; for each what is found, or why there is nothing.

        Raises:
            InferenceError: the whole run failed, or it gave fewer answers than images.
        """
        ...


@dataclass(frozen=True)
class BatchTimes:
    """A number of images at the same moment: in one run, and each in a run of its own, all at once.

    Medians in ms until the last one is judged; None with the reason when they cannot be judged together.
    """

    batch: int
    batched_ms: float | None = None
    singly_ms: float | None = None
    note: str = ""

    def told(self) -> BatchMeasured:
        """For the status."""
        return BatchMeasured(
            batch=self.batch, batched_ms=self.batched_ms, singly_ms=self.singly_ms, note=self.note[:300]
        )


class Seat:
    """One camera at the batchers of its group: says whether a frame of it is on its way, and when that is late.

    Args:
        waiting: frames in the camera's queue.
        clock: the station's clock.
    """

    def __init__(self, waiting: Callable[[], int], clock: Clock) -> None:
        self._waiting = waiting
        self._faults = FaultBook(clock)
        self._is_preparing = False
        self._last: weakref.ref[FrameBatcher] | None = None
        self.until_s = math.inf

    def take_up(self, until_s: float) -> None:
        """A frame was taken from the queue. `until_s`: monotonic time at which its verdict is late."""
        self.until_s = until_s
        self._is_preparing = True

    def let_go(self) -> None:
        """That frame is judged, or will not be."""
        was_awaited, self._is_preparing = self._is_preparing, False
        if was_awaited and (batcher := self.batcher) is not None:
            batcher.look_again()

    def arrived(self, batcher: "FrameBatcher") -> None:
        """That frame is at the graph."""
        self._is_preparing = False
        if self.batcher is not batcher:
            self._last = weakref.ref(batcher)

    @property
    def batcher(self) -> "FrameBatcher | None":
        """Where its last frame was judged: the next one is awaited there and nowhere else."""
        return None if self._last is None else self._last()

    def faults(self) -> list[StationFault]:
        """What a person must look at now."""
        batcher = self.batcher
        if batcher is not None and batcher.trouble:
            self._faults.add(_FAULT, batcher.trouble, "parts are judged as before, only slower; restart the station")
        else:
            self._faults.clear(_FAULT)
        return self._faults.current()

    @property
    def is_coming(self) -> bool:
        """Whether a frame of this camera is there and not at the graph yet."""
        return self._is_preparing or self._waiting() > 0


@dataclass(eq=False)
class _Waiting:
    seat: Seat
    image: NDArray[np.uint8]
    is_taken: bool = False
    is_done: bool = False
    answer: Inference | None = None


@dataclass
class BatchCounters:
    """What happened since the start. Written by the batcher, read by anyone."""

    batches: int = 0
    frames_together: int = 0
    frames_alone: int = 0
    failed_batches: int = 0
    unanswered: int = 0


class FrameBatcher:
    """See the module. Safe for many threads.

    Args:
        session: judges one frame or several.
        sizes: numbers of frames that are faster together, all tried.
        max_wait_s: for others that are on their way.
        batch_s: time of the largest batch.
        clock: the station's clock.
    """

    def __init__(
        self, session: BatchSession, *, sizes: tuple[int, ...], max_wait_s: float, batch_s: float, clock: Clock
    ) -> None:
        self.session = session
        self.sizes = sizes
        self.max_wait_s = max_wait_s
        self.counters = BatchCounters()
        # Why no batch is made any more; empty as long as they are.
        self.trouble = ""
        self._batch_s = batch_s
        self._clock = clock
        self._state = threading.Condition()
        self._seats: weakref.WeakSet[Seat] = weakref.WeakSet()
        self._waiting: list[_Waiting] = []
        self._failures_in_row = 0

    def seated(self, seat: Seat) -> "SeatedSession":
        """The session as a camera uses it."""
        with self._state:
            self._seats.add(seat)
        return SeatedSession(self, seat)

    def look_again(self) -> None:
        """A frame that was on its way does not come."""
        with self._state:
            self._state.notify_all()

    def run(self, image_bgr: NDArray[np.uint8], seat: Seat) -> Inference:
        """Judge a frame, together with others where there are some.

        Raises:
            InferenceError: as from the session alone, or nobody answered.
        """
        mine = _Waiting(seat, image_bgr)
        with self._state:
            seat.arrived(self)
            # Others may wait for this one, whatever becomes of it.
            self._state.notify_all()
            batch = [] if self.trouble or self._is_urgent(seat) else self._gathered(mine)
            if mine.is_taken and not batch:
                self._await(mine)
        if len(batch) > 1:
            self._run_together(batch)
        if mine.answer is not None:
            return mine.answer
        self.counters.frames_alone += 1
        return self.session.run(image_bgr)

    def _is_urgent(self, seat: Seat) -> bool:
        return seat.until_s - self._clock.monotonic() < self.max_wait_s + _RUNS_LEFT * self._batch_s

    def _gathered(self, mine: _Waiting) -> list[_Waiting]:
        """Those to run with `mine`, itself among them; empty when another thread has taken it."""
        self._waiting.append(mine)
        until_s = self._clock.monotonic() + self.max_wait_s
        while not mine.is_taken and self._is_worth_a_wait(mine):
            left_s = until_s - self._clock.monotonic()
            if left_s <= 0:
                break
            self._state.wait(left_s)
        if mine.is_taken:
            return []
        # Itself first, then those that wait longest.
        alike = [mine, *(each for each in self._alike(mine) if each is not mine)]
        batch = alike[: max((size for size in self.sizes if size <= len(alike)), default=1)]
        for each in batch:
            each.is_taken = True
            self._waiting.remove(each)
        return batch

    def _alike(self, mine: _Waiting) -> list[_Waiting]:
        return [each for each in self._waiting if each.image.shape == mine.image.shape]

    def _is_worth_a_wait(self, mine: _Waiting) -> bool:
        if len(self._alike(mine)) >= max(self.sizes):
            return False
        here = {id(each.seat) for each in self._waiting}
        return any(seat.is_coming and seat.batcher is self for seat in self._seats if id(seat) not in here)

    def _run_together(self, batch: list[_Waiting]) -> None:
        answers: Sequence[Inference | InferenceError] = ()
        failure: Exception | None = None
        try:
            answers = self.session.run_batch([each.image for each in batch])
        except Exception as error:  # noqa: BLE001 - whatever it was, each part is still judged alone
            failure = error
        with self._state:
            # One that has no answer, a score that is no number say, is judged alone by its own thread.
            for each, answer in zip(batch, answers, strict=False):
                each.answer = answer if isinstance(answer, Inference) else None
            for each in batch:
                each.is_done = True
            self._note(len(batch), failure, sum(each.answer is None for each in batch))
            self._state.notify_all()

    def _note(self, frames: int, failure: Exception | None, unanswered: int) -> None:
        self.counters.batches += 1
        self.counters.frames_together += frames - unanswered
        self.counters.unanswered += unanswered
        if failure is None and not unanswered:
            self._failures_in_row = 0
            return
        self.counters.failed_batches += 1
        self._failures_in_row += 1
        why = failure or "a frame has no usable answer"
        _log.warning("batch failed frames=%d failed=%d: %s", frames, self.counters.failed_batches, why)
        if self._failures_in_row >= _MAX_FAILURES:
            self.trouble = f"{self._failures_in_row} batches in a row failed, every frame is judged alone: {why}"
            _log.error("batching ends provider=%s: %s", self.session.provider, self.trouble)

    def _await(self, mine: _Waiting) -> None:
        """Until the thread that runs the batch has the answer."""
        until_s = min(mine.seat.until_s, self._clock.monotonic() + _LONGEST_AWAITED_S) + _GRACE_S
        while not mine.is_done:
            left_s = until_s - self._clock.monotonic()
            if left_s <= 0:
                # A camera that hangs must not stop the others of its group.
                msg = "the run of a batch did not come back"
                raise InferenceError(msg, remedy="if this repeats, restart the station")
            self._state.wait(left_s)


@dataclass(frozen=True, eq=False)
class SeatedSession:
    """A shared session as one camera uses it. Implements `InferenceSession`."""

    batcher: FrameBatcher
    seat: Seat

    @property
    def provider(self) -> str:
        """The execution provider that really runs the graph."""
        return self.batcher.session.provider

    def run(self, image_bgr: NDArray[np.uint8]) -> Inference:
        """Judge one image, maybe together with others. As `InferenceSession.run`."""
        return self.batcher.run(image_bgr, self.seat)


def alone(session: InferenceSession) -> InferenceSession:
    """The session without its seat, for whoever judges no part of the camera: it must not wait, nor be waited for."""
    return session.batcher.session if isinstance(session, SeatedSession) else session
