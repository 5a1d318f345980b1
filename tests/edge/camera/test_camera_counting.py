# SPDX-License-Identifier: Apache-2.0
from datetime import datetime, timedelta

from hypothesis import example, given
from hypothesis import strategies as st

from edge_agent.camera.block_ids import BlockIds
from edge_agent.camera.camera_clock import CameraClock, WallTime
from tests.fakes.clock import FakeClock


def numbers(ids: BlockIds, frame_ids: list[int], *, step_s: float = 0.1) -> list[int]:
    return [ids.number(frame_id, index * step_s) for index, frame_id in enumerate(frame_ids)]


def test_lost_frame_is_a_gap_of_its_size() -> None:
    ids = BlockIds(10)
    assert numbers(ids, [7, 8, 11, 12]) == [10, 11, 14, 15]
    assert ids.gaps == 2


def test_ids_of_16_bits_go_on_from_65535_to_1() -> None:
    assert numbers(BlockIds(0), [65_534, 65_535, 1, 2]) == [0, 1, 2, 3]


def test_frames_lost_around_the_turn_are_a_gap_of_their_size() -> None:
    assert numbers(BlockIds(0), [65_533, 3]) == [0, 5]


def test_ids_of_64_bits_go_on_beyond_16() -> None:
    assert numbers(BlockIds(0), [65_535, 65_536, 65_538]) == [0, 1, 3]


def test_camera_that_counts_anew_makes_no_gap() -> None:
    for before in (5, 40_000, 70_000):
        ids = BlockIds(0)
        assert numbers(ids, [before, 1, 2]) == [0, 1, 2]
        assert (ids.gaps, ids.recounts) == (0, 1)


def test_camera_that_does_not_count_is_numbered_as_frames_come() -> None:
    assert numbers(BlockIds(3), [0, 0, 0]) == [3, 4, 5]


def test_first_frame_of_a_new_connection_follows_on() -> None:
    ids = BlockIds(0)
    assert numbers(ids, [5, 6]) == [0, 1]
    ids.restart()
    assert ids.number(9, 5.0) == 2
    assert (ids.gaps, ids.recounts) == (0, 0)


@given(st.lists(st.integers(0, 100_000), max_size=50))
def test_trigger_numbers_rise_whatever_the_camera_counts(frame_ids: list[int]) -> None:
    found = numbers(BlockIds(1), frame_ids)
    assert found == sorted(set(found))
    assert all(number >= 1 for number in found)


def test_frame_that_was_held_up_is_as_old_as_its_stamp_says() -> None:
    clock = CameraClock()
    assert clock.moment_s(100.0, 1000.0) == 1000.0
    assert abs(clock.moment_s(100.1, 1000.4) - 1000.1) < 0.001


def test_frame_that_comes_faster_than_any_before_sets_the_measure() -> None:
    clock = CameraClock()
    clock.moment_s(100.0, 1000.5)
    assert clock.moment_s(101.0, 1001.1) == 1001.1
    assert abs(clock.moment_s(102.0, 1002.4) - 1002.1) < 0.001


def test_slower_clock_of_a_camera_is_followed() -> None:
    clock = CameraClock()
    for second in range(1, 7200):
        arrived_s = second * (1 + 100e-6)
        assert arrived_s - clock.moment_s(float(second), arrived_s) < 0.001


def test_stamps_that_make_no_sense_are_not_used() -> None:
    clock = CameraClock()
    assert clock.moment_s(100.0, 10.0) == 10.0
    assert clock.moment_s(0.0, 10.2) == 10.2
    assert clock.moment_s(0.0, 10.3) == 10.3
    assert clock.moment_s(5.0, 10.4) == 10.4
    assert clock.moment_s(5.1, 15.0) == 15.0


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0.001, 5)), max_size=40))
def test_moments_never_run_back_and_never_ahead_of_the_arrival(frames: list[tuple[float, float]]) -> None:
    clock = CameraClock()
    arrived_s = last_s = 1000.0
    for stamp_s, pause_s in frames:
        arrived_s += pause_s
        moment_s = clock.moment_s(stamp_s, arrived_s)
        assert last_s <= moment_s <= arrived_s
        last_s = moment_s


class BusyClock(FakeClock):
    """Whoever reads it is stopped for a while before each reading, as long as `pauses` has any."""

    def __init__(self, pauses: list[float]) -> None:
        super().__init__()
        self.pauses = pauses

    def now(self) -> datetime:
        self._pause()
        return super().now()

    def monotonic(self) -> float:
        self._pause()
        return super().monotonic()

    def _pause(self) -> None:
        if self.pauses:
            self.advance(self.pauses.pop(0))


@example([0.0, 0.0, 0.04] * 5, [0.001, 0.001])
@given(st.lists(st.floats(0, 0.05), max_size=60), st.lists(st.floats(0, 0.001), min_size=2, max_size=20))
def test_time_of_day_of_a_later_moment_is_never_the_earlier_however_busy_the_machine_is(
    pauses: list[float], apart_s: list[float]
) -> None:
    clock = BusyClock([])
    times = WallTime(clock)
    begun_s, begun = clock.monotonic(), clock.now()
    times.at(begun_s)
    clock.pauses = list(pauses)
    moments = [begun_s + sum(apart_s[:index]) for index in range(len(apart_s))]
    found = [times.at(moment_s) for moment_s in moments]
    assert found == sorted(found)
    assert found == [begun + timedelta(seconds=moment_s - begun_s) for moment_s in moments]


def test_closest_of_the_readings_counts() -> None:
    clock = BusyClock([])
    begun_s, begun = clock.monotonic(), clock.now()
    clock.pauses = [0.0, 0.4, 0.0]
    assert WallTime(clock).at(begun_s) == begun


def test_wall_clock_that_is_set_is_followed_and_one_that_only_seems_to_move_is_not() -> None:
    clock = FakeClock()
    times = WallTime(clock)
    begun_s, begun = clock.monotonic(), clock.now()
    times.at(begun_s)
    clock.set_wall(begun + timedelta(microseconds=900))
    assert times.at(begun_s) == begun
    clock.set_wall(begun - timedelta(hours=1))
    assert times.at(begun_s) == begun - timedelta(hours=1)
