# SPDX-License-Identifier: Apache-2.0
"""What can go wrong at a station, split by who must act.

    EdgeError
    ├── SettingsError     the settings are wrong: a person corrects them, the program does not start
    ├── TrustError        the package, signature or message is wrong: never retry, report
    ├── TransportError    a link is down: retry with a growing pause
    └── DeviceError       camera, disk or accelerator: raise a station fault, park, let a person look
        ├── ImageFaultError   one frame is not fit to be judged
        ├── InferenceError    one image could not be judged; the session itself may be fine
        └── SourceEnded       a finite frame source has no more frames (not a fault)

Holds no behaviour and logs nothing. Foreign exceptions are wrapped at the seam that met them. Raised all
over the station; turned into `StationFault`s by `monitor.health` and into verdict causes by `loop`.
"""

import numpy as np
from numpy.typing import NDArray

from contracts.vocabulary import ImageFault


class EdgeError(Exception):
    """Root of the station's own errors.

    Args:
        message: what was expected and what came instead.
        remedy: what a person should do about it; may be empty.
        code: short lower-case name under which the fault is reported.
    """

    default_code = "edge-error"

    def __init__(self, message: str, *, remedy: str = "", code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.code = code or self.default_code

    def __str__(self) -> str:
        return f"{self.message}. Remedy: {self.remedy}" if self.remedy else self.message


class SettingsError(EdgeError):
    """The settings cannot be used. `faults` holds every fault found, one line each."""

    default_code = "settings"

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults), remedy="correct these settings and start again")
        self.faults = tuple(faults)


class TrustError(EdgeError):
    """What came is not what it claims to be, or not for this station. Never retry; report it."""

    default_code = "trust"


class TransportError(EdgeError):
    """A link is down or slow. Retry later with a growing pause."""

    default_code = "transport"


class DeviceError(EdgeError):
    """Something of this station's own hardware or runtime failed. Raise a fault and park."""

    default_code = "device"


class ImageFaultError(DeviceError):
    """One frame is not fit to be judged. The part becomes NO_DECISION; never fold it into NG.

    Args:
        fault: its name for reports and counts.

    `picture`, uint8 H × W × 3 BGR or None: what a person should look at. Set by who knows the frame.
    """

    default_code = "image-fault"

    def __init__(self, message: str, *, remedy: str = "", fault: ImageFault = ImageFault.OTHER) -> None:
        super().__init__(message, remedy=remedy)
        self.fault = fault
        self.picture: NDArray[np.uint8] | None = None


class InferenceError(DeviceError):
    """One image could not be judged. The part becomes NO_DECISION; the station goes on."""

    default_code = "inference"


class SourceEnded(DeviceError):  # noqa: N818 - an ending, not an error
    """A finite source (folder, video file) has played its last frame."""

    default_code = "source-ended"
