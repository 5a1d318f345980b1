# SPDX-License-Identifier: Apache-2.0
"""Sets a GenICam camera as the settings say, and says so when the camera cannot be set like that.

Aravis writes a value out of range without a word and the camera does what it likes, so every range is asked first.
What the settings leave open stays as the camera has it. Called by `camera.genicam` after it has connected.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

from edge_agent.camera.aravis import REFUSALS, load_aravis
from edge_agent.camera.pixel_formats import CODES
from edge_agent.errors import DeviceError
from edge_agent.source_settings import GenicamSettings

_log = logging.getLogger(__name__)

_US_PER_S: Final = 1e6
# From the end of the exposure until the last packet is here, with room for a large sensor on a slow link.
_READOUT_S: Final = 0.2


def set_camera(camera: Any, settings: GenicamSettings, rate_hz: float) -> None:
    """Set the camera.

    Args:
        camera: an `Aravis.Camera`.
        settings: what to set.
        rate_hz: frames per second when it runs free; 0: as the camera has it.

    Raises:
        DeviceError: a value that this camera does not take, with what it takes; or the camera is gone.
    """
    aravis = load_aravis()
    # Whoever held it before may have been killed: a camera that still runs locks its settings, and may go on sending
    # to where nobody listens any more.
    with suppress(*REFUSALS):
        camera.stop_acquisition()
    with _named("source.pixel_format"):
        _set_pixel_format(camera, settings.pixel_format)
    with _named("source.trigger"):
        camera.set_acquisition_mode(aravis.AcquisitionMode.CONTINUOUS)
        _set_trigger(camera, settings)
    set_light(camera, settings.exposure_us, settings.gain_db)
    if rate_hz > 0:
        with _named("source.rate_hz"):
            _set_number("source.rate_hz", rate_hz, camera.get_frame_rate_bounds, camera.set_frame_rate)
    if settings.packet_size_bytes and camera.is_gv_device():
        with _named("source.packet_size"):
            camera.gv_set_packet_size(settings.packet_size_bytes)


def set_light(camera: Any, exposure_us: float | None, gain_db: float | None) -> None:
    """Set exposure and gain, those that are given, and end what the camera does to them by itself.

    Raises:
        DeviceError: this camera does not take the value; the text says its range.
    """
    auto = load_aravis().Auto
    if exposure_us is not None:
        with _named("exposure_us"):
            if camera.is_exposure_auto_available():
                camera.set_exposure_time_auto(auto.OFF)
            _set_number("exposure_us", exposure_us, camera.get_exposure_time_bounds, camera.set_exposure_time)
    if gain_db is not None:
        with _named("gain_db"):
            if camera.is_gain_auto_available():
                camera.set_gain_auto(auto.OFF)
            _set_number("gain_db", gain_db, camera.get_gain_bounds, camera.set_gain)


def longest_on_the_way_s(camera: Any) -> float:
    """How long a frame that the camera began before now may take to arrive, as far as the camera tells."""
    way_s = _READOUT_S
    with suppress(*REFUSALS):
        way_s += camera.get_exposure_time() / _US_PER_S
    return way_s


def _set_pixel_format(camera: Any, name: str) -> None:
    offered = list(camera.dup_available_pixel_formats_as_strings())
    usable = [offer for offer in offered if offer in CODES]
    if name and name not in offered:
        msg = f"source.pixel_format: the camera does not offer {name}, but {', '.join(offered)}"
        raise _unfit(msg, f"use one of {', '.join(usable)}" if usable else "this camera gives no format that is taken")
    if name:
        camera.set_pixel_format_from_string(name)
    elif camera.get_pixel_format() not in CODES.values():
        msg = f"source.pixel_format: the camera is set to {camera.get_pixel_format_as_string()}, which is not taken"
        raise _unfit(msg, f"set source.pixel_format to one of {', '.join(usable) or 'none that this camera offers'}")


def _set_trigger(camera: Any, settings: GenicamSettings) -> None:
    if settings.trigger == "free-run":
        if camera.dup_available_triggers():
            camera.clear_triggers()
        return
    source = settings.trigger_line if settings.trigger == "hardware" else "Software"
    offered = list(camera.dup_available_trigger_sources())
    if source not in offered:
        key = "source.trigger_line" if settings.trigger == "hardware" else "source.trigger"
        msg = f"{key}: the camera cannot be triggered by {source!r}, but by {', '.join(offered) or 'nothing'}"
        raise _unfit(msg, "use one of these")
    camera.set_trigger(source)


def _set_number(
    key: str, value: float, bounds: Callable[[], tuple[float, float]], write: Callable[[float], None]
) -> None:
    low, high = bounds()
    if not low <= value <= high:
        raise _unfit(f"{key}: this camera takes {low:g} … {high:g}, got {value:g}", "use a value within this range")
    write(value)
    _log.info("camera set %s=%g", key, value)


@contextmanager
def _named(key: str) -> Iterator[None]:
    """Say of which setting it was that the camera, or Aravis, would have none."""
    try:
        yield
    except REFUSALS as error:
        raise _unfit(f"{key}: the camera refused it: {error}", "correct the setting, or look at the camera") from error


def _unfit(message: str, remedy: str) -> DeviceError:
    return DeviceError(message, remedy=remedy, code="source-settings")
