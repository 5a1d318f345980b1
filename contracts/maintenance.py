# SPDX-License-Identifier: Apache-2.0
"""Maintenance windows by a plant's own clock, as central plans by them and stations download in them.

Pure: a time in, an answer out; reads no clock and holds nothing up. How a window is written is the reader's business:
`central/domain/calendar.py` has the plan's, `edge_agent/packages/windows.py` the station's.

A window is of the days on which it opens; it may end on the next. Where clocks are moved days have 23 or 25 hours:
a window that begins in the hour that is left out opens when they are moved, one that begins or ends in the hour that
comes twice takes all of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY_MINUTES: Final = 24 * 60
# A window may fall away on the day when clocks are put forward: then the week after has it.
_LOOK_AHEAD_DAYS: Final = 15


@dataclass(frozen=True)
class Window:
    """Minutes after midnight; `end` above 24 h lies on the next day. `days`: 0 is Monday."""

    days: frozenset[int]
    begin: int
    end: int

    def span(self, day: date, zone: ZoneInfo) -> tuple[datetime, datetime] | None:
        """Beginning and end, aware UTC, of the window that opens on this day; None: none opens, or nothing is left."""
        if day.weekday() not in self.days:
            return None
        begin = _utc(day, self.begin, zone, is_end=False)
        end = _utc(day, self.end, zone, is_end=True)
        return (begin, end) if begin < end else None


def opens_at(windows: Sequence[Window], zone: ZoneInfo, now: datetime) -> datetime | None:
    """None: one is open now. Else when the next one opens, aware UTC."""
    today = now.astimezone(zone).date()
    # A window of the day before may still be open: it lasts 24 h at most.
    days = [today + timedelta(days=count) for count in range(-2, _LOOK_AHEAD_DAYS)]
    spans = [span for window in windows for day in days if (span := window.span(day, zone)) is not None]
    if any(begin <= now < end for begin, end in spans):
        return None
    return min((begin for begin, _ in spans if now < begin), default=now + timedelta(days=1))


def _utc(day: date, minutes: int, zone: ZoneInfo, *, is_end: bool) -> datetime:
    day += timedelta(days=minutes // DAY_MINUTES)
    hour, minute = divmod(minutes % DAY_MINUTES, 60)
    # Of an hour that comes twice a beginning means the first, an end the second.
    local = datetime.combine(day, time(hour, minute), zone).replace(fold=int(is_end))
    found = local.astimezone(UTC)
    if found.astimezone(zone).replace(tzinfo=None) == local.replace(tzinfo=None):
        return found
    # The clocks jump over this time: it is when they jump.
    return _jump(local, zone)


def _jump(local: datetime, zone: ZoneInfo) -> datetime:
    before, after = (local.replace(fold=fold).utcoffset() or timedelta() for fold in (0, 1))
    low = (local.replace(tzinfo=None) - after).replace(tzinfo=UTC)
    high = (local.replace(tzinfo=None) - before).replace(tzinfo=UTC)
    offset = low.astimezone(zone).utcoffset()
    while high - low > timedelta(seconds=1):
        middle = low + (high - low) / 2
        if middle.astimezone(zone).utcoffset() == offset:
            low = middle
        else:
            high = middle
    return (high + timedelta(seconds=30)).replace(second=0, microsecond=0)
