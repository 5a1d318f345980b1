# SPDX-License-Identifier: Apache-2.0
"""Numbers, times and ids as people read them: always with a unit, a zone or a denominator.

Pure text; no HTML, no Streamlit. Used by `marks`, `charts` and the pages.
"""

from datetime import datetime, timedelta, tzinfo
from typing import Final

from dashboard.shapes import Rate

NOT_KNOWN: Final = "not known"
# Narrow no-break space: keeps a number and its unit on one line.
THIN: Final = "\u202f"


def percent(share: float) -> str:
    """A share as per cent with about two significant digits."""
    value = share * 100
    if value == 0:
        return f"0{THIN}%"
    if value < 0.0995:
        return f"{value:.3f}{THIN}%"
    return f"{value:.{2 if value < 0.995 else 1 if value < 99.95 else 0}f}{THIN}%"


def estimate(rate: Rate) -> str:
    """The estimate, or "not known"."""
    return NOT_KNOWN if rate.estimate is None else percent(rate.estimate)


def interval(rate: Rate) -> str:
    """The interval with its confidence; empty when nothing is known."""
    if rate.estimate is None:
        return ""
    return f"{rate.confidence * 100:.0f}{THIN}% interval {percent(rate.low)} to {percent(rate.high)}"


def rests_on(rate: Rate, what: str) -> str:
    """Numerator and denominator: "12 of 640 parts", and what waits for another inspector."""
    return f"{count(rate.count)} of {count(rate.of)} {what}{unsettled(rate.unsettled)}"


def unsettled(number: int) -> str:
    """What is in no estimate yet; empty where nothing waits."""
    return f", {count(number)} more {'waits' if number == 1 else 'wait'} for another inspector" if number else ""


def count(number: int) -> str:
    """A whole number with thin thousands separators."""
    return f"{number:,}".replace(",", THIN)


def plural(number: int, one: str, many: str | None = None) -> str:
    """`1 part`, `2 parts`."""
    return f"{count(number)} {one if number == 1 else many or one + 's'}"


def milliseconds(value: float | None) -> str:
    """Milliseconds, or "not known"."""
    if value is None:
        return NOT_KNOWN
    return f"{value:.{1 if value < 100 else 0}f}{THIN}ms"


def seconds(value: float) -> str:
    """A duration as a person says it."""
    whole = round(value)
    if whole < 90:
        return f"{whole}{THIN}s"
    if whole < 90 * 60:
        return f"{whole / 60:.0f}{THIN}min"
    if whole < 36 * 3600:
        return f"{whole / 3600:.0f}{THIN}h"
    return f"{whole / 86400:.0f}{THIN}days"


def size(bytes_: int) -> str:
    """A file size."""
    return f"{bytes_ / 1e6:.1f}{THIN}MB" if bytes_ >= 100_000 else f"{bytes_ / 1e3:.1f}{THIN}kB"


def figure(value: float | None, digits: int = 3) -> str:
    """A unitless figure such as an AUROC, or "not known"."""
    return NOT_KNOWN if value is None else f"{value:.{digits}f}"


def short(package_id: str | None) -> str:
    """The first characters of a package id; they are unique enough for a screen."""
    return "none" if package_id is None else package_id[:10]


def ago(at: datetime | None, now: datetime) -> str:
    """`12 s ago`. A clock that runs ahead reads as now."""
    if at is None:
        return "never"
    return f"{seconds(max(timedelta(), now - at).total_seconds())} ago"


def clock_time(at: datetime, zone: tzinfo) -> str:
    """Time of day with seconds, in the shown zone."""
    return at.astimezone(zone).strftime("%H:%M:%S")


def day_time(at: datetime, zone: tzinfo) -> str:
    """Date and time, in the shown zone."""
    return at.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S")


def when(at: datetime, now: datetime, zone: tzinfo) -> str:
    """Time of day for today, date and time for other days."""
    is_today = at.astimezone(zone).date() == now.astimezone(zone).date()
    return clock_time(at, zone) if is_today else at.astimezone(zone).strftime("%Y-%m-%d %H:%M")


def clock_doubt(error_s: float | None) -> str:
    """Why a time of capture cannot be trusted; empty when it can."""
    if error_s is None:
        return ""
    way = "ahead" if error_s > 0 else "behind"
    return f"time not trusted: by its station's steady clock {seconds(abs(error_s))} {way}"


def zone_name(zone: tzinfo, at: datetime) -> str:
    """`Europe/Berlin (CET, UTC+1)`: which clock the screen shows."""
    local = at.astimezone(zone)
    offset = local.utcoffset() or timedelta()
    minutes = int(offset.total_seconds() // 60)
    sign = "-" if minutes < 0 else "+"
    hours, rest = divmod(abs(minutes), 60)
    name = getattr(zone, "key", None) or str(zone)
    if name in {"UTC", "Etc/UTC"}:
        return "UTC"
    shown = f"UTC{sign}{hours}" + (f":{rest:02d}" if rest else "")
    return f"{name} ({shown})"
