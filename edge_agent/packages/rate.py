# SPDX-License-Identifier: Apache-2.0
"""How fast packages may come in, and when to try again after a broken link. No thread, no network, no sleep.

`RateLimit` is shared by the stations of a process: it says how long to wait, the downloads wait. `Backoff` belongs to
one installer. Built by the composition root and by the installer.
"""

import random
import threading

from edge_agent.clock import Clock


class RateLimit:
    """A bound on bytes a second over everything that takes from it. Safe for many threads.

    Args:
        bytes_per_s: 0: no bound.
    """

    def __init__(self, bytes_per_s: int, clock: Clock) -> None:
        self._bytes_per_s = bytes_per_s
        self._clock = clock
        self._lock = threading.Lock()
        self._free_at = 0.0

    def take(self, count_bytes: int) -> float:
        """Count bytes that came. Returns the seconds to wait before more are read: TCP then holds the sender back."""
        if not self._bytes_per_s:
            return 0.0
        with self._lock:
            now = self._clock.monotonic()
            # What was not used is not saved up: after a quiet hour the link must not be taken whole.
            self._free_at = max(self._free_at, now) + count_bytes / self._bytes_per_s
            return self._free_at - now


class Backoff:
    """A growing pause, drawn anew each time: stations that lost central together must not come back together.

    Args:
        first_s: middle of the first pause; doubles.
        longest_s: middle of the longest.
        rng: draws each pause between half and one and a half times its middle.
    """

    def __init__(self, first_s: float, longest_s: float, rng: random.Random) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._rng = rng
        self._middle_s = first_s

    def next_s(self) -> float:
        """Seconds until the next attempt."""
        pause_s = self._middle_s * self._rng.uniform(0.5, 1.5)
        self._middle_s = min(self._middle_s * 2, self._longest_s)
        return pause_s

    def soon_s(self) -> float:
        """Seconds until an attempt that there is fresh reason for; the pauses begin anew."""
        self._middle_s = self._first_s
        return self._rng.uniform(0, 2 * self._first_s)

    def reset(self) -> None:
        """The pauses begin anew."""
        self._middle_s = self._first_s
