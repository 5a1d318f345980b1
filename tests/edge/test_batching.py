# SPDX-License-Identifier: Apache-2.0
"""Frames of several cameras at one batcher: who waits for whom, for how long, and what a failing batch costs."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_agent.clock import SystemClock
from edge_agent.errors import InferenceError
from edge_agent.inference import batching
from edge_agent.inference.batching import FrameBatcher, Seat, SeatedSession
from edge_agent.inference.session import Inference
from tests.fakes.waiting import wait_until

CLOCK = SystemClock()
FOR_EVER_S = 3600.0


def picture(level: int, side: int = 32) -> NDArray[np.uint8]:
    return np.full((side, side, 3), level, dtype=np.uint8)


def _found(image: NDArray[np.uint8]) -> Inference:
    return Inference(float(image.mean()), np.zeros((2, 2), np.float32), np.zeros(2, np.float32))


class Graph:
    """Scores by brightness, alone and together; can fail, or stand still."""

    provider = "FakeExecutionProvider"
    takes_batches = True

    def __init__(self) -> None:
        self.alone: list[float] = []
        self.together: list[list[float]] = []
        self.failure: Exception | None = None
        self.bad: float | None = None
        self.may_go = threading.Event()
        self.may_go.set()

    def run(self, image_bgr: NDArray[np.uint8]) -> Inference:
        found = _found(image_bgr)
        self.alone.append(found.score)
        if found.score == self.bad:
            raise InferenceError("the graph gave a score that is not finite (nan)")
        return found

    def run_batch(self, images_bgr: Sequence[NDArray[np.uint8]]) -> list[Inference | InferenceError]:
        found = [_found(image) for image in images_bgr]
        self.together.append(sorted(each.score for each in found))
        assert self.may_go.wait(60)
        if self.failure is not None:
            raise self.failure
        return [InferenceError("not finite") if each.score == self.bad else each for each in found]


class Camera:
    """A camera whose queue a test fills."""

    def __init__(self, group: "Cameras") -> None:
        self.queue = 0
        self.seat = Seat(lambda: self.queue, CLOCK)
        self.session: SeatedSession = group.batcher.seated(self.seat)
        # Judged here before, so that its next frame is awaited here.
        self.seat.arrived(group.batcher)
        self._group = group

    def shows(self, level: int, *, side: int = 32, within_s: float = FOR_EVER_S * 10) -> "Future[Inference]":
        """A frame is taken up and judged on the camera's own thread."""
        self.seat.take_up(CLOCK.monotonic() + within_s)
        self.queue = max(0, self.queue - 1)

        def judge() -> Inference:
            try:
                return self.session.run(picture(level, side))
            finally:
                self.seat.let_go()

        return self._group.threads.submit(judge)


class Cameras:
    """A group that shares a graph."""

    def __init__(self, *, sizes: tuple[int, ...] = (2,), max_wait_s: float = FOR_EVER_S) -> None:
        self.graph = Graph()
        self.batcher = FrameBatcher(self.graph, sizes=sizes, max_wait_s=max_wait_s, batch_s=0.001, clock=CLOCK)
        self.threads = ThreadPoolExecutor(8)
        self.each = [Camera(self) for _ in range(4)]

    def waits_for(self, frames: int) -> None:
        wait_until(lambda: len(self.batcher._waiting) == frames)


Make = Callable[..., Cameras]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[Cameras] = []

    def cameras(**changes: object) -> Cameras:
        made.append(Cameras(**changes))  # type: ignore[arg-type]  # a test names what it changes
        return made[-1]

    yield cameras
    for group in made:
        group.graph.may_go.set()
        group.threads.shutdown(wait=False)


def test_lone_frame_is_judged_at_once(make: Make) -> None:
    group = make()
    assert group.each[0].shows(7).result(60).score == 7
    assert (group.graph.alone, group.graph.together) == ([7], [])


@pytest.mark.parametrize("how", ["queued", "being prepared"])
def test_frames_that_are_there_at_the_same_moment_are_judged_together(make: Make, how: str) -> None:
    group = make()
    left, right, *_ = group.each
    if how == "queued":
        right.queue = 1
    else:
        right.seat.take_up(CLOCK.monotonic() + FOR_EVER_S * 10)
    first = left.shows(7)
    group.waits_for(1)
    second = right.shows(9)
    assert (first.result(60).score, second.result(60).score) == (7, 9)
    assert (group.graph.alone, group.graph.together) == ([], [[7, 9]])
    assert group.batcher.counters.frames_together == 2


def test_frame_that_was_awaited_and_does_not_come_holds_nobody_up(make: Make) -> None:
    group = make()
    left, right, *_ = group.each
    right.seat.take_up(CLOCK.monotonic() + 60)
    first = left.shows(7)
    group.waits_for(1)
    # Its picture was not fit to be judged.
    right.seat.let_go()
    assert first.result(60).score == 7
    assert group.graph.alone == [7]


def test_wait_is_bounded(make: Make) -> None:
    group = make(max_wait_s=0.02)
    group.each[1].queue = 5
    assert group.each[0].shows(7).result(60).score == 7
    assert group.graph.alone == [7]


def test_frame_near_its_deadline_waits_for_nobody(make: Make) -> None:
    group = make()
    group.each[1].queue = 5
    assert group.each[0].shows(7, within_s=FOR_EVER_S).result(60).score == 7
    assert group.graph.alone == [7]


def test_frame_near_its_deadline_joins_no_batch_that_others_gather(make: Make) -> None:
    group = make()
    left, right, *_ = group.each
    right.queue = 2
    first = left.shows(7)
    group.waits_for(1)
    assert right.shows(9, within_s=0.0).result(60).score == 9
    assert group.graph.alone == [9]
    assert right.shows(8).result(60).score == 8
    assert first.result(60).score == 7
    assert group.graph.together == [[7, 8]]


def test_camera_that_judges_with_another_package_is_not_awaited(make: Make) -> None:
    group, other = make(), make()
    group.each[1].queue = 5
    group.each[1].seat.arrived(other.batcher)
    assert group.each[0].shows(7).result(60).score == 7


def test_frames_of_different_shape_are_not_judged_together(make: Make) -> None:
    group = make()
    left, right, third, _ = group.each
    right.queue = third.queue = 1
    first = left.shows(7)
    group.waits_for(1)
    second = right.shows(9, side=64)
    group.waits_for(2)
    last = third.shows(5, side=64)
    assert [each.result(60).score for each in (first, second, last)] == [7, 9, 5]
    assert (group.graph.alone, group.graph.together) == ([7], [[5, 9]])


def test_only_as_many_as_were_seen_to_pay_are_judged_together(make: Make) -> None:
    group = make(sizes=(2, 4))
    cameras = group.each[:3]
    for camera in cameras:
        camera.queue = 1
    shown = []
    for number, camera in enumerate(cameras):
        shown.append(camera.shows(number + 1))
        if number < 2:
            group.waits_for(number + 1)
    assert [each.result(60).score for each in shown] == [1, 2, 3]
    assert [len(each) for each in group.graph.together] == [2]
    assert len(group.graph.alone) == 1


def together(group: Cameras, *levels: int) -> "list[Future[Inference]]":
    """Frames of as many cameras at the same moment."""
    for camera, _ in zip(group.each, levels, strict=False):
        camera.queue = 1
    shown = []
    for number, (camera, level) in enumerate(zip(group.each, levels, strict=False)):
        shown.append(camera.shows(level))
        if number + 1 < len(levels):
            group.waits_for(number + 1)
    return shown


def test_batch_that_crashes_costs_no_part(make: Make) -> None:
    group = make()
    group.graph.failure = RuntimeError("out of memory")
    assert [each.result(60).score for each in together(group, 7, 9)] == [7, 9]
    assert sorted(group.graph.alone) == [7, 9]
    assert group.batcher.counters.failed_batches == 1


def test_bad_frame_of_a_batch_spoils_no_other(make: Make) -> None:
    group = make()
    group.graph.bad = 9
    good, bad = together(group, 7, 9)
    assert good.result(60).score == 7
    with pytest.raises(InferenceError, match="not finite"):
        bad.result(60)
    assert group.graph.alone == [9], "the good one has its answer from the batch"


def test_batches_that_keep_failing_end_and_are_a_fault(make: Make) -> None:
    group = make()
    group.graph.failure = RuntimeError("out of memory")
    for _ in range(3):
        assert [each.result(60).score for each in together(group, 7, 9)] == [7, 9]
    (fault,) = group.each[0].seat.faults()
    assert (fault.code, "out of memory" in fault.message) == ("batching-off", True)
    group.each[1].queue = 1
    assert group.each[0].shows(4).result(60).score == 4
    assert len(group.graph.together) == 3


def test_batch_that_succeeds_in_between_forgives(make: Make) -> None:
    group = make()
    for failure in [RuntimeError("once"), None] * 4:
        group.graph.failure = failure
        assert [each.result(60).score for each in together(group, 7, 9)] == [7, 9]
    assert group.batcher.trouble == ""


def test_camera_whose_run_hangs_stops_no_other(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "_GRACE_S", 0.05)
    monkeypatch.setattr(batching, "_LONGEST_AWAITED_S", 0.05)
    group = make()
    group.graph.may_go.clear()
    waiting, _running = together(group, 7, 9)
    with pytest.raises(InferenceError, match="did not come back"):
        waiting.result(60)
    group.each[1].queue = 0
    assert group.each[0].shows(5).result(60).score == 5
