# SPDX-License-Identifier: Apache-2.0
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.frame_queue import FrameQueue
from tests.edge.station_fakes import frame_of
from tests.fakes.clock import FakeClock


def test_full_queue_gives_up_the_newest_picture_but_keeps_its_part() -> None:
    queue = FrameQueue(2)
    for number in range(4):
        queue.put(frame_of(number, FakeClock()))
    taken = [queue.get(0.0) for _ in range(4)]
    assert [(item.frame.trigger_number, item.is_missed) for item in taken if item] == [
        (0, False),
        (1, False),
        (2, True),
        (3, True),
    ]
    assert all((item.frame.pixels is None) == item.is_missed for item in taken if item)
    assert queue.missed == 2


def test_nothing_waiting_gives_nothing() -> None:
    assert FrameQueue(1).get(0.0) is None


@settings(deadline=None)
@given(steps=st.lists(st.booleans(), max_size=200), max_frames=st.integers(1, 4), max_marks=st.integers(0, 4))
def test_memory_stays_bounded_and_order_is_kept(steps: list[bool], max_frames: int, max_marks: int) -> None:
    queue = FrameQueue(max_frames, max_marks)
    clock = FakeClock()
    number = 0
    taken: list[int] = []
    for is_put in steps:
        if is_put:
            queue.put(frame_of(number, clock))
            number += 1
        elif (item := queue.get(0.0)) is not None:
            taken.append(item.frame.trigger_number)
        assert len(queue) <= max_frames + max_marks
    while (item := queue.get(0.0)) is not None:
        taken.append(item.frame.trigger_number)
    assert taken == sorted(set(taken))
    assert len(taken) + queue.dropped == number
