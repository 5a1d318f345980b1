# SPDX-License-Identifier: Apache-2.0
"""Rigs: a frame source of each kind together with whatever makes its camera give frames."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_agent.camera.mqtt import MqttSource
from edge_agent.camera.opencv import OpenCvSource
from edge_agent.camera.replay import ReplaySource
from edge_agent.camera.simulated import SimulatedSource
from edge_agent.camera.source import Frame, FrameSource
from edge_agent.clock import SystemClock
from tests.edge.camera.simulator import CameraSimulator, packed
from tests.edge.station_fakes import textured
from tests.fakes.bus import FakeBroker, FakeBus

FRAMES = 3
TOPIC = "sightline/v1/plant/line-1/st-1/frame"


@dataclass
class Rig:
    """A source and its camera. `feed` makes the camera give `FRAMES` frames numbered from `first`."""

    source: FrameSource
    feed: Callable[[], None]
    first: int
    is_simulated: bool
    # A finite source ends by itself; a camera stays silent.
    is_finite: bool


def read(source: FrameSource, timeout_s: float = 20) -> Frame:
    """The next frame, waiting for it."""
    give_up_at = time.monotonic() + timeout_s
    while time.monotonic() < give_up_at:
        if (frame := source.read(0.05)) is not None:
            return frame
    msg = "no frame came"
    raise AssertionError(msg)


def picture(index: int) -> NDArray[np.uint8]:
    """Different for each index."""
    return np.roll(textured(48, 64), index * 5, axis=1)


@contextmanager
def simulated(_folder: Path) -> Iterator[Rig]:
    camera = CameraSimulator()
    source = SimulatedSource(camera.url, SystemClock())

    def feed() -> None:
        for index in range(FRAMES):
            camera.send(packed(5 + index, picture(index)), pieces=index + 1)

    try:
        yield Rig(source, feed, 5, is_simulated=True, is_finite=False)
    finally:
        source.close()
        camera.close()


@contextmanager
def replay(folder: Path) -> Iterator[Rig]:
    for index in range(FRAMES):
        assert cv2.imwrite(str(folder / f"{index}.png"), picture(index))
    (folder / "notes.txt").write_text("no picture")
    source = ReplaySource(folder, SystemClock(), rate_hz=200, first_trigger=5, product="ring")
    yield Rig(source, lambda: None, 5, is_simulated=True, is_finite=True)


@contextmanager
def opencv(folder: Path) -> Iterator[Rig]:
    path = folder / "video.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48))
    assert writer.isOpened()
    for index in range(FRAMES):
        writer.write(picture(index))
    writer.release()
    source = OpenCvSource(str(path), SystemClock(), rate_hz=200, first_trigger=5, product="ring")
    yield Rig(source, lambda: None, 5, is_simulated=True, is_finite=True)
    source.close()


@contextmanager
def mqtt_packed(_folder: Path) -> Iterator[Rig]:
    with fake_camera() as (camera, station):
        source = MqttSource(station, TOPIC, SystemClock())

        def feed() -> None:
            for index in range(FRAMES):
                assert camera.publish(TOPIC, packed(5 + index, picture(index)))

        yield Rig(source, feed, 5, is_simulated=True, is_finite=False)


@contextmanager
def mqtt_bare(_folder: Path) -> Iterator[Rig]:
    with fake_camera() as (camera, station):
        source = MqttSource(station, TOPIC, SystemClock(), first_trigger=5, product="ring")

        def feed() -> None:
            for index in range(FRAMES):
                is_encoded, content = cv2.imencode(".png" if index % 2 else ".jpg", picture(index))
                assert is_encoded
                assert camera.publish(TOPIC, content.tobytes())

        yield Rig(source, feed, 5, is_simulated=False, is_finite=False)


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


RIGS = [simulated, replay, opencv, mqtt_packed, mqtt_bare]
