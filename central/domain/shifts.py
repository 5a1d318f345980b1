# SPDX-License-Identifier: Apache-2.0
"""Which shift a part was made in, by a plant's own clock. Pure; the time is a parameter."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
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

    def name(self, at: datetime) -> str:
        """Day and time at which the shift of this moment began, by the plant's clock: `2026-11-22 22:00`."""
        local = at.astimezone(ZoneInfo(self.time_zone))
        begun = [said for said in sorted(self.begins) if said <= f"{local:%H:%M}"]
        if begun:
            return f"{local:%Y-%m-%d} {begun[-1]}"
        return f"{local.date() - timedelta(days=1):%Y-%m-%d} {max(self.begins)}"
