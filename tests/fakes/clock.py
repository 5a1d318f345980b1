# SPDX-License-Identifier: Apache-2.0
"""A clock that stands still until a test moves it. Implements `edge_agent.clock.Clock`."""

import threading
from datetime import UTC, datetime, timedelta


class FakeClock:
    """Wall and monotonic time, moved by hand. Safe for many threads."""

    def __init__(self, now: datetime = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)) -> None:
        self._lock = threading.Lock()
        self._now = now
        self._monotonic = 1000.0

    def now(self) -> datetime:
        """Aware UTC wall time."""
        with self._lock:
            return self._now

    def monotonic(self) -> float:
        """Seconds that only rise."""
        with self._lock:
            return self._monotonic

    def advance(self, seconds: float) -> None:
        """Let both clocks pass."""
        with self._lock:
            self._now += timedelta(seconds=seconds)
            self._monotonic += seconds

    def set_wall(self, now: datetime) -> None:
        """Set the wall clock alone, forwards or backwards."""
        with self._lock:
            self._now = now
