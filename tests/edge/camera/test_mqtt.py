# SPDX-License-Identifier: Apache-2.0
import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.camera.mqtt import MqttSource
from edge_agent.clock import SystemClock
from edge_agent.errors import DeviceError
from edge_agent.reporting.bus import PahoBus
from tests.edge.camera.rigs import TOPIC, fake_camera, picture, read
from tests.edge.camera.simulator import packed
from tests.fakes.bus import FakeBroker, FakeBus


def _wait_until(condition: object, what: str) -> None:
    give_up_at = time.monotonic() + 20
    while not condition():  # type: ignore[operator]  # any callable
        assert time.monotonic() < give_up_at, what
        time.sleep(0.01)


def test_frames_beyond_the_buffer_are_dropped_newest_first_and_counted() -> None:
    with fake_camera() as (camera, station):
        source = MqttSource(station, TOPIC, SystemClock(), capacity=2)
        source.open()
        for number in range(4):
            camera.publish(TOPIC, packed(number, picture(0)))
        _wait_until(lambda: source.dropped == 2, "two frames dropped")
        assert [read(source).trigger_number for _ in range(2)] == [0, 1]
        assert source.read(0.0) is None


def test_bare_picture_that_is_dropped_leaves_a_gap_in_the_numbers() -> None:
    jpeg = b"\xff\xd8\xff broken but counted"
    with fake_camera() as (camera, station):
        source = MqttSource(station, TOPIC, SystemClock(), capacity=1, first_trigger=10)
        source.open()
        camera.publish(TOPIC, jpeg)
        camera.publish(TOPIC, jpeg)
        _wait_until(lambda: source.dropped == 1, "one frame dropped")
        first = read(source)
        camera.publish(TOPIC, jpeg)
        assert (first.trigger_number, read(source).trigger_number) == (10, 12)
        assert first.pixels is None


@pytest.mark.parametrize("payload", [b"", b"hello", b"SLF1\x00\x00\x00\x02{}"])
def test_payload_that_is_no_frame_is_counted_and_ignored(payload: bytes) -> None:
    with fake_camera() as (camera, station):
        source = MqttSource(station, TOPIC, SystemClock())
        source.open()
        camera.publish(TOPIC, payload)
        camera.publish(TOPIC, packed(1, picture(0)))
        assert read(source).trigger_number == 1
        assert source.unreadable == 1


def test_broker_that_is_away_is_a_device_error_until_it_is_back() -> None:
    broker = FakeBroker()
    camera, station = FakeBus(broker), FakeBus(broker)
    camera.start()
    station.start()
    source = MqttSource(station, TOPIC, SystemClock())
    source.open()
    broker.go_down()
    with pytest.raises(DeviceError, match="broker"):
        source.read(0.0)
    broker.come_up()
    source.open()
    camera.publish(TOPIC, packed(3, picture(0)))
    assert read(source).trigger_number == 3
    camera.stop()
    station.stop()


@pytest.fixture
def broker_url(tmp_path: Path) -> Iterator[str]:
    program = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        pytest.skip("mosquitto is not installed")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = tmp_path / "mosquitto.conf"
    settings.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n")
    process = subprocess.Popen([program, "-c", str(settings)], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def is_up() -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
        return False

    try:
        _wait_until(is_up, "mosquitto listens")
        yield f"mqtt://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=20)


@pytest.mark.broker
def test_frames_come_through_a_real_broker(broker_url: str) -> None:
    camera, station = PahoBus(broker_url, "camera"), PahoBus(broker_url, "station")
    camera.start()
    station.start()
    try:
        source = MqttSource(station, TOPIC, SystemClock())
        _wait_until(lambda: camera.is_connected and station.is_connected, "both connected")
        source.open()
        numbers: list[int] = []

        def seen() -> bool:
            camera.publish(TOPIC, packed(len(numbers), picture(0)))
            frame = source.read(0.2)
            if frame is not None:
                assert frame.pixels is not None
                numbers.append(frame.trigger_number)
            return len(numbers) == 3

        _wait_until(seen, "three frames")
    finally:
        camera.stop()
        station.stop()
