# SPDX-License-Identifier: Apache-2.0
"""Lists the cameras that a station on this machine could open, for a person who fills in `[source]`.

Looks at USB cameras by opening them, so one that another program holds is not listed. Sets nothing and ends within six
seconds. Called by the command `sightline-edge cameras`.
"""

import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import cv2

from edge_agent.camera.aravis import FoundCamera, find_cameras
from edge_agent.errors import DeviceError

# A driver may take its time over a camera that does not answer; the others are not kept waiting for it.
_USB_TIMEOUT_S: Final = 4.0
_DEVICES: Final = Path("/dev")


def describe_cameras() -> str:
    """What was found, and why nothing was, as lines for a person."""
    lines = ['GenICam cameras (source.kind = "genicam", source.url = id, serial number or address):']
    try:
        lines += [f"  {_line(camera)}" for camera in find_cameras()] or ["  none answered"]
    except DeviceError as error:
        lines.append(f"  not searched: {error}")
    lines.append('USB cameras (source.kind = "opencv", source.url = number):')
    lines += [f"  {number}" for number in usb_cameras(video_numbers())] or ["  none opens"]
    return "\n".join(lines)


def video_numbers(devices: Path = _DEVICES) -> list[int]:
    """Numbers of the video devices that the system has; many cameras have two, one of which gives no pictures."""
    names = [path.name.removeprefix("video") for path in devices.glob("video*")]
    return sorted(int(name) for name in names if name.isdigit())


def usb_cameras(
    numbers: Iterable[int], gives_frames: Callable[[int], bool] | None = None, *, timeout_s: float = _USB_TIMEOUT_S
) -> list[int]:
    """Those of the numbers under which a camera gives a frame, within `timeout_s` for all of them together."""
    opened: list[int] = []
    check = gives_frames or _gives_frames

    def look(number: int) -> None:
        if check(number):
            opened.append(number)

    threads = [threading.Thread(target=look, args=(number,), daemon=True) for number in numbers]
    for thread in threads:
        thread.start()
    share_s = timeout_s / max(1, len(threads))
    for thread in threads:
        thread.join(share_s)
    return sorted(opened)


def _gives_frames(number: int) -> bool:
    capture = cv2.VideoCapture(number)
    try:
        return capture.isOpened() and capture.read()[0]
    finally:
        capture.release()


def _line(camera: FoundCamera) -> str:
    return (
        f"{camera.device_id}: vendor {camera.vendor}, model {camera.model}, serial {camera.serial}, "
        f"address {camera.address}, {camera.protocol}"
    )
