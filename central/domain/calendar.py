# SPDX-License-Identifier: Apache-2.0
"""When stations may be touched: maintenance windows by a plant's own clock, and freezes.

Pure; the time is a parameter. Holds nobody back from going back: an abort asks no calendar. Called by
`services/rollouts/moving.py`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from contracts.maintenance import DAY_MINUTES, DAYS, Window, opens_at

_TIME: Final = re.compile(r"([01]\d|2[0-3]):[0-5]\d")
# A freeze outside of these is a slip of the pen as a rule: a year typed wrong freezes nobody, or everybody for ever.
FREEZE_MOST: Final = timedelta(days=366)
FREEZE_BEGAN_WITHIN: Final = timedelta(days=31)
FREEZE_BEGINS_WITHIN: Final = timedelta(days=366)


@dataclass(frozen=True)
class MaintenanceWindow:
    """Open from `opens` to `closes` (HH:MM, by the clock of `time_zone`) on nights or shifts that begin on `days`.

    A window whose `closes` is not after its `opens` ends on the next day; what it means on days when clocks are moved
    says `contracts.maintenance`.
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

    def opens_at(self, now: datetime) -> datetime | None:
        """None: it is open now. Else when it opens next, aware UTC."""
        begin, end = _minutes(self.opens), _minutes(self.closes)
        days = frozenset(DAYS.index(day) for day in self.days)
        window = Window(days, begin, end if end > begin else end + DAY_MINUTES)
        return opens_at([window], ZoneInfo(self.time_zone), now)


@dataclass(frozen=True)
class Freeze:
    """A time in which no station of a site (None: of any site) is touched: a stock-taking, an audit, the holidays."""

    begins: datetime
    ends: datetime
    reason: str
    site: str | None = None


def check_freeze(begins: datetime, ends: datetime, now: datetime) -> None:
    """Whether a freeze may be set now.

    Raises:
        ValueError: it could hold nobody any more, or its times are so far off that they were not meant.
    """
    if ends <= now:
        raise ValueError(f"ends: expected a time to come, it is {_shown(now)}, got {_shown(ends)}: that is over")
    if begins < now - FREEZE_BEGAN_WITHIN:
        days = FREEZE_BEGAN_WITHIN.days
        raise ValueError(f"begins: expected at most {days} days ago, it is {_shown(now)}, got {_shown(begins)}")
    if begins > now + FREEZE_BEGINS_WITHIN:
        days = FREEZE_BEGINS_WITHIN.days
        raise ValueError(f"begins: expected within {days} days, it is {_shown(now)}, got {_shown(begins)}")
    if ends - begins > FREEZE_MOST:
        msg = f"ends: expected at most {FREEZE_MOST.days} days after {_shown(begins)}, got {_shown(ends)}"
        raise ValueError(f"{msg}; one that is to last longer is made again when it ends")


def held_until(site: str, windows: Sequence[MaintenanceWindow], freezes: Sequence[Freeze], now: datetime) -> str | None:
    """Why a station of this site may not be touched now, in words; None: it may. No windows: at any time."""
    for freeze in freezes:
        if freeze.site in (None, site) and freeze.begins <= now < freeze.ends:
            return f"frozen until {freeze.ends:%Y-%m-%d %H:%M} UTC: {freeze.reason}"
    openings = [window.opens_at(now) for window in windows]
    waits = [opening for opening in openings if opening is not None]
    if len(waits) < len(openings) or not waits:
        return None
    return f"outside its maintenance windows; the next opens at {min(waits):%Y-%m-%d %H:%M} UTC"


def _shown(time: datetime) -> str:
    return time.isoformat(timespec="seconds")


def _minutes(text: str) -> int:
    hour, minute = map(int, text.split(":"))
    return hour * 60 + minute
