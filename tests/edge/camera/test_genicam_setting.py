# SPDX-License-Identifier: Apache-2.0
"""What is said to a camera before it runs, with a made-up one for what the fake one does not mind."""

from typing import Any

import pytest

from edge_agent.camera.genicam_setting import set_camera
from edge_agent.camera.pixel_formats import CODES
from edge_agent.errors import DeviceError
from edge_agent.source_settings import GenicamSettings
from tests.edge.camera.gige import need_aravis

pytestmark = pytest.mark.genicam
MONO_12 = 0x01100005


class MadeUpCamera:
    """Writes down what is said to it; answers what is asked as a camera of this kind does."""

    def __init__(self, *, code: int = CODES["BGR8"], is_running: bool = False, is_usb: bool = False) -> None:
        self.said: dict[str, Any] = {}
        self.code = code
        self.is_running = is_running
        self.is_usb = is_usb

    def __getattr__(self, name: str) -> Any:
        if name.startswith("is_"):
            return lambda *_: True
        if name.startswith(("set_", "gv_set_", "clear_")):
            return lambda *values: self._write(name, values)
        raise AttributeError(name)

    def _write(self, name: str, values: tuple[Any, ...]) -> None:
        if self.is_running:
            msg = "locked while the camera runs"
            raise RuntimeError(msg)
        self.said[name] = values[0] if values else None

    def is_gv_device(self) -> bool:
        return not self.is_usb

    def stop_acquisition(self) -> None:
        self.is_running = False

    def get_pixel_format(self) -> int:
        return self.code

    def get_pixel_format_as_string(self) -> str:
        return "Mono12"

    def dup_available_pixel_formats_as_strings(self) -> list[str]:
        return ["Mono12", "BGR8", "Mono8"]

    def dup_available_triggers(self) -> list[str]:
        return ["FrameStart"]

    def dup_available_trigger_sources(self) -> list[str]:
        return ["Line0", "Line1", "Software"]

    def get_exposure_time_bounds(self) -> tuple[float, float]:
        return 20.0, 1e6

    def get_gain_bounds(self) -> tuple[float, float]:
        return -6.0, 24.0

    def get_frame_rate_bounds(self) -> tuple[float, float]:
        return 1.0, 60.0


@pytest.fixture(autouse=True)
def _library() -> None:
    need_aravis()


def test_camera_that_still_runs_is_stopped_before_it_is_set() -> None:
    camera = MadeUpCamera(is_running=True)
    set_camera(camera, GenicamSettings(pixel_format="Mono8", exposure_us=100), 0)
    assert camera.said["set_pixel_format_from_string"] == "Mono8"


def test_automatic_exposure_and_gain_are_ended_when_values_are_given() -> None:
    camera = MadeUpCamera()
    set_camera(camera, GenicamSettings(exposure_us=100, gain_db=-3), 0)
    assert int(camera.said["set_exposure_time_auto"]) == int(camera.said["set_gain_auto"]) == 0
    assert (camera.said["set_exposure_time"], camera.said["set_gain"]) == (100, -3)


def test_what_the_settings_leave_open_is_not_touched() -> None:
    camera = MadeUpCamera()
    set_camera(camera, GenicamSettings(), 0)
    assert set(camera.said) == {"set_acquisition_mode", "clear_triggers"}


@pytest.mark.parametrize(
    ("settings", "source"),
    [
        (GenicamSettings(trigger="hardware", trigger_line="Line1"), "Line1"),
        (GenicamSettings(trigger="software"), "Software"),
    ],
)
def test_trigger_of_the_settings_is_that_of_the_camera(settings: GenicamSettings, source: str) -> None:
    camera = MadeUpCamera()
    set_camera(camera, settings, 0)
    assert camera.said["set_trigger"] == source


@pytest.mark.parametrize("is_usb", [True, False])
def test_packet_size_is_said_to_network_cameras_only(*, is_usb: bool) -> None:
    camera = MadeUpCamera(is_usb=is_usb)
    set_camera(camera, GenicamSettings(packet_size_bytes=9000), 25.0)
    assert camera.said.get("gv_set_packet_size") == (None if is_usb else 9000)
    assert camera.said["set_frame_rate"] == 25.0


def test_format_of_the_camera_that_is_not_taken_is_refused_with_those_that_are() -> None:
    with pytest.raises(DeviceError, match="set to Mono12, which is not taken") as caught:
        set_camera(MadeUpCamera(code=MONO_12), GenicamSettings(), 0)
    assert caught.value.remedy == "set source.pixel_format to one of BGR8, Mono8"


def test_refusal_of_the_camera_names_the_setting() -> None:
    class Stubborn(MadeUpCamera):
        def get_gain_bounds(self) -> tuple[float, float]:
            msg = "no such feature"
            raise RuntimeError(msg)

    with pytest.raises(DeviceError, match="gain_db: the camera refused it: no such feature"):
        set_camera(Stubborn(), GenicamSettings(gain_db=1), 0)
