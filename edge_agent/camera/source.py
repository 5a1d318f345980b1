# SPDX-License-Identifier: Apache-2.0
"""The seam to cameras: what a frame is and what every frame source promises.

No camera is opened here. Implementations: `simulated`, `replay`, `video`, `opencv`, `mqtt`, `genicam`. The grab thread
of the loop is the only caller; it reopens a source that failed, with a growing pause. Every implementation is held to
what stands here by `tests/edge/camera/test_battery.py`.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from edge_agent.recipes.recipe import Recipe


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
        is_missed: a trigger announced the part, and no picture of it came.
        recipe: how it is inspected; bound when it is grabbed, by what held when it was captured. Sources leave it out.
    """

    pixels: NDArray[np.uint8] | None
    captured_at: datetime
    captured_monotonic: float
    trigger_number: int
    part_id: str | None = None
    product: str | None = None
    is_simulated: bool = False
    fault: str = ""
    is_missed: bool = False
    recipe: Recipe | None = None


class FrameSource(Protocol):
    """A camera. Used by one thread; every call returns within its time so that the station can stop.

    Only `close` may come from another thread while one is in `read`; the read then ends soon.
    """

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
            DeviceError: the camera is gone, or was not opened; close and open again.
        """
        ...

    def close(self) -> None:
        """Let go of the camera. Never raises; may be called twice."""
        ...


class SoftwareTriggered(Protocol):
    """A frame source whose camera can be asked for a frame. Not every source is one."""

    def fire(self) -> None:
        """Ask the camera for one frame, now. It comes through `read`. May be called from another thread.

        Raises:
            DeviceError: the camera is not open, does not take software triggers, or did not answer; no frame comes.
        """
        ...


@runtime_checkable
class SeesPartsWithoutCamera(Protocol):
    """A source that hears of parts also while its camera is away: they pass unseen, and must be reported."""

    def read_away(self, timeout_s: float) -> list[Frame]:
        """Parts that have passed unseen, as frames without pixels. Takes `timeout_s`. Never raises."""
        ...


@runtime_checkable
class Adjustable(Protocol):
    """A source whose camera takes exposure and gain, besides being a `FrameSource`."""

    def adjust(self, *, exposure_us: float | None, gain_db: float | None) -> None:
        """Set what is given; every frame that `read` gives from now on was taken so. Called while it is open.

        Raises:
            DeviceError: the camera does not take it; the text says its range.
        """
        ...
