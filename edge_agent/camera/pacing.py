# SPDX-License-Identifier: Apache-2.0
"""A steady takt for sources that have none of their own (folders, video files).

Does not drop: a late reader gets the next beat at once, but missed beats are not made up for in a burst. Used
by `camera.replay` and `camera.opencv`.
"""

import threading

from edge_agent.clock import Clock


class Pace:
    """Beats at `rate_hz`; 0 means as fast as they are asked for."""

    def __init__(self, clock: Clock, rate_hz: float) -> None:
        self._clock = clock
        self._period_s = 1.0 / rate_hz if rate_hz > 0 else 0.0
        self._next_at: float | None = None
        # An event that is never set: waiting on it sleeps with a bound.
        self._sleeping = threading.Event()

    def start(self) -> None:
        """Let the first beat come now."""
        self._next_at = self._clock.monotonic()

    def wait(self, timeout_s: float) -> bool:
        """Wait for the next beat, at most `timeout_s`. True when it came; it is then used up."""
        now = self._clock.monotonic()
        due = now if self._next_at is None else self._next_at
        if due > now:
            self._sleeping.wait(min(due - now, timeout_s))
            if due - now > timeout_s:
                return False
        self._next_at = max(due, now) + self._period_s
        return True
