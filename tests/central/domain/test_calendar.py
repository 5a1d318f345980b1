# SPDX-License-Identifier: Apache-2.0
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from central.domain.calendar import Freeze, MaintenanceWindow, held_until
from contracts.maintenance import DAYS


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def is_open(window: MaintenanceWindow, at: datetime) -> bool:
    return window.opens_at(at) is None


NIGHT = MaintenanceWindow(("fri",), "22:00", "04:30", "Europe/Berlin")


@pytest.mark.parametrize(
    ("at", "opened"),
    [
        ("2026-01-09 20:59", False),
        ("2026-01-09 21:00", True),
        # Saturday morning: the window that began on Friday is still open.
        ("2026-01-10 03:29", True),
        ("2026-01-10 03:30", False),
        ("2026-01-10 21:30", False),
        # In summer the plant's clock is two hours ahead.
        ("2026-07-10 20:00", True),
        ("2026-07-11 02:30", False),
    ],
)
def test_a_night_belongs_to_the_day_on_which_it_begins_by_the_clock_of_the_plant(at: str, opened: bool) -> None:
    assert is_open(NIGHT, utc(at)) is opened


def test_an_hour_that_the_clock_skips_or_repeats_makes_a_window_shorter_or_longer() -> None:
    window = MaintenanceWindow(("sun",), "01:00", "04:00", "Europe/Berlin")
    # Put forward on 29 March: two hours; put back on 25 October: four.
    assert [is_open(window, utc(f"2026-03-29 {hour:02}:30")) for hour in range(4)] == [True, True, False, False]
    assert [is_open(window, utc(f"2026-10-24 {hour:02}:30")) for hour in (22, 23)] == [False, True]
    assert [is_open(window, utc(f"2026-10-25 {hour:02}:30")) for hour in range(5)] == [True, True, True, False, False]


def test_a_window_that_closes_when_it_opens_is_a_whole_day() -> None:
    assert is_open(MaintenanceWindow(), utc("2026-01-01 00:00"))
    assert is_open(MaintenanceWindow(), utc("2026-01-01 23:59"))


@given(
    days=st.sets(st.sampled_from(DAYS), min_size=1),
    opens=st.integers(0, 24 * 60 - 1),
    closes=st.integers(0, 24 * 60 - 1),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"]),
    at=st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1)),  # noqa: DTZ001 - hypothesis wants naive bounds
)
def test_the_next_opening_is_the_first_moment_at_which_it_is_open_again(
    days: set[str], opens: int, closes: int, zone: str, at: datetime
) -> None:
    window = MaintenanceWindow(
        tuple(days), f"{opens // 60:02}:{opens % 60:02}", f"{closes // 60:02}:{closes % 60:02}", zone
    )
    now = at.replace(tzinfo=UTC)
    opening = window.opens_at(now)
    if opening is not None:
        # A short window may lie in the hour that a clock skips: then it is the week after.
        assert now < opening <= now + timedelta(days=15)
        assert is_open(window, opening)
        # Nothing opens in between, looked at minute by minute where that is not long.
        minutes = min(int((opening - now).total_seconds() // 60), 400)
        assert not any(is_open(window, now + timedelta(minutes=each)) for each in range(minutes))


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"days": ("monday",)}, "days: expected some of mon, tue"),
        ({"days": ()}, "got none"),
        ({"opens": "24:00"}, "opens: expected a time of day such as 22:30, got '24:00'"),
        ({"closes": "6:00"}, "closes: expected"),
        ({"time_zone": "Europe/Berlinn"}, "time_zone: expected a name of the IANA database"),
        ({"time_zone": "/etc/passwd"}, "time_zone: expected"),
    ],
)
def test_a_window_that_cannot_be_is_refused(fields: dict[str, str], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        MaintenanceWindow(**fields)  # type: ignore[arg-type]


def test_a_station_is_held_by_a_freeze_of_its_site_and_outside_its_windows() -> None:
    now = utc("2026-01-08 12:00")
    freeze = Freeze(now, now + timedelta(days=2), "stock-taking", site="plant-b")
    assert held_until("plant-a", (), (freeze,), now) is None
    assert held_until("plant-b", (), (freeze,), now) == "frozen until 2026-01-10 12:00 UTC: stock-taking"
    assert held_until("plant-b", (), (freeze,), freeze.ends) is None
    assert held_until("plant-a", (), (Freeze(now, freeze.ends, "holidays"),), now) is not None
    closed = "outside its maintenance windows; the next opens at 2026-01-09 21:00 UTC"
    assert held_until("plant-a", (NIGHT,), (), now) == closed
    assert held_until("plant-a", (NIGHT,), (), utc("2026-01-09 21:00")) is None
