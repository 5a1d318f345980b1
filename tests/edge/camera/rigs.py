# SPDX-License-Identifier: Apache-2.0
"""Rigs: a frame source of each kind together with whatever makes its camera give frames, go away and come back."""

import itertools
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_agent.camera.mqtt import MqttSource
from edge_agent.camera.replay import ReplaySource
from edge_agent.camera.simulated import SimulatedSource
from edge_agent.camera.source import Frame, FrameSource
from edge_agent.camera.video import VideoSource
from edge_agent.clock import SystemClock
from edge_agent.errors import DeviceError
from tests.edge.camera.simulator import CameraSimulator, packed
from tests.edge.station_fakes import textured
from tests.fakes.bus import FakeBroker, FakeBus

FRAMES = 3
FIRST = 5
TOPIC = "sightline/v1/plant/line-1/st-1/frame"


def nothing() -> None:
    """For cameras that need no help."""


@dataclass
class Rig:
    """A source and its camera.

    Args:
        source: its first frame has the number `FIRST`.
        stranger: the same kind of source with an address where nothing is.
        is_simulated: what every frame says.
        feed: makes the camera give `FRAMES` frames; those that give frames by themselves need none.
        hush: makes a camera that gives frames by itself give none.
        lose: the camera goes away; None: it is a file, which ends instead.
        come_back: the camera is there again.
        slow: a source like it that makes the reader wait after its first frame, where `source` would not.
        shape: of the pixels.
    """

    source: FrameSource
    stranger: FrameSource
    is_simulated: bool
    feed: Callable[[], None] = nothing
    hush: Callable[[], None] = nothing
    lose: Callable[[], None] | None = None
    come_back: Callable[[], None] = nothing
    slow: FrameSource | None = None
    shape: tuple[int, int, int] = (48, 64, 3)


def read(source: FrameSource, timeout_s: float = 20) -> Frame:
    """The next frame, waiting for it."""
    give_up_at = time.monotonic() + timeout_s
    while time.monotonic() < give_up_at:
        if (frame := source.read(0.05)) is not None:
            return frame
    msg = "no frame came"
    raise AssertionError(msg)


def until_lost(source: FrameSource, within_s: float) -> DeviceError:
    """Read on until the source says that its camera is gone."""
    give_up_at = time.monotonic() + within_s
    while time.monotonic() < give_up_at:
        try:
            source.read(0.05)
        except DeviceError as error:
            return error
    msg = "the source never said that its camera was gone"
    raise AssertionError(msg)


def opened_again(source: FrameSource, within_s: float = 20) -> None:
    """Open as the grab thread does: again and again."""
    give_up_at = time.monotonic() + within_s
    while True:
        try:
            source.open()
        except DeviceError:
            assert time.monotonic() < give_up_at
            time.sleep(0.05)
        else:
            return


def picture(index: int) -> NDArray[np.uint8]:
    """Different for each index."""
    return np.roll(textured(48, 64), index * 5, axis=1)


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@contextmanager
def simulated(_folder: Path) -> Iterator[Rig]:
    cameras = [CameraSimulator()]
    port = cameras[0].port
    source = SimulatedSource(cameras[0].url, SystemClock())
    numbers = itertools.count(FIRST)

    def feed() -> None:
        for index in range(FRAMES):
            cameras[-1].send(packed(next(numbers), picture(index)), pieces=index + 1)

    def lose() -> None:
        cameras[-1].hang_up()
        cameras[-1].close()

    try:
        yield Rig(
            source,
            SimulatedSource(f"tcp://127.0.0.1:{free_port()}", SystemClock()),
            is_simulated=True,
            feed=feed,
            lose=lose,
            come_back=lambda: cameras.append(CameraSimulator(port)),
        )
    finally:
        source.close()
        cameras[-1].close()


@contextmanager
def replay(folder: Path) -> Iterator[Rig]:
    for index in range(FRAMES):
        assert cv2.imwrite(str(folder / f"{index}.png"), picture(index))
    (folder / "notes.txt").write_text("no picture")
    yield Rig(
        ReplaySource(folder, SystemClock(), rate_hz=200, first_trigger=FIRST, product="ring"),
        ReplaySource(folder / "elsewhere", SystemClock()),
        is_simulated=True,
        slow=ReplaySource(folder, SystemClock(), rate_hz=0.01),
    )


@contextmanager
def video(folder: Path) -> Iterator[Rig]:
    path = folder / "video.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48))
    assert writer.isOpened()
    for index in range(FRAMES):
        writer.write(picture(index))
    writer.release()
    source = VideoSource(path, SystemClock(), rate_hz=200, first_trigger=FIRST, product="ring")
    slow = VideoSource(path, SystemClock(), rate_hz=0.01)
    yield Rig(source, VideoSource(folder / "elsewhere.avi", SystemClock()), is_simulated=True, slow=slow)
    source.close()
    slow.close()


@contextmanager
def mqtt_packed(_folder: Path) -> Iterator[Rig]:
    numbers = itertools.count(FIRST)

    def frame(index: int) -> bytes:
        return packed(next(numbers), picture(index))

    with fake_camera() as (camera, station):
        source = MqttSource(station, TOPIC, SystemClock())
        yield _mqtt_rig(source, camera, frame, is_simulated=True)


@contextmanager
def mqtt_bare(_folder: Path) -> Iterator[Rig]:
    def frame(index: int) -> bytes:
        is_encoded, content = cv2.imencode(".png" if index % 2 else ".jpg", picture(index))
        assert is_encoded
        return content.tobytes()

    with fake_camera() as (camera, station):
        source = MqttSource(station, TOPIC, SystemClock(), first_trigger=FIRST, product="ring")
        yield _mqtt_rig(source, camera, frame, is_simulated=False)


def _mqtt_rig(source: MqttSource, camera: FakeBus, frame: Callable[[int], bytes], *, is_simulated: bool) -> Rig:
    def feed() -> None:
        for index in range(FRAMES):
            assert camera.publish(TOPIC, frame(index))

    return Rig(
        source,
        MqttSource(FakeBus(FakeBroker()), TOPIC, SystemClock()),
        is_simulated=is_simulated,
        feed=feed,
        lose=camera._broker.go_down,
        come_back=camera._broker.come_up,
    )


@contextmanager
def fake_camera() -> Iterator[tuple[FakeBus, FakeBus]]:
    """A camera's bus and a station's bus on one broker in memory."""
    broker = FakeBroker()
    camera, station = FakeBus(broker), FakeBus(broker)
    camera.start()
    station.start()
    try:
        yield camera, station
    finally:
        camera.stop()
        station.stop()


RIGS = [simulated, replay, video, mqtt_packed, mqtt_bare]
