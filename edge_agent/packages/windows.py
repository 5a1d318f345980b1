# SPDX-License-Identifier: Apache-2.0
"""Maintenance windows: when packages may be downloaded, in the plant's own time. Pure: a time in, an answer out.

Reads no clock and holds nothing up. `download_settings` reads them, `packages.fetch` asks.

A window is `[days] [HH:MM-HH:MM]`, as in `mon-fri 22:00-05:00`, `sat,sun` or `12:30-13:00`; what it means on days when
clocks are moved says `contracts.maintenance`.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from contracts.maintenance import DAY_MINUTES, DAYS, Window, opens_at

_WINDOW: Final = re.compile(r"(?:(?P<days>[a-z,-]+))?\s*(?:(?P<from>\d{2}:\d{2})\s*-\s*(?P<to>\d{2}:\d{2}))?")


@dataclass(frozen=True)
class MaintenanceWindows:
    """All windows of a station. None at all: always open."""

    zone: ZoneInfo
    windows: tuple[Window, ...] = ()

    def opens_at(self, now: datetime) -> datetime | None:
        """None: it is open now. Else when the next window opens, aware UTC."""
        return opens_at(self.windows, self.zone, now) if self.windows else None

    def say(self, at: datetime) -> str:
        """A time as people in the plant read it."""
        return f"{at.astimezone(self.zone):%a %Y-%m-%d %H:%M} ({self.zone.key})"


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
        return Window(days, 0, DAY_MINUTES)
    begin, end = _minutes(found["from"], text), _minutes(found["to"], text)
    if begin == DAY_MINUTES:
        msg = f"expected a window that begins before 24:00, got {text!r}"
        raise ValueError(msg)
    if begin == end:
        msg = f'expected a window that ends at another time than it begins ("sat" is the whole day), got {text!r}'
        raise ValueError(msg)
    return Window(days, begin, end if end > begin else end + DAY_MINUTES)


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
