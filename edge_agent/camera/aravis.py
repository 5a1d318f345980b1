# SPDX-License-Identifier: Apache-2.0
"""Finds GenICam cameras through Aravis, a library of its own that is loaded when it is first needed.

Aravis speaks GigE Vision and USB3 Vision; it is reached by GObject introspection, so nothing of it is built into the
station, and a station without such a camera needs neither it nor PyGObject. Opens no camera's stream; `camera.genicam`
does. Used by `camera.genicam` and by the command that lists cameras.
"""

import importlib
import re
import threading
from dataclasses import dataclass
from typing import Any, Final

from edge_agent.errors import DeviceError

# GLib.Error, which every refusal of Aravis is, derives from it; a constructor that gives nothing raises TypeError.
REFUSALS: Final = (RuntimeError, TypeError)
# Aravis keeps one list of devices for the process, and several stations may search in it.
_SEARCHING: Final = threading.Lock()
_IPV4: Final = re.compile(r"\d{1,3}(\.\d{1,3}){3}")
_REMEDY: Final = (
    "check cable, power and network of the camera, or correct source.url (sightline-edge cameras lists them)"
)
_INSTALL: Final = (
    "install Aravis and PyGObject: on Debian or Ubuntu `apt-get install gir1.2-aravis-0.8 libgirepository1.0-dev "
    'libcairo2-dev pkg-config gcc python3-dev`, then `pip install "sightline[genicam]"`'
)


@dataclass(frozen=True)
class FoundCamera:
    """A GenICam camera that answered.

    Args:
        device_id: Aravis' name of it; unique, taken by source.url.
        vendor: as the camera says.
        model: as the camera says.
        serial: serial number.
        address: IP address, or place on the USB.
        hardware_address: MAC address, or USB identity.
        protocol: GigEVision or USB3Vision.
    """

    device_id: str
    vendor: str
    model: str
    serial: str
    address: str
    hardware_address: str
    protocol: str

    def is_called(self, name: str) -> bool:
        """Whether source.url names this camera."""
        return name in (self.device_id, self.serial, self.address, self.hardware_address)

    def __str__(self) -> str:
        return f"{self.device_id} (serial {self.serial}, {self.address})"


def load_aravis() -> Any:
    """The library.

    Raises:
        DeviceError: it, or PyGObject, is not installed; the remedy says what to install.
    """
    try:
        gi = importlib.import_module("gi")
        gi.require_version("Aravis", "0.8")
        return importlib.import_module("gi.repository.Aravis")
    except (ImportError, ValueError) as error:
        msg = f"GenICam cameras need Aravis 0.8 and PyGObject, which are not both installed ({error})"
        raise DeviceError(msg, remedy=_INSTALL, code="source-library") from error


def find_cameras() -> list[FoundCamera]:
    """Cameras that answer within a second, on every network of this machine and on the USB.

    Raises:
        DeviceError: Aravis is not installed.
    """
    aravis = load_aravis()
    with _SEARCHING:
        aravis.update_device_list()
        found = [
            FoundCamera(
                device_id=aravis.get_device_id(index) or "",
                vendor=aravis.get_device_vendor(index) or "",
                model=aravis.get_device_model(index) or "",
                serial=aravis.get_device_serial_nbr(index) or "",
                address=aravis.get_device_address(index) or "",
                hardware_address=aravis.get_device_physical_id(index) or "",
                protocol=aravis.get_device_protocol(index) or "",
            )
            for index in range(aravis.get_n_devices())
        ]
    return sorted(found, key=lambda camera: camera.device_id)


def connect(name: str) -> Any:
    """An `Aravis.Camera` that this process controls.

    Args:
        name: device id, serial number, IP or hardware address; "" for the only one there is. An IP address is gone to
            straight away, so it may lie behind a router, where no search gets.

    Raises:
        DeviceError: none or several answer to the name, or another program holds the camera. Within four seconds.
    """
    aravis = load_aravis()
    device_id = name if _IPV4.fullmatch(name) else _choose(name, find_cameras()).device_id
    try:
        camera = aravis.Camera.new(device_id)
        device = camera.get_device()
        is_ours = not camera.is_gv_device() or device.is_controller()
    except REFUSALS as error:
        raise gone(name, f"cannot be reached: {error}") from error
    if not is_ours:
        # The error must not hold it: a camera object takes seconds to end when the camera is gone by then.
        del camera, device
        msg = f"camera {name!r} is held by another program"
        raise DeviceError(msg, remedy="end the other program, or wait until it lets go", code="source-gone")
    return camera


def gone(name: str, why: str) -> DeviceError:
    """The error of a camera that is not, or no longer, there."""
    return DeviceError(f"camera {name!r} {why}", remedy=_REMEDY, code="source-gone")


def _choose(name: str, found: list[FoundCamera]) -> FoundCamera:
    fitting = [camera for camera in found if not name or camera.is_called(name)]
    if len(fitting) == 1:
        return fitting[0]
    listed = ", ".join(str(camera) for camera in fitting or found)
    if fitting:
        remedy = "set source.url to the id, serial number or address of one of them"
        wanted = f"answer to {name!r}" if name else "were found, and source.url names none"
        raise DeviceError(f"{len(fitting)} cameras {wanted}: {listed}", remedy=remedy, code="source-url")
    if found:
        raise gone(name, f"was not found; these were: {listed}")
    raise DeviceError(f"no GenICam camera was found (source.url {name!r})", remedy=_REMEDY, code="source-gone")
