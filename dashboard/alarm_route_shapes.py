# SPDX-License-Identifier: Apache-2.0
"""What the dashboard knows of routes of alarms. Frozen dataclasses that mirror central's API bodies by name.

Built by `reading`, handed out by `client`.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class AlarmRoute:
    """A route and how it goes. `route`: as it was set, in central's own words."""

    name: str
    route: dict[str, Any]
    changed_at: datetime
    changed_by: str
    note: str
    is_failing: bool
    held: int
    waiting: int
    unsaid: int
    failing_since: datetime | None = None
    next_attempt_at: datetime | None = None
    last_error: str | None = None
    last_sent_at: datetime | None = None


@dataclass(frozen=True)
class RouteTested:
    """What became of a test message."""

    has_arrived: bool
    text: str
