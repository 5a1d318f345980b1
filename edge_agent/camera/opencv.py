# SPDX-License-Identifier: Apache-2.0
"""Cameras and videos that OpenCV opens: USB by number, RTSP/HTTP by URL, video files by path.

A free-running camera has no trigger: each frame taken is one part, numbered on from the last number that the
station recorded. What the driver drops inside itself cannot be seen here. Files end or loop and are marked
simulated; cameras do neither.
"""

from pathlib import Path
from typing import Final

import cv2
import numpy as np

from edge_agent.camera.decoding import to_bgr
from edge_agent.camera.pacing import Pace
from edge_agent.camera.source import Frame
from edge_agent.clock import Clock
from edge_agent.errors import DeviceError, SourceEnded

# FFmpeg alone waits 30 s by default; a station must notice a dead camera, and stop, sooner.
_NETWORK_TIMEOUT_MS: Final = 2000


class OpenCvSource:
    """A camera or a video file.

    Args:
        url: camera number ("0"), URL (`rtsp://…`) or path of a video file.
        clock: the station's clock.
        rate_hz: frames taken per second; 0: every frame the camera gives.
        is_looping: begin a file again at its end.
        first_trigger: number of the first frame.
        product: product of every frame.
    """

    def __init__(
        self,
        url: str,
        clock: Clock,
        *,
        rate_hz: float = 0.0,
        is_looping: bool = False,
        first_trigger: int = 0,
        product: str | None = None,
    ) -> None:
        self._url = url
        self._clock = clock
        self._is_file = not url.isdigit() and Path(url).is_file()
        self._rate_hz = rate_hz
        self._pace = Pace(clock, rate_hz)
        self._is_looping = is_looping
        self._next_trigger = first_trigger
        self._product = product
        self._capture: cv2.VideoCapture | None = None
        self._has_ended = False

    def open(self) -> None:
        """Open the camera or file. A file that was open before goes on where it was.

        Raises:
            DeviceError: OpenCV cannot open it.
        """
        if self._is_file and self._capture is not None:
            return
        self.close()
        capture = self._make_capture()
        if not capture.isOpened():
            capture.release()
            msg = f"OpenCV cannot open {self._url!r}"
            remedy = "check the cable, the number or URL in source.url, and that no other program holds the camera"
            raise DeviceError(msg, remedy=remedy, code="source-gone")
        self._capture = capture
        self._pace.start()

    def read(self, timeout_s: float) -> Frame | None:
        """The next frame, or None when its time has not come.

        Raises:
            SourceEnded: the file is at its end and does not loop.
            DeviceError: the camera gives no frames any more.
        """
        if self._capture is None:
            msg = f"{self._url!r} is not open"
            raise DeviceError(msg, code="source-gone")
        if not self._is_due(self._capture, timeout_s):
            return None
        is_read, pixels = self._capture.read()
        if not is_read and self._is_file and self._is_looping:
            self._capture.set(cv2.CAP_PROP_POS_FRAMES, 0)
            is_read, pixels = self._capture.read()
        if not is_read or pixels is None:
            raise self._no_more()
        trigger_number = self._next_trigger
        self._next_trigger += 1
        return Frame(
            # A copy: some drivers hand out their own buffer and write the next frame into it.
            pixels=np.array(to_bgr(pixels.astype(np.uint8, copy=False))),
            captured_at=self._clock.now(),
            captured_monotonic=self._clock.monotonic(),
            trigger_number=trigger_number,
            product=self._product,
            is_simulated=self._is_file,
        )

    def close(self) -> None:
        """Release the camera. A file loses its place."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None

    def _make_capture(self) -> cv2.VideoCapture:
        if self._url.isdigit():
            capture = cv2.VideoCapture(int(self._url))
            # The oldest frame of a full driver buffer is a part that has left already.
            capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
            return capture
        if self._is_file:
            return cv2.VideoCapture(self._url)
        limits = [
            cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
            _NETWORK_TIMEOUT_MS,
            cv2.CAP_PROP_READ_TIMEOUT_MSEC,
            _NETWORK_TIMEOUT_MS,
        ]
        return cv2.VideoCapture(self._url, cv2.CAP_FFMPEG, limits)

    def _is_due(self, capture: cv2.VideoCapture, timeout_s: float) -> bool:
        if self._rate_hz <= 0:
            return True
        if self._is_file:
            return self._pace.wait(timeout_s)
        # A live camera keeps filling its buffer: between beats frames are taken off unread.
        give_up_at = self._clock.monotonic() + timeout_s
        while not self._pace.wait(0.0):
            if not capture.grab():
                raise self._no_more()
            if self._clock.monotonic() >= give_up_at:
                return False
        return True

    def _no_more(self) -> DeviceError:
        if self._is_file:
            return SourceEnded(f"{self._url} is at its end", remedy="set source.loop = true to begin again")
        remedy = "check cable, power and network of the camera; the station keeps trying"
        return DeviceError(f"{self._url!r} gives no more frames", remedy=remedy, code="source-gone")
