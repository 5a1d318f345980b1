# SPDX-License-Identifier: Apache-2.0
import socket
import struct
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from contracts.frames import MAX_FRAME_BYTES
from edge_agent.camera.simulated import SimulatedSource
from edge_agent.clock import SystemClock
from edge_agent.errors import DeviceError
from tests.edge.camera.rigs import picture, read
from tests.edge.camera.simulator import CameraSimulator, packed


@pytest.fixture
def camera() -> Iterator[CameraSimulator]:
    made = CameraSimulator()
    yield made
    made.close()


@pytest.fixture
def source(camera: CameraSimulator) -> Iterator[SimulatedSource]:
    made = SimulatedSource(camera.url, SystemClock())
    yield made
    made.close()


def test_half_a_frame_is_waited_for_and_not_lost(camera: CameraSimulator, source: SimulatedSource) -> None:
    payload = packed(1, picture(0))
    source.open()
    camera.send_bytes(struct.pack(">I", len(payload)) + payload[:100])
    assert source.read(0.05) is None
    camera.send_bytes(payload[100:])
    frame = read(source)
    assert (frame.trigger_number, frame.part_id) == (1, "part-1")


def test_camera_that_hangs_up_is_a_device_error_and_can_be_opened_again(
    camera: CameraSimulator, source: SimulatedSource
) -> None:
    source.open()
    camera.send_bytes(b"\x00\x00")
    camera.hang_up()
    with pytest.raises(DeviceError, match="hung up") as caught:
        read(source)
    assert caught.value.remedy
    source.open()
    camera.send(packed(2, picture(0)))
    assert read(source).trigger_number == 2


@pytest.mark.parametrize("message", [struct.pack(">I", MAX_FRAME_BYTES + 1), struct.pack(">I", 4) + b"HTTP", bytes(8)])
def test_stream_that_is_not_ours_is_refused_without_reading_on(
    camera: CameraSimulator, source: SimulatedSource, message: bytes
) -> None:
    source.open()
    camera.send_bytes(message)
    with pytest.raises(DeviceError):
        read(source)


def test_nobody_there_is_a_device_error_with_a_remedy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(DeviceError) as caught:
        SimulatedSource(f"tcp://127.0.0.1:{port}", SystemClock()).open()
    assert caught.value.remedy


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "tcp://127.0.0.1", "nonsense"])
def test_wrong_address_is_named(url: str) -> None:
    with pytest.raises(DeviceError, match="tcp://host:port"):
        SimulatedSource(url, SystemClock())


def test_time_on_the_way_counts_into_the_age_of_the_part(camera: CameraSimulator, source: SimulatedSource) -> None:
    source.open()
    camera.send(packed(1, picture(0), captured_at=datetime.now(UTC) - timedelta(seconds=3)))
    frame = read(source)
    assert SystemClock().monotonic() - frame.captured_monotonic >= 3


def test_clock_of_the_camera_ahead_of_ours_gives_a_part_no_more_time(
    camera: CameraSimulator, source: SimulatedSource
) -> None:
    source.open()
    camera.send(packed(1, picture(0), captured_at=datetime.now(UTC) + timedelta(hours=1)))
    assert read(source).captured_monotonic <= SystemClock().monotonic()


@pytest.mark.parametrize(
    ("pixels", "header", "fault"),
    [
        (picture(0)[:, :, 0].copy(), {}, ""),
        (picture(0), {"encoding": "jpeg"}, "cannot be decoded"),
        (np.zeros((48, 64, 2), dtype=np.uint8), {}, "1 or 3 channels"),
    ],
    ids=["grey", "broken jpeg", "two channels"],
)
def test_unreadable_picture_still_counts_as_a_part(
    camera: CameraSimulator, source: SimulatedSource, pixels: np.ndarray, header: dict[str, object], fault: str
) -> None:
    source.open()
    camera.send(packed(9, pixels, **header))
    frame = read(source)
    assert frame.trigger_number == 9
    assert fault in frame.fault
    assert (frame.pixels is None) == bool(fault)
    assert frame.pixels is None or frame.pixels.shape == (48, 64, 3)
