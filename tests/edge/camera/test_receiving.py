# SPDX-License-Identifier: Apache-2.0
"""The thread behind live OpenCV cameras, and what stands for a silent GigE camera, each with a made-up other side."""

import socket
import threading
import time
from collections.abc import Iterator

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edge_agent.camera.gige_watch import GigeWatch
from edge_agent.camera.opencv import OpenCvSource
from edge_agent.camera.receiving import Receiver
from edge_agent.clock import SystemClock
from edge_agent.errors import DeviceError
from tests.edge.camera.rigs import free_port, until_lost
from tests.fakes.clock import FakeClock


class ScriptedCapture:
    """Gives frames at moments of a frozen clock; each is (seconds since the last, its stamp in the stream)."""

    def __init__(self, clock: FakeClock, frames: list[tuple[float, float]]) -> None:
        self._clock = clock
        self._frames = frames
        self._stamp_s = 0.0
        self._pixels = np.zeros((4, 4, 3), dtype=np.uint8)
        self.is_released = False
        self.decoded = 0

    def grab(self) -> bool:
        if not self._frames:
            return False
        waited_s, self._stamp_s = self._frames.pop(0)
        self._clock.advance(waited_s)
        return True

    def retrieve(self) -> tuple[bool, NDArray[np.uint8]]:
        self.decoded += 1
        self._pixels += 1
        return True, self._pixels

    def get(self, propId: int, /) -> float:  # noqa: N803 - OpenCV's name
        return self._stamp_s * 1000 if propId == cv2.CAP_PROP_POS_MSEC else 0.0

    def release(self) -> None:
        self.is_released = True


def received(
    frames: list[tuple[float, float]], *, rate_hz: float = 0.0, capacity: int = 100, has_backlog: bool = False
) -> tuple[ScriptedCapture, Receiver]:
    """A receiver that has seen all frames and ended."""
    clock = FakeClock()
    capture = ScriptedCapture(clock, frames)
    receiver = Receiver(capture, clock, rate_hz=rate_hz, capacity=capacity, next_trigger=7, has_backlog=has_backlog)
    receiver.start()
    assert receiver.has_ended(20)
    return capture, receiver


def numbers(receiver: Receiver) -> list[int]:
    found = []
    while (frame := receiver.take(0.0)) is not None:
        found.append(frame.trigger_number)
    return found


def test_frame_beyond_the_queue_is_dropped_counted_and_leaves_a_gap() -> None:
    _, receiver = received([(0.1, 0.0)] * 5, capacity=3)
    assert numbers(receiver) == [7, 8, 9]
    assert receiver.dropped == 2
    assert receiver.stop() == 12


def test_pixels_are_copied_out_of_the_buffer_of_the_driver() -> None:
    _, receiver = received([(0.1, 0.0)] * 2)
    first, second = receiver.take(0), receiver.take(0)
    assert first is not None
    assert second is not None
    assert (int(first.pixels[0, 0, 0]), int(second.pixels[0, 0, 0])) == (1, 2)


def test_frames_that_piled_up_while_the_stream_was_opened_are_skipped() -> None:
    piled_up = [(0.001, index / 10) for index in range(20)]
    live = [(0.1, 2.0 + index / 10) for index in range(3)]
    capture, receiver = received([*piled_up, *live], has_backlog=True)
    assert numbers(receiver) == [7, 8, 9]
    assert capture.decoded == 3


@pytest.mark.parametrize("stamp_step_s", [0.0, -0.1, 1e6])
def test_stream_whose_stamps_make_no_sense_is_not_skipped_for_ever(stamp_step_s: float) -> None:
    frames = [(0.1, index * stamp_step_s) for index in range(100)]
    _, receiver = received(frames, has_backlog=True)
    assert len(numbers(receiver)) >= 48


def test_frames_between_two_beats_are_taken_off_and_not_decoded() -> None:
    capture, receiver = received([(0.1, 0.0)] * 20, rate_hz=2.0)
    assert len(numbers(receiver)) == capture.decoded == 4


def test_capture_is_released_by_the_thread_that_read_it_and_the_reader_is_told() -> None:
    capture, receiver = received([])
    assert capture.is_released
    assert receiver.is_over


class HangingCapture(ScriptedCapture):
    """Its driver waits until it is let go."""

    def __init__(self) -> None:
        super().__init__(FakeClock(), [])
        self.may_go_on = threading.Event()

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        return True

    def grab(self) -> bool:
        self.may_go_on.wait(60)
        return False


def test_driver_that_hangs_holds_up_neither_read_nor_close_and_is_not_opened_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hanging = HangingCapture()
    source = OpenCvSource("0", SystemClock())
    monkeypatch.setattr(source, "_make_capture", lambda: hanging)
    source.open()
    begun = time.monotonic()
    assert source.read(0.2) is None
    source.close()
    assert time.monotonic() - begun < 2
    with pytest.raises(DeviceError, match="has not let go"):
        source.open()
    hanging.may_go_on.set()
    source.open()
    assert "no more frames" in until_lost(source, within_s=5).message
    source.close()


@pytest.fixture
def gige_camera() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as camera:
        camera.bind(("127.0.0.1", 0))
        camera.settimeout(5)
        yield camera


def answer(camera: socket.socket) -> None:
    question, asker = camera.recvfrom(64)
    assert question[2:4] == b"\x00\x02"
    camera.sendto(b"\x00\x00\x00\x03\x00\x00" + question[6:8], asker)


def test_silent_camera_that_answers_is_there_however_long_it_is_silent(gige_camera: socket.socket) -> None:
    clock = FakeClock()
    watch = GigeWatch("127.0.0.1", clock, port=gige_camera.getsockname()[1])
    for _ in range(10):
        clock.advance(0.6)
        assert watch.is_there()
        answer(gige_camera)
        time.sleep(0.01)
        assert watch.is_there()
    watch.close()


def test_camera_that_answers_nothing_is_gone_after_two_seconds() -> None:
    clock = FakeClock()
    watch = GigeWatch("127.0.0.1", clock, port=free_port())
    clock.advance(1.9)
    assert watch.is_there()
    clock.advance(0.2)
    assert not watch.is_there()
    watch.heard()
    assert watch.is_there()
    watch.close()


def test_camera_that_is_heard_is_asked_nothing(gige_camera: socket.socket) -> None:
    clock = FakeClock()
    watch = GigeWatch("127.0.0.1", clock, port=gige_camera.getsockname()[1])
    for _ in range(20):
        clock.advance(0.3)
        watch.heard()
        assert watch.is_there()
    gige_camera.settimeout(0.1)
    with pytest.raises(TimeoutError):
        gige_camera.recvfrom(64)
    watch.close()
