# SPDX-License-Identifier: Apache-2.0
"""When the output is on: parts on their way to the gate, in the order in which they get there. Pure.

Reads no clock and drives nothing; `actuators.line` does. Pulses of neighbouring parts that overlap become one longer
pulse and never shorten each other. A part that gets no pulse ends the pulse of the part before it (`ends_others`):
where the pulse means "may pass", its neighbour's must not reach over it.
"""

import bisect
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Arrival:
    """A part at the gate. `due_s`: monotonic time; `has_pulse`: it gets one, of `pulse_s`."""

    due_s: float
    has_pulse: bool
    pulse_s: float


class PulsePlan:
    """The pulses to come and the one that is on.

    Args:
        pulse_s: length of a pulse that says none of its own.
        tolerance_s: a pulse that begins later than this after its time would act on the next part: it is left out.
        ends_others: a part without a pulse ends the pulse that is on.
    """

    def __init__(self, *, pulse_s: float, tolerance_s: float, ends_others: bool) -> None:
        self._pulse_s = pulse_s
        self._tolerance_s = tolerance_s
        self._ends_others = ends_others
        self._arrivals: list[Arrival] = []
        self._off_at_s: float | None = None
        # Of the pulse that is on; the longest where several became one.
        self._length_s = pulse_s
        self.late = 0
        self.merged = 0
        self.shortened = 0

    def __len__(self) -> int:
        return len(self._arrivals)

    @property
    def is_on(self) -> bool:
        """Whether a pulse is on, as far as the plan goes."""
        return self._off_at_s is not None

    @property
    def next_s(self) -> float | None:
        """When `step` has something to do again; None: not before another part is added."""
        times = [self._arrivals[0].due_s] if self._arrivals else []
        times += [self._off_at_s] if self._off_at_s is not None else []
        return min(times, default=None)

    def add(self, due_s: float, *, has_pulse: bool, pulse_s: float | None = None) -> None:
        """A part that will be at the gate at `due_s`; parts may be added in any order."""
        bisect.insort(self._arrivals, Arrival(due_s, has_pulse, self._pulse_s if pulse_s is None else pulse_s))

    def step(self, now_s: float) -> bool:
        """Let time go on to `now_s`; whether the output is to be on."""
        while self._arrivals and self._arrivals[0].due_s <= now_s:
            arrival = self._arrivals.pop(0)
            # What ended before this part came must not count as reaching over it.
            if self._off_at_s is not None and self._off_at_s <= arrival.due_s:
                self._off_at_s = None
            if arrival.has_pulse:
                self._begin(arrival, now_s)
            elif self._ends_others and self._off_at_s is not None:
                self.shortened += 1
                self._off_at_s = None
        if self._off_at_s is not None and self._off_at_s <= now_s:
            self._off_at_s = None
        return self._off_at_s is not None

    def begun(self, at_s: float) -> None:
        """The output has gone on at `at_s`: the pulse lasts its whole length from there."""
        if self._off_at_s is not None:
            self._off_at_s = max(self._off_at_s, at_s + self._length_s)

    def drop_pulse(self) -> bool:
        """The output could not be driven: forget the pulse that is on. Whether there was one."""
        had_one = self._off_at_s is not None
        self._off_at_s = None
        return had_one

    def clear(self) -> int:
        """Forget the parts to come; how many of them would have got a pulse."""
        pulses = sum(arrival.has_pulse for arrival in self._arrivals)
        self._arrivals.clear()
        return pulses

    def _begin(self, arrival: Arrival, now_s: float) -> None:
        if now_s - arrival.due_s > self._tolerance_s:
            self.late += 1
            return
        is_merged = self._off_at_s is not None
        self.merged += is_merged
        self._length_s = max(self._length_s, arrival.pulse_s) if is_merged else arrival.pulse_s
        self._off_at_s = max(self._off_at_s or 0.0, now_s + arrival.pulse_s)
