# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from edge_agent.camera.opencv import OpenCvSource
from edge_agent.camera.pacing import Pace
from edge_agent.camera.replay import ReplaySource
from edge_agent.camera.video import VideoSource
from edge_agent.clock import SystemClock
from edge_agent.errors import DeviceError
from tests.edge.camera import rigs
from tests.edge.camera.rigs import FRAMES, read
from tests.fakes.clock import FakeClock


def test_folder_that_loops_goes_on_counting(tmp_path: Path) -> None:
    with rigs.replay(tmp_path):
        source = ReplaySource(tmp_path, SystemClock(), rate_hz=0, is_looping=True)
        source.open()
        frames = [read(source) for _ in range(2 * FRAMES)]
    assert [frame.trigger_number for frame in frames] == list(range(2 * FRAMES))
    assert [frame.part_id for frame in frames] == ["0.png", "1.png", "2.png"] * 2


def test_broken_picture_in_a_folder_is_a_part_without_pixels(tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff not a jpeg")
    source = ReplaySource(tmp_path, SystemClock(), rate_hz=0)
    source.open()
    frame = read(source)
    assert frame.pixels is None
    assert frame.fault


def test_folder_without_pictures_is_a_device_error_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="no pictures") as caught:
        ReplaySource(tmp_path, SystemClock()).open()
    assert caught.value.remedy


def test_folder_opened_again_goes_on_where_it_was(tmp_path: Path) -> None:
    with rigs.replay(tmp_path) as rig:
        rig.source.open()
        first = read(rig.source)
        rig.source.close()
        rig.source.open()
        assert (first.part_id, read(rig.source).part_id) == ("0.png", "1.png")


def test_video_that_loops_goes_on_counting(tmp_path: Path) -> None:
    with rigs.video(tmp_path):
        source = VideoSource(tmp_path / "video.avi", SystemClock(), is_looping=True)
        source.open()
        numbers = [read(source).trigger_number for _ in range(2 * FRAMES)]
        source.close()
    assert numbers == list(range(2 * FRAMES))


@pytest.mark.parametrize("url", ["missing.avi", "97"])
def test_camera_that_cannot_be_opened_is_a_device_error_with_a_remedy(tmp_path: Path, url: str) -> None:
    target = url if url.isdigit() else str(tmp_path / url)
    with pytest.raises(DeviceError) as caught:
        OpenCvSource(target, SystemClock()).open()
    assert caught.value.remedy


def test_pace_beats_at_its_rate_and_makes_up_for_nothing() -> None:
    clock = FakeClock()
    pace = Pace(clock, 10)
    pace.start()
    beats = 0
    for _ in range(100):
        beats += pace.wait(0.0)
        clock.advance(0.01)
    assert beats == pytest.approx(10, abs=1)
    clock.advance(5)
    assert [pace.wait(0.0) for _ in range(3)] == [True, False, False]
