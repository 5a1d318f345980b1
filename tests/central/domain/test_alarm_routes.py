# SPDX-License-Identifier: Apache-2.0
"""Quiet hours by a plant's clock, what a route may be, and a severity for every kind of alarm."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from central.domain.alarm_routes import AlarmFilter, AlarmRoute, RateLimit, Reminders, Target, next_attempt
from central.domain.alarm_severity import SEVERITY, is_at_least, severity_of
from central.domain.quiet_hours import LONGEST, QuietHours, quiet_until
from contracts.vocabulary import AlarmEvent, AlarmKind, AlarmSeverity, RouteKind

BERLIN = ZoneInfo("Europe/Berlin")
NIGHT = QuietHours(begins="22:00", ends="06:00")
WEEKEND = (QuietHours(("sat",), "00:00", "00:00"), QuietHours(("sun",), "00:00", "00:00"))


def _utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("hours", "now", "until"),
    [
        # 22:00 to 06:00 in Berlin, winter: 21:00 to 05:00 UTC; the first second is in, the last is not.
        ((NIGHT,), "2026-01-14T20:59:59", None),
        ((NIGHT,), "2026-01-14T21:00:00", "2026-01-15T05:00:00"),
        ((NIGHT,), "2026-01-15T04:59:59", "2026-01-15T05:00:00"),
        ((NIGHT,), "2026-01-15T05:00:00", None),
        # The night in which clocks go forward has 7 hours, that in which they go back has 9.
        ((NIGHT,), "2026-03-28T21:00:00", "2026-03-29T04:00:00"),
        ((NIGHT,), "2026-10-24T20:00:00", "2026-10-25T05:00:00"),
        # Begins in the hour that is left out: when clocks are moved, 01:00 UTC.
        ((QuietHours(begins="02:30", ends="04:00"),), "2026-03-29T00:59:59", None),
        ((QuietHours(begins="02:30", ends="04:00"),), "2026-03-29T01:00:00", "2026-03-29T02:00:00"),
        # Ends in the hour that comes twice: takes all of it.
        ((QuietHours(begins="01:00", ends="02:30"),), "2026-10-25T00:45:00", "2026-10-25T01:30:00"),
        # A day is that on which it begins: the night of Friday ends on Saturday.
        ((QuietHours(("fri",), "22:00", "06:00"),), "2026-01-17T04:00:00", "2026-01-17T05:00:00"),
        ((QuietHours(("fri",), "22:00", "06:00"),), "2026-01-16T04:00:00", None),
        # What touches is one: from Friday 22:00 to Monday 06:00.
        ((NIGHT, *WEEKEND), "2026-01-16T22:00:00", "2026-01-19T05:00:00"),
        # No gap at all holds for a week at most.
        ((QuietHours(begins="00:00", ends="00:00"),), "2026-01-16T22:00:00", "2026-01-23T22:00:00"),
        ((), "2026-01-16T22:00:00", None),
    ],
)
def test_quiet_hours_follow_the_clock_of_the_plant(hours: tuple[QuietHours, ...], now: str, until: str | None) -> None:
    assert quiet_until(hours, BERLIN, _utc(now)) == (None if until is None else _utc(until))


@given(
    at=st.integers(0, 365 * 24 * 60),
    begins=st.integers(0, 47),
    ends=st.integers(0, 47),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"]),
)
def test_it_is_never_quiet_at_the_end_of_quiet_hours(at: int, begins: int, ends: int, zone: str) -> None:
    hours = QuietHours(begins=f"{begins // 2:02}:{begins % 2 * 30:02}", ends=f"{ends // 2:02}:{ends % 2 * 30:02}")
    now = _utc("2026-01-01T00:00:00") + timedelta(minutes=at)
    until = quiet_until((hours,), ZoneInfo(zone), now)
    if until is None:
        return
    assert now < until <= now + LONGEST
    if begins != ends:
        assert quiet_until((hours,), ZoneInfo(zone), until) is None
        assert until - now <= timedelta(hours=25)
        local = until.astimezone(ZoneInfo(zone))
        # By the wall clock, save where that time does not exist on the day.
        assert (
            f"{local:%H:%M}" == hours.ends
            or local.utcoffset() != (until - timedelta(minutes=1)).astimezone(ZoneInfo(zone)).utcoffset()
        )


def test_every_kind_of_alarm_has_a_severity_and_an_unknown_one_wakes_people() -> None:
    assert set(SEVERITY) == set(AlarmKind)
    assert severity_of("BRAND_NEW") is AlarmSeverity.CRITICAL  # type: ignore[arg-type]
    assert [is_at_least(each, AlarmSeverity.WARNING) for each in AlarmSeverity] == [False, True, True]


def _route(**changes: Any) -> AlarmRoute:
    given: dict[str, Any] = {"name": "r", "kind": RouteKind.MQTT, "target": Target(), **changes}
    return AlarmRoute(**given)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: _route(kind=RouteKind.EMAIL), "addresses: expected 1 … 20 of an EMAIL route, got 0"),
        (lambda: _route(kind=RouteKind.EMAIL, target=Target(("qa",))), "addresses: expected NAME@HOST, got 'qa'"),
        (lambda: _route(kind=RouteKind.EMAIL, target=Target(("a@b\nBcc: c@d",))), "addresses: expected NAME@HOST"),
        (lambda: _route(target=Target(("a@b",))), "addresses: expected none of a route of kind MQTT, got 1"),
        (lambda: _route(target=Target(url="http://h/")), "url, key: expected neither of a route of kind MQTT"),
        (lambda: _route(kind=RouteKind.WEBHOOK), "url: expected http://HOST/… or https://HOST/…, got ''"),
        (lambda: _route(kind=RouteKind.WEBHOOK, target=Target(url="ftp://h/")), "url: expected http://HOST"),
        (lambda: _route(kind=RouteKind.WEBHOOK, target=Target(url="http://h:x/")), "url: expected http://HOST"),
        (lambda: _route(kind=RouteKind.WEBHOOK, target=Target(url="http://a:b@h/")), "url: expected none with a login"),
        (
            lambda: _route(kind=RouteKind.EMAIL, target=Target(("a@b",), is_retained=True)),
            "is_retained: expected false of a route of kind EMAIL, got true",
        ),
        (lambda: _route(events=()), "events: expected some of RAISED, REMINDER, ACKNOWLEDGED, CLOSED, got none"),
        (
            lambda: _route(events=(AlarmEvent.CLOSED,), reminders=Reminders(most=1)),
            "events: expected RAISED and REMINDER of a route with reminders",
        ),
        (lambda: _route(time_zone="Europe/Atlantis"), "time_zone: expected a name of the IANA database"),
        (lambda: AlarmFilter(is_real=False), "expected at least one, got neither"),
        (lambda: AlarmFilter(stations=("plant//x",)), "stations: expected site, site/line or site/line/station"),
        (lambda: Reminders(after_minutes=0), "after_minutes: expected 1 … 10080"),
        (lambda: Reminders(after_minutes=float("nan")), "after_minutes: expected 1 … 10080"),
        (lambda: RateLimit(messages=0), "messages: expected 1 … 1000, got 0"),
        (lambda: QuietHours(begins="24:00"), "begins: expected a time of day such as 22:30, got '24:00'"),
        (lambda: QuietHours(days=("someday",)), "days: expected some of mon, tue"),
    ],
)
def test_a_route_that_cannot_work_is_refused_in_a_line(wrong: Any, said: str) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        wrong()
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_waits_double_up_to_a_quarter_of_an_hour_and_never_overflow() -> None:
    now = _utc("2026-01-01T00:00:00")
    waits = [(next_attempt(count, now) - now).total_seconds() for count in (1, 2, 3, 4, 5, 6, 7, 10**9)]
    assert waits == [30, 60, 120, 240, 480, 900, 900, 900]
