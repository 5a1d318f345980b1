# SPDX-License-Identifier: Apache-2.0
"""The seam to triggers: what a trigger is, what every source of them promises, and the bounded buffer of each.

Pairs nothing with frames; `triggering.paired` does. Implementations: `triggering.mqtt`, `triggering.controller`.
"""

import logging
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

from contracts.reports import StationFault
from edge_agent.clock import Clock
from edge_agent.log_pace import is_worth_a_line

_log = logging.getLogger(__name__)

# A time stamp older than this is a clock that was never set, not a message that took so long.
_MAX_AGE_S: Final = 60.0


@dataclass(frozen=True)
class Trigger:
    """A part in front of the camera.

    Args:
        number: counts parts without gaps.
        at: aware UTC time of the trigger.
        at_s: the same moment on the station's monotonic clock.
        part_id: name of the part, when the line knows it.
        product: type of the part, when the line knows it.
        fault: what was said of the part and could not be read: it must not be judged as if nothing had been said.
    """

    number: int
    at: datetime
    at_s: float
    part_id: str | None = None
    product: str | None = None
    fault: str = ""


class TriggerSource(Protocol):
    """Triggers, wherever they come from. A link that breaks is its own business: it comes back by itself."""

    @property
    def buffer(self) -> "TriggerBuffer":
        """Its counts."""
        ...

    def open(self) -> None:
        """Begin to listen. May be called again; never raises for a link that is away."""
        ...

    def read(self, timeout_s: float) -> Trigger | None:
        """The next trigger, or None when none came within `timeout_s`. Never raises."""
        ...

    def close(self) -> None:
        """Stop listening, for good."""
        ...

    def faults(self) -> Sequence[StationFault]:
        """Why no trigger can come now."""
        ...


class TriggerBuffer:
    """Between the thread that hears triggers and the one that pairs them; numbers those that have no number.

    Numbers are given before the bound: a trigger that is dropped here shows as a gap, and its part is reported.

    Args:
        clock: the station's clock.
        first_number: of triggers without a number; follows the last recorded one.
        debounce_s: a trigger this soon after another one is the same part, unless it is named otherwise.
        shares_clock: whoever sends the triggers has the station's wall clock, so that its time counts.
        capacity: triggers kept.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        first_number: int = 0,
        debounce_s: float = 0.0,
        shares_clock: bool = False,
        capacity: int = 256,
    ) -> None:
        self._clock = clock
        self._next_number = first_number
        self._debounce_s = debounce_s
        self._shares_clock = shares_clock
        self._capacity = capacity
        self._waiting: deque[Trigger] = deque()
        self._changed = threading.Condition()
        self._last: Trigger | None = None
        self._last_given: int | None = None
        self.received = 0
        self.repeated = 0
        self.dropped = 0

    def put(
        self,
        *,
        number: int | None = None,
        part_id: str | None = None,
        product: str | None = None,
        fault: str = "",
        at: datetime | None = None,
        at_s: float | None = None,
    ) -> None:
        """Take in a trigger; never waits.

        Args:
            number: as the line counts; None: counted here.
            part_id: as in `Trigger`.
            product: as in `Trigger`.
            fault: as in `Trigger`.
            at: when it happened by the sender's clock; counts only if that is the station's.
            at_s: when it was heard, monotonic; None: now.
        """
        now_s = self._clock.monotonic()
        heard_s = now_s if at_s is None else at_s
        heard_at = self._clock.now() - timedelta(seconds=now_s - heard_s)
        if at is not None and self._shares_clock and 0 <= (age_s := (heard_at - at).total_seconds()) <= _MAX_AGE_S:
            heard_s, heard_at = heard_s - age_s, at
        with self._changed:
            if self._is_repeated(number, part_id, heard_s):
                self.repeated += 1
                if is_worth_a_line(self.repeated):
                    _log.warning("trigger repeated number=%s part_id=%s repeated=%d", number, part_id, self.repeated)
                return
            trigger = Trigger(
                self._next_number if number is None else number, heard_at, heard_s, part_id, product, fault
            )
            self._next_number = trigger.number + 1
            self._last, self._last_given = trigger, number
            self.received += 1
            if len(self._waiting) >= self._capacity:
                # Lossy on purpose: memory is bounded. The gap in the numbers reports the part.
                self.dropped += 1
                if is_worth_a_line(self.dropped):
                    _log.error("trigger dropped number=%d dropped=%d", trigger.number, self.dropped)
                return
            self._waiting.append(trigger)
            self._changed.notify()

    def take(self, timeout_s: float) -> Trigger | None:
        """The oldest trigger, or None when none came within `timeout_s`."""
        with self._changed:
            if not self._waiting and timeout_s > 0:
                self._changed.wait(timeout_s)
            return self._waiting.popleft() if self._waiting else None

    def _is_repeated(self, number: int | None, part_id: str | None, at_s: float) -> bool:
        last = self._last
        if last is None:
            return False
        if number is not None and number == self._last_given:
            return True
        is_named_otherwise = (None not in (number, self._last_given) and number != self._last_given) or (
            None not in (part_id, last.part_id) and part_id != last.part_id
        )
        return not is_named_otherwise and abs(at_s - last.at_s) < self._debounce_s
