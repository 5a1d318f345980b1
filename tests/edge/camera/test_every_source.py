# SPDX-License-Identifier: Apache-2.0
"""The battery that every `FrameSource` passes."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from edge_agent.clock import SystemClock
from edge_agent.errors import SourceEnded
from tests.edge.camera.rigs import FRAMES, RIGS, Rig, read


@pytest.fixture(params=RIGS, ids=lambda make: make.__name__)
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    make: Callable[[Path], AbstractContextManager[Rig]] = request.param
    with make(tmp_path) as made:
        yield made


def test_gives_each_frame_once_in_order_numbered_without_gaps(rig: Rig) -> None:
    rig.source.open()
    rig.feed()
    frames = [read(rig.source) for _ in range(FRAMES)]
    assert [frame.trigger_number for frame in frames] == list(range(rig.first, rig.first + FRAMES))


def test_pixels_are_bgr_bytes_that_belong_to_the_frame_alone(rig: Rig) -> None:
    rig.source.open()
    rig.feed()
    first = read(rig.source)
    assert first.pixels is not None
    kept = first.pixels.copy()
    rest = [read(rig.source) for _ in range(FRAMES - 1)]
    assert first.pixels.dtype == np.uint8
    assert first.pixels.shape == (48, 64, 3)
    assert np.array_equal(first.pixels, kept)
    assert not any(np.array_equal(first.pixels, frame.pixels) for frame in rest if frame.pixels is not None)


def test_times_are_aware_utc_and_agree_with_the_monotonic_clock(rig: Rig) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    rig.source.open()
    rig.feed()
    frames = [read(rig.source) for _ in range(FRAMES)]
    now_s = SystemClock().monotonic()
    for frame in frames:
        assert frame.captured_at.utcoffset() == timedelta(0)
        assert before <= frame.captured_at
        assert frame.captured_monotonic <= now_s
    assert [frame.captured_at for frame in frames] == sorted(frame.captured_at for frame in frames)


def test_simulated_mark_and_product_ride_with_every_frame(rig: Rig) -> None:
    rig.source.open()
    rig.feed()
    for _ in range(FRAMES):
        frame = read(rig.source)
        assert frame.is_simulated is rig.is_simulated
        assert frame.product == "ring"


def test_nothing_is_invented_after_the_last_frame(rig: Rig) -> None:
    rig.source.open()
    rig.feed()
    for _ in range(FRAMES):
        read(rig.source)
    if rig.is_finite:
        with pytest.raises(SourceEnded):
            rig.source.read(0.05)
    else:
        assert rig.source.read(0.05) is None


def test_close_may_come_twice_and_open_again_after_it(rig: Rig) -> None:
    rig.source.close()
    rig.source.open()
    rig.source.close()
    rig.source.close()
    rig.source.open()
    rig.feed()
    assert read(rig.source).trigger_number == rig.first
