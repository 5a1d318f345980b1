# SPDX-License-Identifier: Apache-2.0
"""The two clocks of a station behind one seam: wall time for the wire, monotonic time for durations.

The only module of the station that reads a clock, but for
what the kernel says of it (`kernel_clock`). Does not sleep and does not correct skew. Everything that
needs a time is given a `Clock`; tests give a frozen one.
"""

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What the station asks about time."""

    def now(self) -> datetime:
        """Aware UTC wall time. May jump when the machine's clock is set; never use it for durations."""
        ...

    def monotonic(self) -> float:
        """Seconds that only ever rise. For durations and deadlines; meaningless on the wire."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> datetime:
        """Aware UTC wall time."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds since an arbitrary start."""
        return time.monotonic()
