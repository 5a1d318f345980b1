# SPDX-License-Identifier: Apache-2.0
"""What is special to network cameras, with a real RTSP server; the battery has the rest."""

import socket
import time
from collections.abc import Iterator

import pytest

from edge_agent.camera.opencv import OpenCvSource
from edge_agent.clock import SystemClock
from edge_agent.errors import DeviceError
from tests.edge.camera.live_rigs import RtspCamera, need_rtsp_server
from tests.edge.camera.rigs import read, until_lost
from tests.edge.camera.rtsp_server import PATH

RATE_HZ = 50


@pytest.fixture
def camera() -> Iterator[RtspCamera]:
    need_rtsp_server()
    made = RtspCamera()
    try:
        made.start()
        yield made
    finally:
        made.kill()


@pytest.mark.rtsp
def test_server_that_hangs_is_noticed_within_four_seconds(camera: RtspCamera) -> None:
    source = OpenCvSource(camera.url, SystemClock())
    source.open()
    read(source)
    camera.freeze()
    begun = time.monotonic()
    assert "gives no more frames" in until_lost(source, within_s=10).message
    assert time.monotonic() - begun < 4
    source.close()


@pytest.mark.rtsp
def test_first_frames_are_live_and_not_what_piled_up_while_opening(camera: RtspCamera) -> None:
    source = OpenCvSource(camera.url, SystemClock(), capacity=100)
    source.open()
    taken = [read(source) for _ in range(10)]
    source.close()
    span_s = taken[-1].captured_monotonic - taken[0].captured_monotonic
    assert span_s > 0.7 * 9 / RATE_HZ


@pytest.mark.rtsp
def test_rate_of_the_settings_takes_fewer_frames(camera: RtspCamera) -> None:
    source = OpenCvSource(camera.url, SystemClock(), rate_hz=10)
    source.open()
    taken = [read(source) for _ in range(6)]
    source.close()
    assert 0.35 < taken[-1].captured_monotonic - taken[0].captured_monotonic < 2
    assert [frame.trigger_number for frame in taken] == list(range(6))


@pytest.mark.rtsp
def test_path_that_the_server_does_not_have_is_a_device_error_with_a_remedy(camera: RtspCamera) -> None:
    source = OpenCvSource(camera.url + "-of-nobody", SystemClock())
    with pytest.raises(DeviceError) as caught:
        source.open()
    assert caught.value.remedy


def test_server_that_takes_the_call_and_says_nothing_is_given_up_within_four_seconds() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        source = OpenCvSource(f"rtsp://127.0.0.1:{silent.getsockname()[1]}{PATH}", SystemClock())
        begun = time.monotonic()
        with pytest.raises(DeviceError):
            source.open()
        assert time.monotonic() - begun < 4
