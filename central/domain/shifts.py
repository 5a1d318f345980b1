# SPDX-License-Identifier: Apache-2.0
"""Which shift a part was made in, by a plant's own clock. Pure; the time is a parameter."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_TIME: Final = re.compile(r"([01]\d|2[0-3]):[0-5]\d")


@dataclass(frozen=True)
class ShiftPlan:
    """The times of day (HH:MM) at which shifts begin. A shift lasts until the next one begins, over midnight too.

    Raises:
        ValueError: no time of day, one that stands twice, or an unknown time zone.
    """

    begins: tuple[str, ...] = ("06:00", "14:00", "22:00")
    time_zone: str = "UTC"

    def __post_init__(self) -> None:
        wrong = [said for said in self.begins if not _TIME.fullmatch(said)]
        if wrong or not self.begins or len(set(self.begins)) < len(self.begins):
            got = ",".join(self.begins) or "none"
            raise ValueError(f"shifts: expected different times of day such as 06:00,14:00,22:00, got {got}")
        try:
            ZoneInfo(self.time_zone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            msg = f"time_zone: expected a name of the IANA database such as Europe/Berlin, got {self.time_zone!r}"
            raise ValueError(msg) from error

    def window(self, day: date, begin: str) -> tuple[datetime, datetime]:
        """The shift that begins on this day at this time of day, as (since, until) in UTC.

        It lasts until the next shift begins by the plant's clock; on the day of a change of clocks that is an hour
        more or less. A time of day that the change leaves out is taken as if the clock had not been changed yet.

        Raises:
            ValueError: no shift begins then, or a day out of reach.
        """
        if begin not in self.begins:
            raise ValueError(f"shift: expected one of {', '.join(sorted(self.begins))}, got {begin!r}")
        order = sorted(self.begins)
        place = order.index(begin)
        following, next_day = (order[0], 1) if place + 1 == len(order) else (order[place + 1], 0)
        try:
            return self._moment(day, begin), self._moment(day + timedelta(days=next_day), following)
        except OverflowError as error:
            raise ValueError(f"day: expected one in reach, got {day}") from error

    def _moment(self, day: date, said: str) -> datetime:
        local = datetime.combine(day, time.fromisoformat(said), ZoneInfo(self.time_zone))
        return local.astimezone(UTC)

    def name(self, at: datetime) -> str:
        """Day and time at which the shift of this moment began, by the plant's clock: `2026-11-22 22:00`."""
        local = at.astimezone(ZoneInfo(self.time_zone))
        begun = [said for said in sorted(self.begins) if said <= f"{local:%H:%M}"]
        if begun:
            return f"{local:%Y-%m-%d} {begun[-1]}"
        return f"{local.date() - timedelta(days=1):%Y-%m-%d} {max(self.begins)}"

    def running(self, at: datetime) -> tuple[str, datetime, datetime]:
        """The shift of this moment: its name, and since and until in UTC."""
        name = self.name(at)
        day, begin = name.split(" ")
        return (name, *self.window(date.fromisoformat(day), begin))
