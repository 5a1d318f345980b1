# SPDX-License-Identifier: Apache-2.0
"""When a challenger may use the processor: never while a part waits, and only for a share of the time. Pure.

Time is a parameter, in s of the station's monotonic clock. Two rules, both must hold. Room: the judge is idle, and
what the challenger is expected to take ends before the next part can be there (by the shortest intervals seen), or the
line pauses. Share: after a run of d seconds the next one begins no earlier than d ÷ share after it. So a slow
challenger skips parts, and one that takes longer than the takt judges in pauses only. Used by `inference.shadow`,
under its lock.
"""

from collections import deque
from typing import Final

_INTERVALS: Final = 50
_LEAST_INTERVALS: Final = 5
# Of the intervals seen: a part that comes earlier than nine in ten did finds the challenger at work.
_SHORT: Final = 0.1
# Of a takt that may be used up to the next part.
_SAFE: Final = 0.9
# Without a part for this many takts (and this long) the line pauses; nobody knows when it goes on.
_PAUSE_TAKTS: Final = 2.0
_LEAST_PAUSE_S: Final = 0.05


class Pace:
    """See the module.

    Args:
        share: of one processor's time, above 0, at most 1.
    """

    def __init__(self, share: float) -> None:
        self._share = share
        self._intervals: deque[float] = deque(maxlen=_INTERVALS)
        self._last_s: float | None = None
        self._is_judging = False
        self._not_before_s = float("-inf")

    def begun(self, now_s: float) -> None:
        """The judge takes up a part."""
        if self._last_s is not None:
            self._intervals.append(now_s - self._last_s)
        self._last_s = now_s
        self._is_judging = True

    def ended(self) -> None:
        """The judge is through with it."""
        self._is_judging = False

    def spent(self, began_s: float, took_s: float) -> None:
        """The challenger ran."""
        self._not_before_s = began_s + took_s / self._share

    @property
    def takt_s(self) -> float | None:
        """The shortest interval that parts keep; None before enough of them came."""
        if len(self._intervals) < _LEAST_INTERVALS:
            return None
        return sorted(self._intervals)[int(_SHORT * len(self._intervals))]

    def wait_s(self, now_s: float, expected_s: float) -> float:
        """0: the challenger may begin now. Else ask again after that long, or when the judge is through with a part."""
        takt_s = self.takt_s
        if self._is_judging or takt_s is None or self._last_s is None:
            return _LEAST_PAUSE_S
        if now_s < self._not_before_s:
            return self._not_before_s - now_s
        since_s = now_s - self._last_s
        pause_s = max(_PAUSE_TAKTS * takt_s, _LEAST_PAUSE_S)
        if since_s >= pause_s or since_s + expected_s <= _SAFE * takt_s:
            return 0.0
        return pause_s - since_s
