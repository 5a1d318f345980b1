# SPDX-License-Identifier: Apache-2.0
"""A video file played as a camera at a steady rate.

Everything it gives is marked simulated, as pictures of a folder are (`camera.replay`). Live cameras are the business of
`camera.opencv`. Each frame is one part, numbered on from the last number that the station recorded.
"""

import threading
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_agent.camera.decoding import to_bgr
from edge_agent.camera.pacing import Pace
from edge_agent.camera.source import Frame
from edge_agent.clock import Clock
from edge_agent.errors import DeviceError, SourceEnded


class VideoSource:
    """Frames of a video file.

    Args:
        path: the file.
        clock: the station's clock.
        rate_hz: frames per second; 0: as fast as they are asked for.
        is_looping: begin again at the end.
        first_trigger: number of the first frame.
        product: product of every frame.
    """

    def __init__(
        self,
        path: Path,
        clock: Clock,
        *,
        rate_hz: float = 0.0,
        is_looping: bool = False,
        first_trigger: int = 0,
        product: str | None = None,
    ) -> None:
        self._path = path
        self._clock = clock
        self._pace = Pace(clock, rate_hz)
        self._is_looping = is_looping
        self._next_trigger = first_trigger
        self._product = product
        self._capture: cv2.VideoCapture | None = None
        # OpenCV must not release a file that it reads.
        self._using = threading.Lock()

    def open(self) -> None:
        """Open the file. One that is open goes on where it was.

        Raises:
            DeviceError: OpenCV cannot read it.
        """
        if self._capture is None:
            capture = cv2.VideoCapture(str(self._path)) if self._path.is_file() else None
            if capture is None or not capture.isOpened():
                msg = f"{self._path} is no video that OpenCV can open"
                raise DeviceError(msg, remedy="correct source.url", code="source-gone")
            self._capture = capture
        self._pace.start()

    def read(self, timeout_s: float) -> Frame | None:
        """The next frame, or None when its time has not come.

        Raises:
            SourceEnded: the file is at its end and does not loop.
            DeviceError: not open.
        """
        if self._capture is None:
            msg = f"{self._path} is not open"
            raise DeviceError(msg, remedy="open it first", code="source-gone")
        if not self._pace.wait(timeout_s) or (pixels := self._next_pixels()) is None:
            return None
        trigger_number = self._next_trigger
        self._next_trigger += 1
        return Frame(
            pixels=pixels,
            captured_at=self._clock.now(),
            captured_monotonic=self._clock.monotonic(),
            trigger_number=trigger_number,
            product=self._product,
            is_simulated=True,
        )

    def close(self) -> None:
        """Close the file. It loses its place."""
        self._pace.stop()
        with self._using:
            if self._capture is not None:
                self._capture.release()
                self._capture = None

    def _next_pixels(self) -> NDArray[np.uint8] | None:
        """None: the file was closed meanwhile."""
        with self._using:
            capture = self._capture
            if capture is None:
                return None
            is_read, pixels = capture.read()
            if not is_read and self._is_looping:
                capture.set(cv2.CAP_PROP_POS_FRAMES, 0)
                is_read, pixels = capture.read()
        if not is_read or pixels is None:
            raise SourceEnded(f"{self._path} is at its end", remedy="set source.loop = true to begin again")
        # A copy: some decoders hand out their own buffer and write the next frame into it.
        return np.array(to_bgr(pixels.astype(np.uint8, copy=False)))
