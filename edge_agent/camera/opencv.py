# SPDX-License-Identifier: Apache-2.0
"""Live cameras that OpenCV opens: USB by number, RTSP and HTTP by URL.

OpenCV waits for the next frame as long as it takes, so a thread of its own does (`camera.receiving`), and `read` keeps
its time. A free-running camera has no trigger: each frame taken is one part, numbered on from the last number that the
station recorded. What the driver drops inside itself, and what a decoder makes up for packets that were lost, cannot
be seen here. Video files are the business of `camera.video`.
"""

from typing import Final

import cv2

from edge_agent.camera.receiving import Receiver
from edge_agent.camera.source import Frame
from edge_agent.clock import Clock
from edge_agent.errors import DeviceError

# FFmpeg alone waits 30 s by default; a station must notice a dead camera, and stop, sooner.
_NETWORK_TIMEOUT_MS: Final = 2000
# As long as a network camera that sends nothing may hold the thread that receives from it.
_LET_GO_S: Final = 2.5
_REMEDY: Final = "check the cable, the number or URL in source.url, and that no other program holds the camera"


class OpenCvSource:
    """A live camera.

    Args:
        url: camera number ("0") or URL (`rtsp://…`).
        clock: the station's clock.
        rate_hz: frames taken per second; 0: every frame the camera gives.
        capacity: frames kept for the reader; one beyond it is dropped and shows as a gap.
        first_trigger: number of the first frame.
        product: product of every frame.
    """

    def __init__(
        self,
        url: str,
        clock: Clock,
        *,
        rate_hz: float = 0.0,
        capacity: int = 8,
        first_trigger: int = 0,
        product: str | None = None,
    ) -> None:
        self._url = url
        self._clock = clock
        self._rate_hz = rate_hz
        self._capacity = capacity
        self._next_trigger = first_trigger
        self._product = product
        self._receiver: Receiver | None = None
        self._ending: Receiver | None = None

    def open(self) -> None:
        """Open the camera and begin to receive.

        Raises:
            DeviceError: OpenCV cannot open it, or a driver has not let go of it yet.
        """
        self.close()
        if self._ending is not None and not self._ending.has_ended(_LET_GO_S):
            msg = f"the driver of {self._url!r} has not let go of the camera yet"
            raise DeviceError(msg, remedy="check the cable; the station keeps trying", code="source-gone")
        capture = self._make_capture()
        if not capture.isOpened():
            capture.release()
            msg = f"OpenCV cannot open {self._url!r}"
            raise DeviceError(msg, remedy=_REMEDY, code="source-gone")
        self._receiver = Receiver(
            capture,
            self._clock,
            rate_hz=self._rate_hz,
            capacity=self._capacity,
            next_trigger=self._next_trigger,
            has_backlog=not self._url.isdigit(),
        )
        self._receiver.start()

    def read(self, timeout_s: float) -> Frame | None:
        """The next frame.

        Raises:
            DeviceError: the camera gives no frames any more, or was not opened.
        """
        receiver = self._receiver
        if receiver is None:
            raise DeviceError(f"{self._url!r} is not open", remedy="open it first", code="source-gone")
        received = receiver.take(timeout_s)
        if received is None:
            if receiver.is_over:
                remedy = "check cable, power and network of the camera; the station keeps trying"
                raise DeviceError(f"{self._url!r} gives no more frames", remedy=remedy, code="source-gone")
            return None
        return Frame(
            pixels=received.pixels,
            captured_at=received.at,
            captured_monotonic=received.monotonic,
            trigger_number=received.trigger_number,
            product=self._product,
        )

    def close(self) -> None:
        """Let go of the camera, as soon as OpenCV does."""
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            self._next_trigger = receiver.stop()
            self._ending = receiver

    def _make_capture(self) -> cv2.VideoCapture:
        if self._url.isdigit():
            capture = cv2.VideoCapture(int(self._url))
            # The oldest frame of a full driver buffer is a part that has left already.
            capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
            return capture
        limits = [
            cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
            _NETWORK_TIMEOUT_MS,
            cv2.CAP_PROP_READ_TIMEOUT_MSEC,
            _NETWORK_TIMEOUT_MS,
        ]
        return cv2.VideoCapture(self._url, cv2.CAP_FFMPEG, limits)
