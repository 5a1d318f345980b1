# SPDX-License-Identifier: Apache-2.0
"""The one place that reads the wall clock. Everything else takes a `Clock`, so that tests can hold time still.

Not for durations: those use `time.monotonic` where they are measured.
"""

from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Says what time it is."""

    def now(self) -> datetime:
        """Aware UTC time."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Aware UTC time."""
        return datetime.now(UTC)
