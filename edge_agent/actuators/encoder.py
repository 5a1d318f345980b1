# SPDX-License-Identifier: Apache-2.0
"""Where the conveyor was and when it will be where: readings of an encoder, made into a line. Pure.

Reads no controller; `actuators.line` does and hands the readings over. Follows a counter that wraps; one that runs
backwards or was set anew is not told from one that ran on, so readings are forgotten when the link broke.
"""

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True)
class _Reading:
    at_s: float
    counts: int


class Encoder:
    """See the module.

    Args:
        bits: width of the counter.
        max_readings: how many readings are kept; parts captured before the oldest cannot be followed.
    """

    def __init__(self, *, bits: int = 32, max_readings: int = 6000) -> None:
        self._modulus = 1 << bits
        self._readings: deque[_Reading] = deque(maxlen=max_readings)
        self._raw = 0

    def forget(self) -> None:
        """The link broke: what the counter did meanwhile is not known."""
        self._readings.clear()

    def read(self, at_s: float, raw: int) -> None:
        """Take in a reading; `at_s` rises from one to the next."""
        if not self._readings:
            self._readings.append(_Reading(at_s, 0))
        else:
            moved = (raw - self._raw) % self._modulus
            # More than half the range is a step back (a shaking belt), not a leap.
            moved -= self._modulus if moved > self._modulus // 2 else 0
            self._readings.append(_Reading(at_s, self._readings[-1].counts + moved))
        self._raw = raw

    def position_at(self, at_s: float) -> float | None:
        """Counts at a time between the oldest and the newest reading, or shortly after it; else None."""
        later: _Reading | None = None
        for reading in reversed(self._readings):
            if reading.at_s <= at_s:
                if later is None:
                    return reading.counts + self._speed() * (at_s - reading.at_s)
                share = (at_s - reading.at_s) / (later.at_s - reading.at_s)
                return reading.counts + share * (later.counts - reading.counts)
            later = reading
        return None

    def time_of(self, position: float) -> float | None:
        """When the conveyor was or will be at `position` if it goes on as now; None while it does not move there."""
        if not self._readings:
            return None
        newest = self._readings[-1]
        if newest.counts >= position:
            return self._passed_at(position)
        speed = self._speed()
        return newest.at_s + (position - newest.counts) / speed if speed > 0 else None

    def _passed_at(self, position: float) -> float:
        later = self._readings[-1]
        for reading in reversed(self._readings):
            if reading.counts < position:
                share = (position - reading.counts) / (later.counts - reading.counts)
                return reading.at_s + share * (later.at_s - reading.at_s)
            later = reading
        return later.at_s

    def _speed(self) -> float:
        """Counts per second over the last few readings."""
        if len(self._readings) < 2:
            return 0.0
        newest, older = self._readings[-1], self._readings[max(-5, -len(self._readings))]
        return (newest.counts - older.counts) / (newest.at_s - older.at_s)
