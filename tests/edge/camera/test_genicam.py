# SPDX-License-Identifier: Apache-2.0
"""GenICam cameras, against Aravis' own fake GigE Vision camera."""

import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from edge_agent.camera.genicam import FiringGenicamSource, GenicamSource
from edge_agent.camera.source import Adjustable, Frame
from edge_agent.clock import SystemClock
from edge_agent.errors import DeviceError
from edge_agent.source_settings import GenicamSettings
from tests.edge.camera.gige import (
    ADDRESS,
    HEIGHT_PX,
    WIDTH_PX,
    FakeGigeCamera,
    fake_gige_camera,
    opened,
    opened_to_fire,
    refused,
)
from tests.edge.camera.rigs import opened_again, read, until_lost

pytestmark = pytest.mark.genicam


@pytest.fixture
def camera() -> Iterator[FakeGigeCamera]:
    with fake_gige_camera("GV07") as made:
        yield made


def frames(source: GenicamSource, count: int) -> list[Frame]:
    return [read(source) for _ in range(count)]


@pytest.mark.parametrize("name", ["Mono8", "RGB8", "BayerBG8", "BayerGB8", "BayerGR8", "BayerRG8"])
@pytest.mark.usefixtures("camera")
def test_every_format_of_the_camera_becomes_bgr(name: str) -> None:
    with opened(pixel_format=name) as source:
        pixels = read(source).pixels
    assert pixels is not None
    assert pixels.shape == (HEIGHT_PX, WIDTH_PX, 3)
    is_grey = np.array_equal(pixels[:, :, 0], pixels[:, :, 2])
    assert is_grey == (name == "Mono8")


@pytest.mark.usefixtures("camera")
def test_red_and_blue_of_the_camera_are_not_mixed_up() -> None:
    """Its test picture runs from blue through green to red and begins anew: where green falls, red is full."""
    with opened(pixel_format="RGB8") as source:
        pixels = read(source).pixels
    assert pixels is not None
    blue, green, red = (pixels[:, :, channel].astype(int) for channel in range(3))
    is_falling = (np.diff(green, axis=1) < 0) & (np.diff(green, axis=1) > -50)
    assert is_falling.any()
    assert red[:, 1:][is_falling].mean() > 250
    assert blue[:, 1:][is_falling].mean() < 5


@pytest.mark.usefixtures("camera")
def test_exposure_and_gain_reach_the_camera() -> None:
    """The fake camera multiplies its picture by 1 + gain + log10(exposure / 10 ms)."""
    with opened(exposure_us=10_000.0, gain_db=0.0) as source:
        plain = read(source).pixels
    with opened(exposure_us=1_000.0, gain_db=0.0) as source:
        dark = read(source).pixels
    with opened(exposure_us=10_000.0, gain_db=2.0) as source:
        bright = read(source).pixels
    assert plain is not None
    assert dark is not None
    assert bright is not None
    assert int(dark.max()) == 0
    assert 80 < plain.mean() < 160
    assert bright.mean() > plain.mean() * 1.2


@pytest.mark.usefixtures("camera")
def test_every_frame_after_an_adjustment_was_taken_so_and_those_before_are_gaps() -> None:
    """The fake camera's ramp is as dark as can be with 1 ms and saturates with more gain."""
    with opened(exposure_us=1_000.0, gain_db=0.0, rate_hz=50.0) as source:
        assert isinstance(source, Adjustable)
        before = read(source)
        time.sleep(0.3)  # frames pile up that were taken with the old exposure
        source.adjust(exposure_us=10_000.0, gain_db=None)
        after = frames(source, 5)
    assert before.pixels is not None
    assert before.pixels.max() == 0
    for frame in after:
        assert frame.pixels is not None
        assert frame.pixels.mean() > 50
    assert after[0].trigger_number > before.trigger_number + 5


@pytest.mark.usefixtures("camera")
def test_adjustment_to_what_is_set_costs_no_frame() -> None:
    with opened_to_fire(exposure_us=5_000.0, gain_db=1.0) as source:
        source.adjust(exposure_us=5_000.0, gain_db=None)
        source.fire()
        assert read(source, timeout_s=3).trigger_number == 0


@pytest.mark.usefixtures("camera")
def test_adjustment_that_the_camera_does_not_take_is_refused_with_its_range() -> None:
    with opened() as source:
        with pytest.raises(DeviceError, match="gain_db: this camera takes 0 … 10, got 77"):
            source.adjust(exposure_us=None, gain_db=77.0)
        assert read(source).pixels is not None
    with pytest.raises(DeviceError, match="not open"):
        source.adjust(exposure_us=1_000.0, gain_db=None)


@pytest.mark.usefixtures("camera")
def test_rate_of_the_settings_is_that_of_the_camera() -> None:
    with opened(rate_hz=10.0) as source:  # by itself it takes 25
        taken = frames(source, 6)
    assert 0.4 < taken[-1].captured_monotonic - taken[0].captured_monotonic < 2


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"exposure_us": 5e7}, "exposure_us: this camera takes 10 … 1e+07, got 5e+07"),
        ({"gain_db": 11.0}, "gain_db: this camera takes 0 … 10, got 11"),
        ({"pixel_format": "BGR8"}, "source.pixel_format: the camera does not offer BGR8, but BayerBG8"),
        (
            {"trigger": "hardware", "trigger_line": "Line7"},
            "source.trigger_line: the camera cannot be triggered by 'Line7', but by Line0, Software",
        ),
    ],
    ids=["exposure", "gain", "format", "line"],
)
@pytest.mark.usefixtures("camera")
def test_value_that_the_camera_does_not_take_is_refused_with_what_it_takes(settings: dict[str, Any], said: str) -> None:
    assert refused(**settings).message.startswith(said)
    with opened() as source:  # and the camera is free again
        assert read(source).pixels is not None


@pytest.mark.usefixtures("camera")
def test_rate_that_the_camera_does_not_take_is_refused_with_its_range() -> None:
    assert "source.rate_hz: this camera takes 0.1 … 1000" in refused(rate_hz=0.01).message


@pytest.mark.usefixtures("camera")
def test_camera_that_another_holds_is_refused_and_says_so() -> None:
    with opened():
        assert "held by another program" in refused().message


@pytest.mark.usefixtures("camera")
def test_software_trigger_gives_one_frame_each() -> None:
    with opened_to_fire() as source:
        assert source.read(0.3) is None
        for expected in range(3):
            source.fire()
            assert read(source).trigger_number == expected
        assert source.read(0.3) is None


@pytest.mark.usefixtures("camera")
def test_trigger_may_be_fired_while_another_thread_reads() -> None:
    with opened_to_fire() as source:
        firing = threading.Timer(0.3, source.fire)
        firing.start()
        frame = source.read(10)
        firing.join()
    assert frame is not None


@pytest.mark.usefixtures("camera")
def test_only_a_camera_that_is_set_to_it_can_be_fired_and_only_while_open() -> None:
    with opened() as source:
        assert not hasattr(source, "fire")
    with opened_to_fire() as firing:
        pass
    with pytest.raises(DeviceError, match="not open"):
        firing.fire()


@pytest.mark.usefixtures("camera")
def test_line_that_triggers_makes_the_camera_wait_for_it() -> None:
    with opened(trigger="hardware", trigger_line="Line0") as source:
        assert source.read(0.5) is None
    with opened() as source:  # back to free run, as the settings say
        assert read(source).pixels is not None


def test_incomplete_picture_is_a_part_without_pixels_and_lost_ones_are_gaps() -> None:
    with fake_gige_camera(lost_per_thousand=30), opened(rate_hz=50.0) as source:
        taken = frames(source, 80)
        incomplete, gaps = source.incomplete, source.gaps
    without = [frame for frame in taken if frame.pixels is None]
    assert len(without) == incomplete > 0
    assert all("incomplete" in frame.fault for frame in without)
    assert any(frame.pixels is not None for frame in taken)
    numbers = [frame.trigger_number for frame in taken]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] - numbers[0] + 1 - len(numbers) == gaps


@pytest.mark.usefixtures("camera")
def test_whole_picture_is_the_only_one_that_is_given() -> None:
    """The fake camera's ramp has no holes."""
    with opened(rate_hz=50.0) as source:
        whole = [frame.pixels for frame in frames(source, 20) if frame.pixels is not None]
    assert len(whole) > 10
    for pixels in whole:
        steps = np.diff(pixels[:, :, 0].astype(int), axis=1)
        assert set(np.unique(steps)) <= {1, -254}


@pytest.mark.usefixtures("camera")
def test_frames_that_find_no_buffer_free_are_gaps_and_memory_stays_bounded() -> None:
    with opened(rate_hz=100.0, buffers=4) as source:
        first = read(source)
        time.sleep(1.0)
        after = [frame.trigger_number for frame in frames(source, 12)]
    steps = np.diff([first.trigger_number, *after])
    assert after == sorted(set(after))
    assert int((steps == 1).sum()) >= 3
    assert 10 < int(steps.max()) < 400


@pytest.mark.usefixtures("camera")
def test_ids_of_the_camera_turn_over_without_a_gap() -> None:
    """The fake camera begins at 65 400, so that its 16 bits turn over after 135 frames."""
    with opened(rate_hz=100.0, buffers=180) as source:
        numbers = [frame.trigger_number for frame in frames(source, 180)]
        gaps, recounts = source.gaps, source._ids.recounts
    assert numbers[-1] == numbers[0] + 179 + gaps
    assert gaps < 90  # a busy machine loses some, and an id that is misread is off by 65 535
    assert recounts == 0


@pytest.mark.usefixtures("camera")
def test_frame_that_waited_for_its_reader_is_as_old_as_it_is() -> None:
    with opened(rate_hz=20.0) as source:
        frames(source, 5)
        time.sleep(0.3)
        frame = read(source)
        age_s = SystemClock().monotonic() - frame.captured_monotonic
    assert 0.2 < age_s < 2


@pytest.mark.parametrize("go", [FakeGigeCamera.kill, FakeGigeCamera.freeze], ids=["killed", "frozen"])
def test_camera_that_falls_silent_is_noticed_within_three_seconds(
    camera: FakeGigeCamera, go: Callable[[FakeGigeCamera], None]
) -> None:
    with opened_to_fire() as source:
        source.fire()
        read(source)
        go(camera)
        begun = time.monotonic()
        assert "has gone" in until_lost(source, within_s=10).message
        assert time.monotonic() - begun < 3
        begun = time.monotonic()
        source.close()
        assert time.monotonic() - begun < 1


@pytest.mark.usefixtures("camera")
def test_silent_camera_that_is_there_is_not_lost() -> None:
    with opened_to_fire() as source:
        assert source.read(4.0) is None
        source.fire()
        assert read(source).pixels is not None


def test_camera_that_was_frozen_and_goes_on_is_opened_again(camera: FakeGigeCamera) -> None:
    with opened(rate_hz=50.0) as source:
        before = read(source).trigger_number
        camera.freeze()
        until_lost(source, within_s=10)
        camera.thaw()
        source.close()
        opened_again(source)
        assert read(source).trigger_number > before


@pytest.mark.usefixtures("camera")
def test_camera_whose_holder_was_killed_is_taken_over_once_its_heartbeat_has_ended() -> None:
    program = (
        "from edge_agent.camera.genicam import FiringGenicamSource, GenicamSource\n"
        "from edge_agent.clock import SystemClock\n"
        "from edge_agent.source_settings import GenicamSettings\n"
        f"source = GenicamSource('{ADDRESS}', GenicamSettings(), SystemClock())\n"
        "source.open()\n"
        "assert source.read(20) is not None\n"
        "print('running', flush=True)\n"
        "while True:\n"
        "    source.read(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"running\n"
        holder.kill()
    source = GenicamSource(ADDRESS, GenicamSettings(), SystemClock())
    opened_again(source)
    assert read(source).pixels is not None
    source.close()


@pytest.mark.usefixtures("camera")
def test_stream_that_a_packet_from_elsewhere_has_led_astray_is_opened_again() -> None:
    """A leader with an id ahead of the camera's: every frame of the camera then counts as late."""
    with opened_to_fire() as source:
        assert source._session is not None
        port = source._session.stream.get_port()
        stray = struct.pack(">HHI", 0, 65_450, 0x01000000) + bytes(36)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as elsewhere:
            elsewhere.sendto(stray, (ADDRESS, port))
        give_up_at = time.monotonic() + 20
        with pytest.raises(DeviceError, match="make no pictures"):
            fire_until(source, give_up_at)
        source.close()
        source.open()
        source.fire()
        assert read(source).pixels is not None


def fire_until(source: FiringGenicamSource, give_up_at: float) -> None:
    while time.monotonic() < give_up_at:
        source.fire()
        source.read(0.2)
