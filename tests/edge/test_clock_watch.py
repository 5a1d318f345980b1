# SPDX-License-Identifier: Apache-2.0
from datetime import timedelta

import pytest

from edge_agent.monitor.clock_watch import ClockWatch
from tests.edge.station_fakes import frame_of
from tests.fakes.clock import FakeClock

HOUR = timedelta(hours=1)


class Rig:
    """A watch whose clocks a test moves."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.is_synchronised: bool | None = False
        self.watch = ClockWatch(self.clock, is_synchronised=lambda: self.is_synchronised)
        self.number = 0

    def part(self, **changes: object) -> float | None:
        self.clock.advance(1.0)
        self.number += 1
        return self.watch.error_s(frame_of(self.number, self.clock, **changes))

    def jump(self, by: timedelta) -> None:
        self.clock.set_wall(self.clock.now() + by)

    def codes(self) -> list[str]:
        return [fault.code for fault in self.watch.faults()]


def test_parts_of_a_steady_clock_are_not_marked() -> None:
    rig = Rig()
    assert [rig.part() for _ in range(100)] == [None] * 100
    assert rig.codes() == []


@pytest.mark.parametrize("hours", [1, -1])
def test_parts_after_a_jump_of_the_clock_are_marked_by_how_much_until_it_is_back(hours: int) -> None:
    rig = Rig()
    assert rig.part() is None
    rig.jump(hours * HOUR)
    assert [rig.part(), rig.part()] == [hours * 3600.0] * 2
    assert rig.codes() == ["clock-jumped"]
    rig.jump(-hours * HOUR)
    assert rig.part() is None
    assert rig.codes() == []


def test_part_captured_before_the_jump_and_judged_after_it_is_not_marked() -> None:
    rig = Rig()
    frame = frame_of(1, rig.clock)
    rig.jump(HOUR)
    assert rig.watch.error_s(frame) is None


def test_times_that_a_camera_gives_itself_are_right_while_the_stations_clock_jumps() -> None:
    rig = Rig()
    true = rig.clock.now()
    rig.jump(HOUR)
    assert rig.part(captured_at=true + timedelta(seconds=1)) is None
    assert rig.codes() == ["clock-jumped"]


def test_jump_that_network_time_vouches_for_is_believed_and_told_for_a_while() -> None:
    rig = Rig()
    rig.jump(HOUR)
    assert rig.part() == 3600.0
    rig.is_synchronised = True
    assert rig.part() is None
    assert rig.codes() == ["clock-was-set"]
    rig.clock.advance(601)
    assert rig.codes() == []


@pytest.mark.parametrize("is_synchronised", [False, None])
def test_jump_is_not_believed_while_nothing_is_known_of_network_time(is_synchronised: bool | None) -> None:
    rig = Rig()
    rig.is_synchronised = is_synchronised
    rig.jump(HOUR)
    assert rig.part() == 3600.0


def test_camera_whose_clock_is_ahead_is_marked_and_a_fault_of_its_own() -> None:
    rig = Rig()
    ahead = [rig.part(captured_at=rig.clock.now() + timedelta(seconds=31)) for _ in range(5)]
    assert ahead == [30.0] * 5
    (fault,) = rig.watch.faults()
    assert fault.code == "camera-clock"
    assert "30.0 s ahead" in fault.message
    assert rig.part() is None
    assert rig.codes() == []


def test_pictures_that_come_old_in_a_row_are_a_fault_with_a_remedy_and_one_alone_is_not() -> None:
    rig = Rig()
    old = {"captured_monotonic": rig.clock.monotonic() - 3600, "captured_at": rig.clock.now() - HOUR}
    for _ in range(4):
        rig.part(**old)
    assert rig.codes() == []
    rig.part(**old)
    (fault,) = rig.watch.faults()
    assert fault.code == "pictures-old"
    assert "source.shares_clock = false" in fault.remedy
    rig.part()
    assert rig.codes() == []
