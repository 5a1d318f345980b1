# SPDX-License-Identifier: Apache-2.0
"""A small book of what is wrong right now in one part of the station.

Keeps each fault once, with the time it began; does not log, does not decide the station's state. Filled by
outbox, evidence and packages; read by the heartbeat, which puts the faults into `StationReported`.
"""

import threading

from contracts.reports import StationFault
from edge_agent.clock import Clock

_MAX_TEXT = 500


class FaultBook:
    """Faults by code. Safe for many threads."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._faults: dict[str, StationFault] = {}

    def add(self, code: str, message: str, remedy: str = "") -> bool:
        """Note a fault, or its newer text; `since` stays. Returns whether it is new."""
        with self._lock:
            known = self._faults.get(code)
            self._faults[code] = StationFault(
                code=code,
                message=message[:_MAX_TEXT],
                remedy=remedy[:_MAX_TEXT],
                since=self._clock.now() if known is None else known.since,
            )
            return known is None

    def clear(self, code: str) -> bool:
        """The fault is over. Returns whether it was there."""
        with self._lock:
            return self._faults.pop(code, None) is not None

    def current(self) -> list[StationFault]:
        """What is wrong now, by code."""
        with self._lock:
            return [self._faults[code] for code in sorted(self._faults)]
