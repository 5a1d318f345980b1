# SPDX-License-Identifier: Apache-2.0
"""A steady takt for sources that have none of their own (folders, video files).

Does not drop: a late reader gets the next beat at once, but missed beats are not made up for in a burst. Used
by `camera.replay`, `camera.video` and `camera.opencv`.
"""

import threading

from edge_agent.clock import Clock


class Pace:
    """Beats at `rate_hz`; 0 means as fast as they are asked for."""

    def __init__(self, clock: Clock, rate_hz: float) -> None:
        self._clock = clock
        self._period_s = 1.0 / rate_hz if rate_hz > 0 else 0.0
        self._next_at: float | None = None
        self._stopped = threading.Event()

    def start(self) -> None:
        """Let the first beat come now."""
        self._stopped.clear()
        self._next_at = self._clock.monotonic()

    def stop(self) -> None:
        """No beat comes until `start`; who waits for one goes on without."""
        self._stopped.set()

    def wait(self, timeout_s: float) -> bool:
        """Wait for the next beat, at most `timeout_s`. True when it came; it is then used up."""
        now = self._clock.monotonic()
        due = now if self._next_at is None else self._next_at
        if due > now and (self._stopped.wait(min(due - now, timeout_s)) or due - now > timeout_s):
            return False
        if self._stopped.is_set():
            return False
        self._next_at = max(due, now) + self._period_s
        return True
