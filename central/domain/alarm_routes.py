# SPDX-License-Identifier: Apache-2.0
"""A route: whom an alarm reaches, which alarms, when, and how often. Pure; sends nothing, the time is a parameter.

Called by `services/alarms/routing.py` (which event goes over which route), `services/alarms/outbox.py` (when) and the
API (what may be set). Secrets stand in central's settings; a route only names a key.
"""

import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import urlsplit

from central.domain.alarm_severity import is_at_least
from central.domain.quiet_hours import QuietHours, quiet_until, zone_of
from contracts.vocabulary import AlarmEvent, AlarmKind, AlarmSeverity, RouteKind

MOST_ADDRESSES: Final = 20
_MOST_WORDS: Final = 100
_ADDRESS: Final = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,253}")
_PREFIX: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}(/[a-z0-9][a-z0-9_-]{0,62}){0,2}")
_FIRST_WAIT: Final = timedelta(seconds=30)
_LONGEST_WAIT: Final = timedelta(minutes=15)


@dataclass(frozen=True)
class AlarmFilter:
    """Which alarms. Empty: all. Of simulated parts only what is asked for, since nobody wants to be called by a demo.

    `stations`: sites, lines or stations (`site`, `site/line`, `site/line/station`). An alarm that has no station (or no
    product) is about all of them and passes.
    """

    kinds: tuple[AlarmKind, ...] = ()
    stations: tuple[str, ...] = ()
    products: tuple[str, ...] = ()
    least_severity: AlarmSeverity = AlarmSeverity.NOTICE
    is_real: bool = True
    is_simulated: bool = False

    def __post_init__(self) -> None:
        for name, words in (("stations", self.stations), ("products", self.products)):
            if len(words) > _MOST_WORDS:
                raise ValueError(f"{name}: expected at most {_MOST_WORDS}, got {len(words)}")
        for said in self.stations:
            if not _PREFIX.fullmatch(said):
                raise ValueError(f"stations: expected site, site/line or site/line/station, got {said!r}")
        if not (self.is_real or self.is_simulated):
            raise ValueError("is_real, is_simulated: expected at least one, got neither; no alarm would pass")

    def passes(
        self, kind: AlarmKind, severity: AlarmSeverity, station: str | None, product: str | None, *, is_simulated: bool
    ) -> bool:
        """Whether an alarm goes over the route."""
        if not (self.is_simulated if is_simulated else self.is_real):
            return False
        if self.kinds and kind not in self.kinds:
            return False
        if not is_at_least(severity, self.least_severity):
            return False
        if self.products and product is not None and product not in self.products:
            return False
        # By whole levels: plant/line-1 is not the beginning of plant/line-10.
        return not self.stations or station is None or any(f"{station}/".startswith(f"{x}/") for x in self.stations)


@dataclass(frozen=True)
class Target:
    """Where to. EMAIL: `addresses`; WEBHOOK: `url` and the name of the `key` that signs; MQTT: `is_retained`."""

    addresses: tuple[str, ...] = ()
    url: str = ""
    key: str = ""
    is_retained: bool = False

    def fault(self, kind: RouteKind) -> str | None:
        """What is missing or too much for this kind; None: nothing."""
        if kind is not RouteKind.EMAIL and self.addresses:
            return f"addresses: expected none of a route of kind {kind}, got {len(self.addresses)}"
        if kind is not RouteKind.WEBHOOK and (self.url or self.key):
            return f"url, key: expected neither of a route of kind {kind}, got one"
        if kind is not RouteKind.MQTT and self.is_retained:
            return f"is_retained: expected false of a route of kind {kind}, got true"
        wanted = {RouteKind.EMAIL: self._addresses_fault, RouteKind.WEBHOOK: self._url_fault}.get(kind)
        return None if wanted is None else wanted()

    def _addresses_fault(self) -> str | None:
        if not 1 <= len(self.addresses) <= MOST_ADDRESSES:
            return f"addresses: expected 1 … {MOST_ADDRESSES} of an EMAIL route, got {len(self.addresses)}"
        wrong = next((one for one in self.addresses if not _ADDRESS.fullmatch(one)), None)
        return None if wrong is None else f"addresses: expected NAME@HOST, got {wrong!r}"

    def _url_fault(self) -> str | None:
        try:
            url = urlsplit(self.url)
            is_good = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
        except ValueError:
            is_good = False
        if not is_good or len(self.url) > 1000 or re.search(r"\s", self.url):
            return f"url: expected http://HOST/… or https://HOST/…, got {self.url[:80]!r}"
        if url.username or url.password:
            # Not repeated here: it would end up in logs.
            return "url: expected none with a login in it; sign by a key of central's settings instead"
        return None


@dataclass(frozen=True)
class Reminders:
    """While nobody has acknowledged: after so many minutes, and again, at most so often. `most` 0: never."""

    after_minutes: float = 60.0
    most: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.after_minutes <= 10_080:
            raise ValueError(f"after_minutes: expected 1 … 10080 (a week), got {self.after_minutes}")
        if not 0 <= self.most <= 100:
            raise ValueError(f"most: expected 0 … 100, got {self.most}")


@dataclass(frozen=True)
class RateLimit:
    """At most so many messages in so many minutes; what comes beyond it goes together as one digest."""

    messages: int = 10
    minutes: float = 10.0

    def __post_init__(self) -> None:
        if not 1 <= self.messages <= 1_000:
            raise ValueError(f"messages: expected 1 … 1000, got {self.messages}")
        if not 1 <= self.minutes <= 1_440:
            raise ValueError(f"minutes: expected 1 … 1440 (a day), got {self.minutes}")


@dataclass(frozen=True)
class AlarmRoute:
    """One route as an administrator set it.

    `break_through`: from this severity on, raised alarms and reminders go out in quiet hours too; None: nothing does.

    Raises:
        ValueError: one that cannot work; the text says what was expected and what came.
    """

    name: str
    kind: RouteKind
    target: Target
    is_enabled: bool = True
    events: tuple[AlarmEvent, ...] = tuple(AlarmEvent)
    filter: AlarmFilter = field(default_factory=AlarmFilter)
    time_zone: str = "UTC"
    quiet: tuple[QuietHours, ...] = ()
    break_through: AlarmSeverity | None = AlarmSeverity.CRITICAL
    reminders: Reminders = field(default_factory=Reminders)
    rate: RateLimit = field(default_factory=RateLimit)

    def __post_init__(self) -> None:
        fault = self.target.fault(self.kind)
        if fault:
            raise ValueError(fault)
        if not self.events:
            raise ValueError(f"events: expected some of {', '.join(AlarmEvent)}, got none")
        if self.reminders.most and not {AlarmEvent.RAISED, AlarmEvent.REMINDER} <= set(self.events):
            raise ValueError("events: expected RAISED and REMINDER of a route with reminders, got one or neither")
        if len(self.quiet) > 20:
            raise ValueError(f"quiet: expected at most 20 windows, got {len(self.quiet)}")
        zone_of(self.time_zone)

    def held_until(self, event: AlarmEvent, severity: AlarmSeverity, now: datetime) -> datetime | None:
        """None: this may go out now. Else when quiet hours end, aware UTC.

        That somebody saw to it wakes nobody: only raised alarms and reminders break through.
        """
        if self.breaks_through(event, severity):
            return None
        return quiet_until(self.quiet, zone_of(self.time_zone), now)

    def breaks_through(self, event: AlarmEvent, severity: AlarmSeverity) -> bool:
        """Whether quiet hours hold it up."""
        is_call = event in (AlarmEvent.RAISED, AlarmEvent.REMINDER)
        return is_call and self.break_through is not None and is_at_least(severity, self.break_through)


def next_attempt(failures: int, now: datetime) -> datetime:
    """When to try again after so many failures in a row: 30 s, doubling, 15 minutes at most."""
    wait = _FIRST_WAIT
    # Step by step up to the bound: days of failures must not overflow a time.
    for _ in range(failures - 1):
        if wait >= _LONGEST_WAIT:
            break
        wait *= 2
    return now + min(wait, _LONGEST_WAIT)
