# SPDX-License-Identifier: Apache-2.0
"""The battery that every `FrameSource` passes.

A USB camera cannot be made up on a machine without one: its class is the one that is tested here over RTSP.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from edge_agent.camera.source import Frame
from edge_agent.clock import SystemClock
from edge_agent.errors import DeviceError, SourceEnded
from tests.edge.camera.live_rigs import LIVE_RIGS
from tests.edge.camera.rigs import (
    FIRST,
    FRAMES,
    RIGS,
    Rig,
    mqtt_bare,
    mqtt_packed,
    nothing,
    opened_again,
    read,
    simulated,
    until_lost,
)

CAMERAS = [simulated, mqtt_packed, mqtt_bare, *LIVE_RIGS]


def _name(make: Callable[[Path], AbstractContextManager[Rig]]) -> str:
    return make.__name__


@pytest.fixture(params=[*RIGS, *LIVE_RIGS], ids=_name)
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    make: Callable[[Path], AbstractContextManager[Rig]] = request.param
    with make(tmp_path) as made:
        yield made


@pytest.fixture(params=CAMERAS, ids=_name)
def camera(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    """Rigs whose frames come from outside, so that they may stay out."""
    make: Callable[[Path], AbstractContextManager[Rig]] = request.param
    with make(tmp_path) as made:
        yield made


def frames_of(rig: Rig) -> list[Frame]:
    rig.source.open()
    rig.feed()
    return [read(rig.source) for _ in range(FRAMES)]


def test_gives_each_frame_once_in_order_numbered_without_gaps(rig: Rig) -> None:
    assert [frame.trigger_number for frame in frames_of(rig)] == list(range(FIRST, FIRST + FRAMES))


def test_pixels_are_bgr_bytes_that_belong_to_the_frame_alone(rig: Rig) -> None:
    rig.source.open()
    rig.feed()
    first = read(rig.source)
    assert first.pixels is not None
    kept = first.pixels.copy()
    rest = [read(rig.source) for _ in range(FRAMES - 1)]
    assert first.pixels.dtype == np.uint8
    assert first.pixels.shape == rig.shape
    assert np.array_equal(first.pixels, kept)
    for frame in rest:
        assert frame.pixels is not None
        assert not np.array_equal(first.pixels, frame.pixels)
        assert not np.shares_memory(first.pixels, frame.pixels)


def test_times_are_aware_utc_and_agree_with_the_monotonic_clock(rig: Rig) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    clock = SystemClock()
    frames = frames_of(rig)
    now_s, now = clock.monotonic(), clock.now()
    for frame in frames:
        assert frame.captured_at.utcoffset() == timedelta(0)
        assert before <= frame.captured_at <= now
        assert frame.captured_monotonic <= now_s
        assert (now - frame.captured_at).total_seconds() == pytest.approx(now_s - frame.captured_monotonic, abs=0.2)
    assert [frame.captured_at for frame in frames] == sorted(frame.captured_at for frame in frames)


def test_simulated_mark_and_product_ride_with_every_frame(rig: Rig) -> None:
    for frame in frames_of(rig):
        assert frame.is_simulated is rig.is_simulated
        assert frame.product == "ring"


def test_file_ends_after_its_last_frame_and_a_camera_waits_its_time(rig: Rig) -> None:
    frames_of(rig)
    if rig.lose is None:
        with pytest.raises(SourceEnded):
            rig.source.read(0.05)
        return
    rig.hush()
    while rig.source.read(0.1) is not None:
        pass
    begun = time.monotonic()
    assert rig.source.read(0.3) is None
    assert 0.25 < time.monotonic() - begun < 1


def test_close_may_come_twice_and_open_again_after_it(rig: Rig) -> None:
    rig.source.close()
    rig.source.open()
    rig.source.close()
    rig.source.close()
    assert frames_of(rig)[0].trigger_number >= FIRST


def test_numbers_rise_over_close_and_open(rig: Rig) -> None:
    rig.source.open()
    rig.feed()
    before = read(rig.source).trigger_number
    rig.source.close()
    rig.source.open()
    rig.feed()
    assert read(rig.source).trigger_number > before


def test_source_that_is_not_open_says_so(rig: Rig) -> None:
    for prepare in (nothing, rig.source.open):
        prepare()
        rig.source.close()
        with pytest.raises(DeviceError) as caught:
            rig.source.read(0.05)
        assert caught.value.remedy
        assert not isinstance(caught.value, SourceEnded)


def test_close_from_elsewhere_ends_a_read_soon(rig: Rig) -> None:
    source = rig.slow or rig.source
    source.open()
    if rig.slow is not None:
        read(source)
    outcome: list[Frame | Exception | None] = []

    def wait() -> None:
        try:
            while (frame := source.read(60)) is not None:
                outcome.append(frame)
            outcome.append(None)
        except DeviceError as error:
            outcome.append(error)

    reader = threading.Thread(target=wait, daemon=True)
    reader.start()
    time.sleep(0.2)
    assert reader.is_alive()
    begun = time.monotonic()
    source.close()
    reader.join(3)
    assert not reader.is_alive()
    assert time.monotonic() - begun < 3
    assert outcome[-1] is None or isinstance(outcome[-1], DeviceError)


def test_address_where_nothing_is_is_a_device_error_with_a_remedy_soon(rig: Rig) -> None:
    begun = time.monotonic()
    with pytest.raises(DeviceError) as caught:
        rig.stranger.open()
    assert time.monotonic() - begun < 5
    assert caught.value.remedy
    rig.stranger.close()


def test_camera_that_goes_away_is_a_device_error_until_it_is_back(camera: Rig) -> None:
    assert camera.lose is not None
    before = frames_of(camera)[-1].trigger_number
    camera.lose()
    lost = until_lost(camera.source, within_s=5)
    assert lost.remedy
    assert lost.code == "source-gone"
    camera.source.close()
    with pytest.raises(DeviceError):
        camera.source.open()
    camera.source.close()
    camera.come_back()
    opened_again(camera.source)
    camera.feed()
    assert read(camera.source).trigger_number > before
