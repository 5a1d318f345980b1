# SPDX-License-Identifier: Apache-2.0
"""Maintenance windows are the plant's wall clock, over midnight and over the days when clocks are moved."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from edge_agent.packages.windows import MaintenanceWindows, parse_window

BERLIN = ZoneInfo("Europe/Berlin")


def windows(*texts: str, zone: str = "Europe/Berlin") -> MaintenanceWindows:
    return MaintenanceWindows(ZoneInfo(zone), tuple(map(parse_window, texts)))


def local(text: str, zone: ZoneInfo = BERLIN, fold: int = 0) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold).astimezone(UTC)


@pytest.mark.parametrize(
    ("now", "opens"),
    [
        # 2026-03-02 is a Monday.
        ("2026-03-02T21:59", "2026-03-02T22:00"),
        ("2026-03-02T22:00", None),
        ("2026-03-03T04:59", None),
        ("2026-03-03T05:00", "2026-03-03T22:00"),
        # Friday's window goes on into Saturday; the next one is Monday's.
        ("2026-03-07T04:59", None),
        ("2026-03-07T05:00", "2026-03-09T22:00"),
        ("2026-03-08T23:00", "2026-03-09T22:00"),
    ],
)
def test_window_over_midnight_belongs_to_the_day_on_which_it_opens(now: str, opens: str | None) -> None:
    assert windows("mon-fri 22:00-05:00").opens_at(local(now)) == (local(opens) if opens else None)


def test_first_of_several_windows_is_the_next() -> None:
    several = windows("sun", "wed,thu 12:30-13:00")
    assert several.opens_at(local("2026-03-02T08:00")) == local("2026-03-04T12:30")
    assert several.opens_at(local("2026-03-05T13:00")) == local("2026-03-08T00:00")
    assert several.opens_at(local("2026-03-08T23:59")) is None


def test_without_windows_it_is_always_open() -> None:
    assert windows().opens_at(local("2026-03-02T08:00")) is None


def test_hour_is_the_plants_own() -> None:
    shanghai = windows("22:00-23:00", zone="Asia/Shanghai")
    assert shanghai.opens_at(datetime(2026, 3, 2, 14, 30, tzinfo=UTC)) is None
    assert windows("22:00-23:00").opens_at(datetime(2026, 3, 2, 14, 30, tzinfo=UTC)) == local("2026-03-02T22:00")


@pytest.mark.parametrize(
    ("text", "day", "begin", "end"),
    [
        # Clocks go from 02:00 to 03:00 on 2026-03-29 and from 03:00 to 02:00 on 2026-10-25.
        ("22:00-05:00", "2026-03-28", "2026-03-28T21:00", "2026-03-29T03:00"),
        ("22:00-05:00", "2026-10-24", "2026-10-24T20:00", "2026-10-25T04:00"),
        ("sun 02:30-04:00", "2026-03-29", "2026-03-29T01:00", "2026-03-29T02:00"),
        ("sun 02:30-04:00", "2026-10-25", "2026-10-25T00:30", "2026-10-25T03:00"),
        ("sun 01:00-02:30", "2026-10-25", "2026-10-24T23:00", "2026-10-25T01:30"),
        ("sun 01:00-02:30", "2026-03-29", "2026-03-29T00:00", "2026-03-29T01:00"),
    ],
)
def test_window_on_a_day_when_clocks_are_moved(text: str, day: str, begin: str, end: str) -> None:
    found = windows(text)
    begin_utc, end_utc = (datetime.fromisoformat(each).replace(tzinfo=UTC) for each in (begin, end))
    minute = timedelta(minutes=1)
    assert found.opens_at(begin_utc - minute) == begin_utc, day
    assert found.opens_at(begin_utc) is None
    assert found.opens_at(end_utc - minute) is None
    assert found.opens_at(end_utc) is not None


def test_window_that_falls_into_the_hour_left_out_opens_a_week_later() -> None:
    assert windows("sun 02:10-02:50").opens_at(local("2026-03-28T12:00")) == local("2026-04-05T02:10")


def test_every_minute_of_a_year_is_open_or_has_an_opening_ahead() -> None:
    found = windows("mon-fri 22:00-05:00", "sun 02:10-02:50")
    at = datetime(2026, 1, 1, tzinfo=UTC)
    while at < datetime(2027, 1, 1, tzinfo=UTC):
        opens = found.opens_at(at)
        if opens is not None:
            assert opens > at
            assert found.opens_at(opens) is None
            assert found.opens_at(opens - timedelta(seconds=1)) == opens
        at += timedelta(minutes=173)


def test_opening_is_said_in_the_plants_time() -> None:
    assert windows("22:00-23:00").say(local("2026-03-02T22:00")) == "Mon 2026-03-02 22:00 (Europe/Berlin)"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "expected a window like"),
        ("nights", "expected days of mon"),
        ("mon-fri 22-5", "expected a window like"),
        ("mon- 22:00-05:00", "expected days of mon"),
        ("mon 22:00-22:00", "ends at another time"),
        ("22:60-23:00", "00:00 … 24:00"),
        ("24:00-05:00", "begins before 24:00"),
        ("25:00-26:00", "00:00 … 24:00"),
    ],
)
def test_text_that_is_no_window_is_refused_in_words(text: str, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        parse_window(text)


def test_days_may_go_over_the_weekend() -> None:
    assert parse_window("fri-mon").days == {4, 5, 6, 0}
    assert parse_window("22:00-24:00").end == 24 * 60
