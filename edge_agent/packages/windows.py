# SPDX-License-Identifier: Apache-2.0
"""Maintenance windows: when packages may be downloaded, in the plant's own time. Pure: a time in, an answer out.

Reads no clock and holds nothing up. `download_settings` reads them, `packages.fetch` asks.

A window is `[days] [HH:MM-HH:MM]`, as in `mon-fri 22:00-05:00`, `sat,sun` or `12:30-13:00`. Its days are those on which
it opens; one that ends before its beginning ends on the next day. Days have 23 or 25 hours where clocks are moved: a
window that begins in the hour that is left out opens when they are moved, one that begins or ends in the hour that
comes twice takes all of it.
"""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WINDOW: Final = re.compile(r"(?:(?P<days>[a-z,-]+))?\s*(?:(?P<from>\d{2}:\d{2})\s*-\s*(?P<to>\d{2}:\d{2}))?")
# A window may fall away on the day when clocks are put forward: then the week after has it.
_LOOK_AHEAD_DAYS: Final = 15
_DAY_MINUTES: Final = 24 * 60


@dataclass(frozen=True)
class Window:
    """Minutes after midnight; `end` above 24 h lies on the next day. `days`: 0 is Monday."""

    days: frozenset[int]
    begin: int
    end: int


@dataclass(frozen=True)
class MaintenanceWindows:
    """All windows of a station. None at all: always open."""

    zone: ZoneInfo
    windows: tuple[Window, ...] = ()

    def opens_at(self, now: datetime) -> datetime | None:
        """None: it is open now. Else when the next window opens, aware UTC."""
        if not self.windows:
            return None
        today = now.astimezone(self.zone).date()
        # A window of the day before may still be open: it lasts 24 h at most.
        days = [today + timedelta(days=count) for count in range(-2, _LOOK_AHEAD_DAYS)]
        spans = [self._span(window, day) for window in self.windows for day in days if day.weekday() in window.days]
        if any(begin <= now < end for begin, end in spans):
            return None
        return min((begin for begin, end in spans if now < begin < end), default=now + timedelta(days=1))

    def say(self, at: datetime) -> str:
        """A time as people in the plant read it."""
        return f"{at.astimezone(self.zone):%a %Y-%m-%d %H:%M} ({self.zone.key})"

    def _span(self, window: Window, day: date) -> tuple[datetime, datetime]:
        return self._utc(day, window.begin, is_end=False), self._utc(day, window.end, is_end=True)

    def _utc(self, day: date, minutes: int, *, is_end: bool) -> datetime:
        day += timedelta(days=minutes // _DAY_MINUTES)
        hour, minute = divmod(minutes % _DAY_MINUTES, 60)
        # Of an hour that comes twice a beginning means the first, an end the second.
        local = datetime.combine(day, time(hour, minute), self.zone).replace(fold=int(is_end))
        found = local.astimezone(UTC)
        if found.astimezone(self.zone).replace(tzinfo=None) == local.replace(tzinfo=None):
            return found
        # The clocks jump over this time: it is when they jump.
        return self._jump(local)

    def _jump(self, local: datetime) -> datetime:
        before, after = (local.replace(fold=fold).utcoffset() or timedelta() for fold in (0, 1))
        low = (local.replace(tzinfo=None) - after).replace(tzinfo=UTC)
        high = (local.replace(tzinfo=None) - before).replace(tzinfo=UTC)
        offset = low.astimezone(self.zone).utcoffset()
        while high - low > timedelta(seconds=1):
            middle = low + (high - low) / 2
            if middle.astimezone(self.zone).utcoffset() == offset:
                low = middle
            else:
                high = middle
        return (high + timedelta(seconds=30)).replace(second=0, microsecond=0)


def parse_window(text: str) -> Window:
    """Read one window.

    Raises:
        ValueError: saying what was expected.
    """
    found = _WINDOW.fullmatch(text.strip().lower())
    if found is None or not text.strip():
        msg = f'expected a window like "mon-fri 22:00-05:00", "sat,sun" or "12:30-13:00", got {text!r}'
        raise ValueError(msg)
    days = _days(found["days"], text)
    if found["from"] is None:
        return Window(days, 0, _DAY_MINUTES)
    begin, end = _minutes(found["from"], text), _minutes(found["to"], text)
    if begin == _DAY_MINUTES:
        msg = f"expected a window that begins before 24:00, got {text!r}"
        raise ValueError(msg)
    if begin == end:
        msg = f'expected a window that ends at another time than it begins ("sat" is the whole day), got {text!r}'
        raise ValueError(msg)
    return Window(days, begin, end if end > begin else end + _DAY_MINUTES)


def _days(text: str | None, whole: str) -> frozenset[int]:
    if text is None:
        return frozenset(range(7))
    days: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        if first not in DAYS or (last or first) not in DAYS or part.endswith("-"):
            msg = f"expected days of {', '.join(DAYS)}, got {part!r} in {whole!r}"
            raise ValueError(msg)
        count = (DAYS.index(last or first) - DAYS.index(first)) % 7
        days |= {(DAYS.index(first) + step) % 7 for step in range(count + 1)}
    return frozenset(days)


def _minutes(text: str, whole: str) -> int:
    hour, minute = map(int, text.split(":"))
    if minute > 59 or hour > 24 or (hour == 24 and minute):
        msg = f"expected a time 00:00 … 24:00, got {text!r} in {whole!r}"
        raise ValueError(msg)
    return hour * 60 + minute
