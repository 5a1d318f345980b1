# SPDX-License-Identifier: Apache-2.0
"""When a shift begins and ends, by a plant's clock, through changes of that clock."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from central.domain.shifts import ShiftPlan

BERLIN = ShiftPlan(("06:00", "14:00", "22:00"), "Europe/Berlin")


@pytest.mark.parametrize(
    ("day", "begin", "hours"),
    [
        (date(2026, 3, 28), "22:00", 7),  # the clock goes from 2 to 3 in this night
        (date(2026, 10, 24), "22:00", 9),  # and back
        (date(2026, 11, 22), "06:00", 8),
    ],
)
def test_a_shift_lasts_until_the_next_one_by_the_clock(day: date, begin: str, hours: int) -> None:
    since, until = BERLIN.window(day, begin)
    assert until - since == timedelta(hours=hours)
    assert BERLIN.name(since) == f"{day} {begin}"


@given(st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1)))  # noqa: DTZ001 - made UTC below
def test_every_moment_lies_in_the_shift_that_it_is_named_after(moment: datetime) -> None:
    at = moment.replace(tzinfo=UTC)
    day, begin = BERLIN.name(at).split(" ")
    since, until = BERLIN.window(date.fromisoformat(day), begin)
    assert since <= at < until


def test_a_plan_of_one_shift_lasts_a_day() -> None:
    since, until = ShiftPlan(("05:30",)).window(date(2026, 11, 22), "05:30")
    assert (since, until - since) == (datetime(2026, 11, 22, 5, 30, tzinfo=UTC), timedelta(days=1))


def test_a_time_at_which_none_begins_is_refused() -> None:
    with pytest.raises(ValueError, match="expected one of 06:00, 14:00, 22:00, got '07:00'"):
        BERLIN.window(date(2026, 11, 22), "07:00")
