# SPDX-License-Identifier: Apache-2.0
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.vocabulary import VerdictCause
from edge_agent.triggers import TriggerWatch
from tests.edge.station_fakes import START


def _at(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


def test_first_frame_ever_reveals_no_gap() -> None:
    assert list(TriggerWatch(None, 100).see(4711, START).missed) == []


def test_jump_while_running_names_each_missed_part() -> None:
    watch = TriggerWatch(None, 100)
    watch.see(1, START)
    sighting = watch.see(5, START + _at(1))
    assert list(sighting.missed) == [2, 3, 4]
    assert sighting.cause is VerdictCause.MISSED_FRAME


def test_jump_across_a_process_start_is_a_crashed_session() -> None:
    watch = TriggerWatch(10, 100)
    sighting = watch.see(13, START)
    assert list(sighting.missed) == [11, 12]
    assert sighting.cause is VerdictCause.SESSION_CRASHED
    assert watch.see(15, START + _at(1)).cause is VerdictCause.MISSED_FRAME


def test_no_gap_across_a_process_start_is_silent() -> None:
    assert not TriggerWatch(10, 100).see(11, START).missed


def test_gap_beyond_the_bound_reports_the_newest_parts_and_counts_the_rest() -> None:
    sighting = TriggerWatch(0, 3).see(11, START)
    assert list(sighting.missed) == [8, 9, 10]
    assert sighting.unnamed == 7


def test_camera_that_counts_anew_reveals_no_gap_and_sets_the_new_base() -> None:
    watch = TriggerWatch(None, 100)
    watch.see(500, START)
    sighting = watch.see(1, START + _at(1))
    assert sighting.is_recount
    assert not sighting.missed
    assert list(watch.see(3, START + _at(2)).missed) == [2]


def test_camera_that_counted_anew_while_the_station_was_down_is_taken_on() -> None:
    assert TriggerWatch(500, 100).see(3, START).is_recount


def test_straggler_of_a_part_reported_as_missed_is_not_judged_again() -> None:
    watch = TriggerWatch(None, 100)
    watch.see(1, START)
    watch.see(3, START + _at(3))
    assert watch.see(2, START + _at(2)).is_stray
    assert watch.see(3, START + _at(3)).is_stray
    assert not watch.see(4, START + _at(4)).missed


@settings(deadline=None)
@given(seen=st.lists(st.integers(0, 300), unique=True, min_size=1), last=st.none() | st.integers(0, 300))
def test_every_part_after_the_base_is_accounted_for_exactly_once(seen: list[int], last: int | None) -> None:
    numbers = sorted(number for number in seen if last is None or number > last)
    watch = TriggerWatch(last, 1000)
    accounted: list[int] = []
    for index, number in enumerate(numbers):
        accounted += [*watch.see(number, START + _at(index)).missed, number]
    if numbers:
        first = numbers[0] if last is None else last + 1
        assert accounted == list(range(first, numbers[-1] + 1))
