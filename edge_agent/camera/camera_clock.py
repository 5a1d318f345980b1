# SPDX-License-Identifier: Apache-2.0
"""When a frame was taken, on the station's monotonic clock, from the camera's own time stamps.

The frame that came fastest so far tells how the two clocks stand to each other; one that came later than its stamp
lets expect was held up on the way, and its moment is that much before its arrival. So the deadline of a part runs from
its capture, not from the end of a jam in the network. What every frame needs (exposure, transfer) stays in: the moment
is that of arrival on a free way. Stamps that make no sense are not used. `WallTime`: what time of day a moment was.
"""

from datetime import datetime, timedelta
from typing import Final

from edge_agent.clock import Clock

# Quartz clocks differ by less; the offset may rise by this share of the time, so that it follows a slower camera.
_DRIFT: Final = 200e-6
# A frame that seems older has a stamp that cannot be trusted: camera clock set anew, or no clock at all.
_MAX_HELD_UP_S: Final = 1.0
# Below this the two clocks of the machine are taken to stand as before: what differs is the reading of them.
_MOVED_S: Final = 1e-3
_READINGS: Final = 5
_CLOSE_S: Final = 20e-6


class CameraClock:
    """Follows the clock of one camera."""

    def __init__(self) -> None:
        self._offset_s: float | None = None
        self._last_stamp_s = 0.0
        self._last_moment_s = 0.0

    def restart(self) -> None:
        """A new connection: nothing is known of the camera's clock."""
        self._offset_s = None

    def moment_s(self, stamp_s: float, arrived_s: float) -> float:
        """Monotonic time of capture: never after the arrival, never before the frame before.

        Args:
            stamp_s: the camera's time stamp, in its own seconds; 0 when it has none.
            arrived_s: when the frame came, monotonic.
        """
        moment_s = arrived_s
        if stamp_s > 0:
            moment_s = min(arrived_s, max(self._last_moment_s, self._moment_s(stamp_s, arrived_s)))
            self._last_stamp_s = stamp_s
        self._last_moment_s = moment_s
        return moment_s

    def _moment_s(self, stamp_s: float, arrived_s: float) -> float:
        offset_s = arrived_s - stamp_s
        elapsed_s = stamp_s - self._last_stamp_s
        if self._offset_s is None or elapsed_s <= 0:
            self._offset_s = offset_s
            return arrived_s
        expected_s = self._offset_s + elapsed_s * _DRIFT
        if offset_s - expected_s > _MAX_HELD_UP_S:
            self._offset_s = offset_s
            return arrived_s
        self._offset_s = min(offset_s, expected_s)
        return stamp_s + self._offset_s


class WallTime:
    """Wall time of a monotonic moment. Of two moments the later one is never the earlier, until the wall clock is set.

    A machine that is busy stops the reader between reading one clock and the other, for milliseconds: the closest of a
    few readings counts, and one that may say what is known already, or says so within a millisecond, changes nothing.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._wall: datetime | None = None
        self._at_s = 0.0

    def at(self, moment_s: float) -> datetime:
        """Aware UTC time of `moment_s` on the station's monotonic clock."""
        wall, at_s, unsure_s = self._read()
        if self._wall is None or self._has_moved(wall, at_s, unsure_s):
            self._wall, self._at_s = wall, at_s
        return self._wall + timedelta(seconds=moment_s - self._at_s)

    def _has_moved(self, wall: datetime, at_s: float, unsure_s: float) -> bool:
        known = self._wall + timedelta(seconds=at_s - self._at_s) if self._wall is not None else wall
        return abs((wall - known).total_seconds()) > max(_MOVED_S, unsure_s)

    def _read(self) -> tuple[datetime, float, float]:
        """Wall time, monotonic time, and how far apart both may have been read."""
        readings = []
        for _ in range(_READINGS):
            before_s, wall, after_s = self._clock.monotonic(), self._clock.now(), self._clock.monotonic()
            readings.append((after_s - before_s, wall, (before_s + after_s) / 2))
            if after_s - before_s < _CLOSE_S:
                break
        width_s, wall, at_s = min(readings)
        return wall, at_s, width_s
