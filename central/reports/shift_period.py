# SPDX-License-Identifier: Apache-2.0
"""Which shift a report is of: from the words of a request to a period and a scope, or a clear refusal."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from sqlmodel import Session, col, select

from central.domain.shifts import ShiftPlan
from central.errors import InvalidError, NotFoundError
from central.store.repositories.quality import Scope
from central.store.rollups import minute_of
from central.store.tables import RollupMinute, Station
from contracts.ids import StationAddress

LONGEST: Final = timedelta(days=7)
DEFAULT_SHIFTS: Final = "06:00,14:00,22:00"
_MOST_NAMES: Final = 8


@dataclass(frozen=True)
class Asked:
    """A request. Either a shift (`shift` of `day`; without them the one that ended last), or `since` and `until`.

    `at`: a site, `site/line` or `site/line/station`; None: everything.
    """

    at: str | None = None
    product: str | None = None
    day: date | None = None
    shift: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    shifts: str = DEFAULT_SHIFTS
    time_zone: str = "UTC"


@dataclass(frozen=True)
class Period:
    """What the report covers. `counted_until`: up to when parts are in it; before `until` while it is under way."""

    name: str
    since: datetime
    until: datetime
    counted_until: datetime
    zone: ZoneInfo

    @property
    def is_preliminary(self) -> bool:
        """Whether it is still under way."""
        return self.counted_until < self.until


def period_of(asked: Asked, now: datetime) -> Period:
    """The period, in whole minutes.

    Raises:
        InvalidError: no such shift or time zone, both a shift and times, a period that is empty, too long or ahead.
    """
    try:
        plan = ShiftPlan(tuple(asked.shifts.split(",")), asked.time_zone)
        name, since, until = _ends(asked, plan, now)
    except ValueError as error:
        raise InvalidError(str(error)) from error
    if since >= now:
        raise InvalidError(
            f"expected a period that has begun, got one that begins {since:%Y-%m-%d %H:%M}Z; now is {now:%H:%M}Z"
        )
    if until - since > LONGEST:
        raise InvalidError(
            f"expected a period of at most {LONGEST.days} days, got {until - since}; ask for it in parts"
        )
    running = minute_of(now) + timedelta(minutes=1)
    return Period(name, since, until, min(until, running), ZoneInfo(asked.time_zone))


def scope_of(session: Session, asked: Asked, period: Period) -> Scope:
    """Which parts are in the report.

    Raises:
        NotFoundError: a site, line, station or product that central has never heard of.
        InvalidError: `at` is no address.
    """
    station = within = None
    if asked.at is not None:
        depth = asked.at.count("/")
        if depth == 2:
            station = _address(asked.at)
        elif depth < 2 and all(asked.at.split("/")):
            within = asked.at
        else:
            raise InvalidError(f"at: expected site, site/line or site/line/station, got {asked.at!r}")
        known = [str(address) for address in session.exec(select(Station.address).order_by(Station.address)).all()]
        if not any(address == station or (within and address.startswith(f"{within}/")) for address in known):
            raise NotFoundError(f"at: central knows no station {asked.at!r}; it knows {_listed(known)}")
    if asked.product is not None:
        made = select(RollupMinute.product).where(RollupMinute.product == asked.product).limit(1)
        if session.exec(made).first() is None:
            every = session.exec(select(RollupMinute.product).distinct().order_by(col(RollupMinute.product))).all()
            raise NotFoundError(
                f"product: no part of {asked.product!r} was ever reported; there are {_listed([*filter(None, every)])}"
            )
    return Scope(period.since, period.counted_until, station, asked.product, within)


def _ends(asked: Asked, plan: ShiftPlan, now: datetime) -> tuple[str, datetime, datetime]:
    if asked.since is not None or asked.until is not None:
        if asked.since is None or asked.until is None or asked.day is not None or asked.shift is not None:
            raise ValueError("expected either shift and day, or since and until together")
        since, until = minute_of(asked.since), minute_of(asked.until)
        if since >= until:
            raise ValueError(f"until: expected at least a minute after since ({asked.since}), got {asked.until}")
        return "chosen times", since, until
    if (asked.day is None) != (asked.shift is None):
        raise ValueError(
            "expected shift (HH:MM at which it begins) and day together; neither: the shift that ended last"
        )
    if asked.day is not None and asked.shift is not None:
        return (f"{asked.day} {asked.shift}", *plan.window(asked.day, asked.shift))
    # The running shift began at some minute; a minute before that the last one was still on.
    running = plan.name(now)
    before = plan.window(date.fromisoformat(running[:10]), running[11:])[0] - timedelta(minutes=1)
    ended = plan.name(before)
    return (ended, *plan.window(date.fromisoformat(ended[:10]), ended[11:]))


def _address(text: str) -> str:
    try:
        return str(StationAddress.parse(text))
    except ValueError as error:
        raise InvalidError(f"at: expected site/line/station, got {text!r}") from error


def _listed(names: list[str]) -> str:
    if not names:
        return "none yet"
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more
