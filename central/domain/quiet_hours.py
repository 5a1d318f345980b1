# SPDX-License-Identifier: Apache-2.0
"""Hours in which people do not want to be called, by their own clock. Pure; the time is a parameter.

What a window means where clocks are moved says `contracts.maintenance`: one that begins in the hour that is left out
begins when they are moved, one that ends in the hour that comes twice takes all of it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from contracts.maintenance import DAY_MINUTES, DAYS, Window

_TIME: Final = re.compile(r"([01]\d|2[0-3]):[0-5]\d")
# Nothing is held for longer, even where windows leave no gap.
LONGEST: Final = timedelta(days=7)


@dataclass(frozen=True)
class QuietHours:
    """From `begins` to `ends` (HH:MM), on days that are those of its beginning. `ends` not after `begins`: next day.

    Raises:
        ValueError: no day, a word that is none, or no time of day.
    """

    days: tuple[str, ...] = DAYS
    begins: str = "22:00"
    ends: str = "06:00"

    def __post_init__(self) -> None:
        strange = [day for day in self.days if day not in DAYS]
        if strange or not self.days:
            raise ValueError(f"days: expected some of {', '.join(DAYS)}, got {', '.join(self.days) or 'none'}")
        for name, said in (("begins", self.begins), ("ends", self.ends)):
            if not _TIME.fullmatch(said):
                raise ValueError(f"{name}: expected a time of day such as 22:30, got {said!r}")

    @property
    def window(self) -> Window:
        """In minutes after midnight."""
        begin, end = _minutes(self.begins), _minutes(self.ends)
        days = frozenset(DAYS.index(day) for day in self.days)
        return Window(days, begin, end if end > begin else end + DAY_MINUTES)

    def in_words(self) -> str:
        """For screens."""
        days = "every day" if set(self.days) == set(DAYS) else ", ".join(day for day in DAYS if day in self.days)
        return f"{days} {self.begins} to {self.ends}"


def zone_of(name: str) -> ZoneInfo:
    """A time zone by its name.

    Raises:
        ValueError: there is none of this name.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        msg = f"time_zone: expected a name of the IANA database such as Europe/Berlin, got {name!r}"
        raise ValueError(msg) from error


def quiet_until(hours: Sequence[QuietHours], zone: ZoneInfo, now: datetime) -> datetime | None:
    """None: it is not quiet now. Else when quiet ends, aware UTC; windows that touch are one, 7 days at most."""
    today = now.astimezone(zone).date()
    days = [today + timedelta(days=count) for count in range(-2, LONGEST.days + 2)]
    spans = [span for each in hours for day in days if (span := each.window.span(day, zone)) is not None]
    end = now
    # In the order of their beginnings each can only carry on what those before it reached.
    for begin, until in sorted(spans):
        if begin <= end < until:
            end = until
    return None if end == now else min(end, now + LONGEST)


def _minutes(text: str) -> int:
    hour, minute = map(int, text.split(":"))
    return hour * 60 + minute
