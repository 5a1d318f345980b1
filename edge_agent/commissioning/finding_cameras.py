# SPDX-License-Identifier: Apache-2.0
"""Which cameras this machine has, for the person who chooses one.

Opens each USB camera for a moment and lets go of it; only those that give a picture are offered. GenICam cameras are
asked for where that kind of source is built in. Used by `init`.
"""

import importlib
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edge_agent.camera.opencv import OpenCvSource
from edge_agent.clock import Clock
from edge_agent.errors import EdgeError

_OPEN_S: Final = 4.0
_GENICAM: Final = "genicam"
_GENICAM_FINDER: Final = "edge_agent.camera.aravis"


@dataclass(frozen=True)
class Offer:
    """One line to choose from. `url` None: it is asked for."""

    kind: str
    url: str | None
    text: str


def offers(clock: Clock, devices: Path = Path("/dev")) -> list[Offer]:
    """Cameras that were found, then the kinds that have an address of their own."""
    found = [*_usb(clock, devices), *_genicam()]
    return [
        *found,
        Offer("replay", None, "a folder of pictures"),
        Offer("opencv", None, "a network camera (rtsp:// or http://), or a video file"),
        Offer("mqtt", "", "a camera that sends its pictures to the broker"),
    ]


def _usb(clock: Clock, devices: Path) -> list[Offer]:
    numbers = sorted(int(path.name[5:]) for path in devices.glob("video*") if path.name[5:].isdigit())
    found = []
    for number in numbers:
        seen: list[str] = []
        thread = threading.Thread(target=_try, args=(str(number), clock, seen), daemon=True)
        thread.start()
        thread.join(_OPEN_S)
        if seen:
            found.append(Offer("opencv", str(number), f"USB camera {number} ({seen[0]})"))
    return found


def _try(number: str, clock: Clock, seen: list[str]) -> None:
    source = OpenCvSource(number, clock)
    try:
        source.open()
        frame = source.read(1.0)
        if frame is not None and frame.pixels is not None:
            seen.append(f"{frame.pixels.shape[1]} × {frame.pixels.shape[0]} px")
    except EdgeError:
        # Many cameras have a second device that gives no pictures.
        return
    finally:
        source.close()


def _genicam() -> list[Offer]:
    try:
        cameras: list[Any] = importlib.import_module(_GENICAM_FINDER).find_cameras()
    except (ImportError, AttributeError, EdgeError):
        # Not built in, or its library is not installed: then none can be opened either.
        return []
    return [Offer(_GENICAM, str(camera.device_id), f"GenICam camera {camera}") for camera in cameras]
