# SPDX-License-Identifier: Apache-2.0
"""The bounded queue between the grab thread and the judge.

When it is full the *newest* frame loses its pixels and goes on as a bare mark: those that already wait are the
closest to their deadline and are judged in order, memory stays bounded, and the part that lost its picture is
still reported by its number and held by a signal while it may still be at the gate. Dropping the oldest
instead would only make more verdicts late. Marks are bounded as well; beyond that the frame is dropped whole and
the gap rule finds it. Judges nothing. Used by the grabber (put) and the loop (get).
"""

import logging
import threading
from collections import deque
from dataclasses import dataclass, replace

from edge_agent.camera.source import Frame
from edge_agent.log_pace import is_worth_a_line

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class QueuedFrame:
    """A frame on its way to the judge. `is_missed`: it has no picture, or it was given up: queue full."""

    frame: Frame
    is_missed: bool = False


class FrameQueue:
    """First in, first out, one writer and one reader.

    Args:
        max_frames: frames with pixels.
        max_marks: frames without.
    """

    def __init__(self, max_frames: int, max_marks: int = 1000) -> None:
        self._max_frames = max_frames
        self._max_marks = max_marks
        self._waiting: deque[QueuedFrame] = deque()
        self._with_pixels = 0
        self._changed = threading.Condition()
        self.missed = 0
        self.dropped = 0

    def put(self, frame: Frame) -> None:
        """Add a frame; never waits."""
        with self._changed:
            is_missed = frame.is_missed or self._with_pixels >= self._max_frames
            if is_missed:
                if not frame.is_missed:
                    frame = self._given_up(frame)
                if len(self._waiting) - self._with_pixels >= self._max_marks:
                    self.dropped += 1
                    return
            else:
                self._with_pixels += 1
            self._waiting.append(QueuedFrame(frame, is_missed))
            self._changed.notify()

    def _given_up(self, frame: Frame) -> Frame:
        self.missed += 1
        if is_worth_a_line(self.missed):
            _log.warning("frame given up, queue full trigger_number=%d missed=%d", frame.trigger_number, self.missed)
        return replace(frame, pixels=None, fault="the queue to the judge was full")

    def get(self, timeout_s: float) -> QueuedFrame | None:
        """The oldest frame, or None when none came within `timeout_s`."""
        with self._changed:
            if not self._waiting:
                self._changed.wait(timeout_s)
            if not self._waiting:
                return None
            taken = self._waiting.popleft()
            self._with_pixels -= 0 if taken.is_missed else 1
            return taken

    def __len__(self) -> int:
        return len(self._waiting)
