# SPDX-License-Identifier: Apache-2.0
"""What went wrong at a reject output: counts for good, and faults of the station while they are fresh.

Decides nothing and drives nothing. Written by `actuators.line` from two threads, read for the station's status.
"""

import threading
from collections import Counter
from datetime import datetime
from typing import Final

from contracts.reports import StationFault
from edge_agent.clock import Clock
from edge_agent.errors import EdgeError

_FRESH_S: Final = 60.0
_TEXT_LIMIT: Final = 500
_NOT_YET: Final = "not connected yet"
_TEXTS: Final = {
    "late": ("signals came after their part had passed its place", "check load, or lengthen the way to the gate"),
    "full": ("signals found too many parts on their way to the gate", "raise output.max_pending, or check the delay"),
    "failed": ("pulses were not given although their parts had been taken", "check the controller and its network"),
    "stuck": (
        "times the link broke while the output was on, or may have been",
        "let the controller end a pulse that it did not see ending; see docs/line-signals.md",
    ),
    "overlap": (
        "pulses reached over the next part, which was to be held, and were cut short",
        "make output.pulse_ms shorter than the distance of two parts",
    ),
}


class OutputTroubles:
    """See the module. `is_fail_safe`: without a signal the gate holds a part."""

    def __init__(self, clock: Clock, *, is_fail_safe: bool) -> None:
        self._clock = clock
        self._is_fail_safe = is_fail_safe
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._last_s: dict[str, float] = {}
        self._since: dict[str, datetime] = {}
        self._away: EdgeError | None = None
        self._away_since: datetime | None = clock.now()
        self.losses = 0

    def count(self, what: str, by: int = 1) -> int:
        """Add to the count of one trouble (a key of the texts); the total."""
        with self._lock:
            if by:
                now_s = self._clock.monotonic()
                if now_s - self._last_s.get(what, now_s - 2 * _FRESH_S) > _FRESH_S:
                    self._since[what] = self._clock.now()
                self._counts[what] += by
                self._last_s[what] = now_s
            return self._counts[what]

    def lost(self, error: EdgeError) -> None:
        """The controller is away or refuses us."""
        with self._lock:
            self.losses += 1
            self._away = error
            self._away_since = self._away_since or self._clock.now()

    def opened(self) -> None:
        """The controller takes our signals (again)."""
        with self._lock:
            self._away = self._away_since = None

    def faults(self) -> list[StationFault]:
        """The faults now: away, and each trouble of the last minute."""
        now_s = self._clock.monotonic()
        meaning = "every part is held" if self._is_fail_safe else "DEFECTIVE PARTS PASS"
        with self._lock:
            found = [
                (f"output-{what}", f"{self._counts[what]} {_TEXTS[what][0]}", _TEXTS[what][1], self._since[what])
                for what, last_s in self._last_s.items()
                if now_s - last_s <= _FRESH_S
            ]
            if self._away_since is not None:
                why, remedy = (self._away.message, self._away.remedy) if self._away else (_NOT_YET, "")
                found.insert(0, ("output-away", f"reject output: {meaning}: {why}", remedy, self._away_since))
        return [
            StationFault(code=code, message=message[:_TEXT_LIMIT], remedy=remedy[:_TEXT_LIMIT], since=since)
            for code, message, remedy, since in found
        ]
