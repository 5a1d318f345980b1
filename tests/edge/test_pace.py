# SPDX-License-Identifier: Apache-2.0
"""When a challenger may use the processor."""

import pytest

from edge_agent.inference.pace import Pace

TAKT_S = 0.1


def running(share: float = 1.0, parts: int = 10, takt_s: float = TAKT_S) -> tuple[Pace, float]:
    """A line in step whose judge has just finished a part at the given time; that time."""
    pace, now_s = Pace(share), 0.0
    for number in range(parts):
        now_s = number * takt_s
        pace.begun(now_s)
        pace.ended()
    return pace, now_s


def test_it_begins_only_when_it_will_be_through_before_the_next_part() -> None:
    pace, now_s = running()
    assert pace.wait_s(now_s, 0.08) == 0
    assert pace.wait_s(now_s, 0.095) > 0
    assert pace.wait_s(now_s + 0.05, 0.08) > 0


def test_it_never_begins_while_a_part_is_judged() -> None:
    pace, now_s = running()
    pace.begun(now_s + TAKT_S)
    assert pace.wait_s(now_s + TAKT_S, 0.001) > 0
    assert pace.wait_s(now_s + 100, 0.001) > 0


def test_nothing_begins_before_the_takt_is_known() -> None:
    pace, now_s = running(parts=5)
    assert pace.takt_s is None
    assert pace.wait_s(now_s, 0.0) > 0


def test_one_that_takes_longer_than_the_takt_judges_in_pauses() -> None:
    pace, now_s = running()
    assert pace.wait_s(now_s, 5.0) == pytest.approx(0.2)
    assert pace.wait_s(now_s + 0.21, 5.0) == 0


def test_in_bursts_the_short_intervals_count() -> None:
    pace, now_s = Pace(1.0), 0.0
    for burst in range(10):
        for number in range(5):
            now_s = burst + number * 0.01
            pace.begun(now_s)
            pace.ended()
    assert pace.takt_s == pytest.approx(0.01)
    assert pace.wait_s(now_s, 0.02) > 0
    assert pace.wait_s(now_s + 0.1, 0.02) == 0


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_its_share_of_the_time_holds_also_in_pauses(share: float) -> None:
    pace, now_s = running(share)
    busy_s, at_s = 0.0, now_s + 10.0
    began_s = at_s
    for _ in range(100):
        at_s += pace.wait_s(at_s, 0.03)
        pace.spent(at_s, 0.03)
        busy_s, at_s = busy_s + 0.03, at_s + 0.03
    assert busy_s / (at_s - began_s) == pytest.approx(share, rel=0.05)
