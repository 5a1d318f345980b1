# SPDX-License-Identifier: Apache-2.0
"""Which frame belongs to which trigger. Pure: triggers, frames and the time go in, pairs come out.

Triggers are answered in the order in which they came, and a frame is given once. A trigger's place is when its frame
should be captured. Reads no clock and no camera; `triggering.paired` does.
"""

from collections import deque
from dataclasses import dataclass

from edge_agent.camera.source import Frame
from edge_agent.triggering.source import Trigger


@dataclass(frozen=True, eq=False)
class Pair:
    """A part and its frame; None: none came in time, the part passed unseen."""

    trigger: Trigger
    due_s: float
    frame: Frame | None


@dataclass(frozen=True)
class _Announced:
    trigger: Trigger
    due_s: float


class Pairing:
    """See the module.

    Args:
        takes_first_after: the camera runs free: the first frame captured at or after the place is the part's.
            Otherwise each frame was made for one trigger: they go together in order, as far as they are near enough.
        window_s: a frame captured later than this after the place is not the part's; nor, where frames are made for
            triggers, is one captured earlier than this before it.
        arrival_s: longest time from capture until a frame is here.
        max_pending: triggers that wait for a frame.
        max_frames: frames that wait for a trigger.
    """

    def __init__(
        self,
        *,
        takes_first_after: bool,
        window_s: float,
        arrival_s: float,
        max_pending: int = 64,
        max_frames: int = 8,
    ) -> None:
        self._before_s = 0.0 if takes_first_after else window_s
        self._window_s = window_s
        self._arrival_s = arrival_s
        self._max_pending = max_pending
        self._max_frames = max_frames
        self._takes_first_after = takes_first_after
        self._announced: deque[_Announced] = deque()
        self._frames: deque[Frame] = deque()
        self._last_due_s: float | None = None
        self.missed = 0
        self.unpaired = 0
        self.unpaired_in_a_row = 0
        self.crowded = 0

    @property
    def is_waiting(self) -> bool:
        """Whether a trigger waits for its frame."""
        return bool(self._announced)

    def announce(self, trigger: Trigger, due_s: float) -> None:
        """A trigger, and when its frame should be captured."""
        if not self._takes_first_after and self._last_due_s is not None and due_s - self._last_due_s <= self._window_s:
            # A frame of the second would do for the first: should that one's be lost, the names shift.
            self.crowded += 1
        self._last_due_s = due_s
        self._announced.append(_Announced(trigger, due_s))

    def show(self, frame: Frame) -> None:
        """A frame, in the order in which they came."""
        self._frames.append(frame)

    def forget_frames(self) -> None:
        """Give no frame that waits now to any trigger."""
        while self._frames:
            self._drop()

    def settle(self, now_s: float) -> list[Pair]:
        """What is decided by now, in the order of the triggers."""
        settled: list[Pair] = []
        while self._announced:
            first = self._announced[0]
            self._drop_before(first.due_s - self._before_s)
            latest_s = first.due_s + self._window_s
            if self._frames and self._frames[0].captured_monotonic <= latest_s:
                settled.append(self._pair(first))
            elif self._frames or now_s > latest_s + self._arrival_s or len(self._announced) > self._max_pending:
                # A frame of later, no time left, or too many that wait.
                self.missed += 1
                settled.append(Pair(first.trigger, first.due_s, None))
            else:
                break
            self._announced.popleft()
        if not self._announced:
            # Kept for a moment: the news of a part may be slower than its picture.
            self._drop_before(now_s - self._window_s)
        while len(self._frames) > self._max_frames:
            self._drop()
        return settled

    def _pair(self, first: _Announced) -> Pair:
        frame = self._frames.popleft()
        self.unpaired_in_a_row = 0
        return Pair(first.trigger, first.due_s, frame)

    def _drop_before(self, captured_s: float) -> None:
        while self._frames and self._frames[0].captured_monotonic < captured_s:
            self._drop()

    def _drop(self) -> None:
        self._frames.popleft()
        self.unpaired += 1
        self.unpaired_in_a_row += 1
