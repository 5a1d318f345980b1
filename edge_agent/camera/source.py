# SPDX-License-Identifier: Apache-2.0
"""The seam to cameras: what a frame is and what every frame source promises.

No camera is opened here. Implementations: `simulated`, `replay`, `opencv`, `mqtt`. The grab thread of the loop
is the only caller; it reopens a source that failed, with a growing pause.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Frame:
    """One part as the camera saw it.

    Args:
        pixels: uint8 H × W × 3 BGR; None when the picture is unreadable (`fault` says why). The part passed all
            the same, so the frame still counts.
        captured_at: aware UTC time of the part.
        captured_monotonic: the same moment on the station's monotonic clock, seconds.
        trigger_number: counts parts at the camera; a gap is a part that was not seen.
        part_id: name of the physical thing, when the line knows it.
        product: type of the part, when the camera knows it.
        is_simulated: not a real part on a real line.
        fault: why `pixels` is None.
    """

    pixels: NDArray[np.uint8] | None
    captured_at: datetime
    captured_monotonic: float
    trigger_number: int
    part_id: str | None = None
    product: str | None = None
    is_simulated: bool = False
    fault: str = ""


class FrameSource(Protocol):
    """A camera. Used by one thread; every call returns within its time so that the station can stop."""

    def open(self) -> None:
        """Connect. May be called again after `close` or a failure.

        Raises:
            DeviceError: the camera cannot be reached now; its `remedy` says what to do. Try again later.
        """
        ...

    def read(self, timeout_s: float) -> Frame | None:
        """The next frame, or None when none came within `timeout_s`. Never invents or repeats one.

        Raises:
            SourceEnded: a finite source has played its last frame.
            DeviceError: the camera is gone; close and open again.
        """
        ...

    def close(self) -> None:
        """Let go of the camera. Never raises; may be called twice."""
        ...
