# SPDX-License-Identifier: Apache-2.0
from datetime import UTC, datetime

import pytest

from central.domain.shifts import ShiftPlan


@pytest.mark.parametrize(
    ("at", "name"),
    [
        ("2026-11-22T06:00", "2026-11-22 06:00"),
        ("2026-11-22T13:59", "2026-11-22 06:00"),
        ("2026-11-22T22:00", "2026-11-22 22:00"),
        ("2026-11-23T05:59", "2026-11-22 22:00"),
        ("2026-03-01T00:00", "2026-02-28 22:00"),
    ],
)
def test_a_shift_is_named_by_when_it_began_also_past_midnight(at: str, name: str) -> None:
    assert ShiftPlan().name(datetime.fromisoformat(at).replace(tzinfo=UTC)) == name


def test_shifts_begin_by_the_clock_of_the_plant_in_summer_and_winter() -> None:
    plan = ShiftPlan(("06:00", "18:00"), "Europe/Berlin")
    assert plan.name(datetime(2026, 7, 1, 4, 0, tzinfo=UTC)) == "2026-07-01 06:00"
    assert plan.name(datetime(2026, 12, 1, 4, 59, tzinfo=UTC)) == "2026-11-30 18:00"


@pytest.mark.parametrize("begins", [(), ("6:00",), ("24:00",), ("06:00", "06:00")])
def test_shifts_that_make_no_sense_are_refused(begins: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="expected different times of day"):
        ShiftPlan(begins)


def test_an_unknown_time_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="Europe/Berlin, got 'Mars/Olympus'"):
        ShiftPlan(time_zone="Mars/Olympus")
