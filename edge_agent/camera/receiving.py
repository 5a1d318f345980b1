# SPDX-License-Identifier: Apache-2.0
"""The thread that takes frames from an OpenCV camera, and the bounded queue behind it.

It alone touches the capture, from the first frame to the release, because OpenCV waits inside and must not be released
meanwhile. Numbers each frame that is taken, before the queue, so that one dropped there shows as a gap. Used by
`camera.opencv`.
"""

import logging
import threading
from collections import deque
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_agent.camera.decoding import to_bgr
from edge_agent.camera.pacing import Pace
from edge_agent.clock import Clock
from edge_agent.log_pace import is_worth_a_line

_log = logging.getLogger(__name__)

_MS_PER_S: Final = 1000.0
# A stream whose stamps make no sense is not waited for longer.
_CATCH_UP_S: Final = 5.0


class Capture(Protocol):
    """What is used of `cv2.VideoCapture`."""

    def grab(self) -> bool:
        """Wait for the next frame and take it from the driver."""
        ...

    def retrieve(self) -> tuple[bool, Any]:
        """Decode the frame that was grabbed."""
        ...

    def get(self, propId: int, /) -> float:  # noqa: N803 - OpenCV's name
        """A property."""
        ...

    def release(self) -> None:
        """Let go of the camera."""
        ...


@dataclass(frozen=True, eq=False)
class Received:
    """A frame as it arrived."""

    pixels: NDArray[np.uint8]
    at: datetime
    monotonic: float
    trigger_number: int


class Receiver:
    """Receives from one opened capture until it fails or is stopped.

    Args:
        capture: opened; belongs to the receiver from now on.
        clock: the station's clock.
        rate_hz: frames taken per second; 0: all. Frames between are taken off the driver and not decoded.
        capacity: frames kept for the reader.
        next_trigger: number of the first frame.
        has_backlog: opening took so long that frames have piled up. They show what has passed already, and are
            skipped until the stream has caught up with the clock.
    """

    def __init__(
        self,
        capture: Capture,
        clock: Clock,
        *,
        rate_hz: float,
        capacity: int,
        next_trigger: int,
        has_backlog: bool,
    ) -> None:
        self._capture = capture
        self._clock = clock
        self._pace = Pace(clock, rate_hz)
        self._capacity = capacity
        self._next_trigger = next_trigger
        self._is_behind = has_backlog
        self._begun_at = clock.monotonic()
        self._last: tuple[float, float] | None = None
        self._waiting: deque[Received] = deque()
        self._changed = threading.Condition()
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="receive", daemon=True)
        self.is_over = False
        self.dropped = 0

    def start(self) -> None:
        """Begin to receive."""
        self._pace.start()
        self._thread.start()

    def take(self, timeout_s: float) -> Received | None:
        """The oldest frame that waits, or None when none came in time, or none will come any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self.is_over or self._is_stopping, timeout_s)
            return self._waiting.popleft() if self._waiting and not self._is_stopping else None

    def stop(self) -> int:
        """Take no more frames. Returns at once, with the next trigger number; the capture is freed by the thread."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()
            return self._next_trigger

    def has_ended(self, timeout_s: float) -> bool:
        """Whether the capture is free, waiting for it at most `timeout_s`."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            while not self._is_stopping and self._capture.grab():
                at, monotonic = self._clock.now(), self._clock.monotonic()
                if self._is_late(monotonic) or not self._pace.wait(0.0):
                    continue
                is_read, pixels = self._capture.retrieve()
                if not is_read or pixels is None:
                    break
                # A copy: some drivers hand out their own buffer and write the next frame into it.
                self._put(np.array(to_bgr(pixels.astype(np.uint8, copy=False))), at, monotonic)
        except cv2.error as error:
            _log.warning("camera driver failed: %s", error)
        finally:
            self._capture.release()
            with self._changed:
                self.is_over = True
                self._changed.notify_all()

    def _is_late(self, monotonic: float) -> bool:
        """Whether the frame had waited in the stream: it came sooner after the last one than it was taken after it."""
        if not self._is_behind:
            return False
        stamp_s = self._capture.get(cv2.CAP_PROP_POS_MSEC) / _MS_PER_S
        last, self._last = self._last, (monotonic, stamp_s)
        if last is None:
            return True
        waited_s, apart_s = monotonic - last[0], stamp_s - last[1]
        self._is_behind = apart_s > 0 and waited_s < apart_s / 2 and monotonic - self._begun_at < _CATCH_UP_S
        return self._is_behind

    def _put(self, pixels: NDArray[np.uint8], at: datetime, monotonic: float) -> None:
        with self._changed:
            if self._is_stopping:
                return
            trigger_number = self._next_trigger
            self._next_trigger += 1
            if len(self._waiting) >= self._capacity:
                # Lossy on purpose: memory is bounded. The gap in the numbers reports the part.
                self.dropped += 1
                if is_worth_a_line(self.dropped):
                    _log.warning("frame dropped trigger_number=%d dropped=%d", trigger_number, self.dropped)
                return
            self._waiting.append(Received(pixels, at, monotonic, trigger_number))
            self._changed.notify_all()
