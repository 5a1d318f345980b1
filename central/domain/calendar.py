# SPDX-License-Identifier: Apache-2.0
"""When stations may be touched: maintenance windows by a plant's own clock, and freezes.

Pure; the time is a parameter. Holds nobody back from going back: an abort asks no calendar. Called by
`services/rollouts.py`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_TIME: Final = re.compile(r"([01]\d|2[0-3]):[0-5]\d")
# The next opening is looked for so far ahead: any weekly window opens within it.
_DAYS_AHEAD: Final = 8


@dataclass(frozen=True)
class MaintenanceWindow:
    """Open from `opens` to `closes` (HH:MM, by the clock of `time_zone`) on nights or shifts that begin on `days`.

    A window whose `closes` is not after its `opens` ends on the next day. Where a clock is put forward, an opening
    that does not exist that day is an hour later; where it is put back, the window is an hour longer.
    """

    days: tuple[str, ...] = DAYS
    opens: str = "00:00"
    closes: str = "00:00"
    time_zone: str = "UTC"

    def __post_init__(self) -> None:
        strange = [day for day in self.days if day not in DAYS]
        if strange or not self.days:
            raise ValueError(f"days: expected some of {', '.join(DAYS)}, got {', '.join(self.days) or 'none'}")
        for name, said in (("opens", self.opens), ("closes", self.closes)):
            if not _TIME.fullmatch(said):
                raise ValueError(f"{name}: expected a time of day such as 22:30, got {said!r}")
        try:
            ZoneInfo(self.time_zone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            msg = f"time_zone: expected a name of the IANA database such as Europe/Berlin, got {self.time_zone!r}"
            raise ValueError(msg) from error

    def in_words(self) -> str:
        """For screens."""
        days = "every day" if set(self.days) == set(DAYS) else ", ".join(day for day in DAYS if day in self.days)
        return f"{days} {self.opens} to {self.closes} ({self.time_zone})"

    def is_open(self, at: datetime) -> bool:
        """Whether it is open now."""
        today = at.astimezone(ZoneInfo(self.time_zone)).date()
        # The one that began yesterday may still be open.
        spans = (self._on(today - timedelta(days=1)), self._on(today))
        return any(span is not None and span[0] <= at < span[1] for span in spans)

    def next_opening(self, at: datetime) -> datetime:
        """The first opening after now, in UTC."""
        today = at.astimezone(ZoneInfo(self.time_zone)).date()
        spans = (self._on(today + timedelta(days=ahead)) for ahead in range(_DAYS_AHEAD + 1))
        return next(span[0] for span in spans if span is not None and span[0] > at)

    def _on(self, day: date) -> tuple[datetime, datetime] | None:
        """Beginning and end, in UTC, of the window that begins on this day."""
        if DAYS[day.weekday()] not in self.days:
            return None
        zone = ZoneInfo(self.time_zone)
        opens, closes = time.fromisoformat(self.opens), time.fromisoformat(self.closes)
        last_day = day + timedelta(days=1) if closes <= opens else day
        ends = datetime.combine(last_day, closes.replace(fold=1), zone)
        return datetime.combine(day, opens, zone).astimezone(UTC), ends.astimezone(UTC)


@dataclass(frozen=True)
class Freeze:
    """A time in which no station of a site (None: of any site) is touched: a stock-taking, an audit, the holidays."""

    begins: datetime
    ends: datetime
    reason: str
    site: str | None = None


def held_until(site: str, windows: Sequence[MaintenanceWindow], freezes: Sequence[Freeze], now: datetime) -> str | None:
    """Why a station of this site may not be touched now, in words; None: it may. No windows: at any time."""
    for freeze in freezes:
        if freeze.site in (None, site) and freeze.begins <= now < freeze.ends:
            return f"frozen until {freeze.ends:%Y-%m-%d %H:%M} UTC: {freeze.reason}"
    if not windows or any(window.is_open(now) for window in windows):
        return None
    opening = min(window.next_opening(now) for window in windows)
    return f"outside its maintenance windows; the next opens at {opening:%Y-%m-%d %H:%M} UTC"
