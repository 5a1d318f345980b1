# SPDX-License-Identifier: Apache-2.0
"""The grab thread: keeps a frame source open and moves its frames into the queue.

Judges nothing and never waits for the judge. A source that fails is a station fault; it is reopened with a
growing pause, which starts small again only when a frame has really come. Started and stopped by the loop.
"""

import logging
import threading
from typing import Final

from edge_agent.camera.source import FrameSource
from edge_agent.errors import DeviceError, EdgeError, SourceEnded
from edge_agent.frame_queue import FrameQueue
from edge_agent.monitor.health import HealthMonitor

_log = logging.getLogger(__name__)

_READ_TIMEOUT_S: Final = 0.2
_FIRST_PAUSE_S: Final = 0.1


class Grabber:
    """See the module.

    Args:
        source: the camera.
        queue: where frames go.
        health: hears of the camera coming and going.
        retry_max_s: longest pause between two attempts to open.
    """

    def __init__(
        self, source: FrameSource, queue: FrameQueue, health: HealthMonitor, *, retry_max_s: float = 5.0
    ) -> None:
        self._source = source
        self._queue = queue
        self._health = health
        self._retry_max_s = retry_max_s
        self._pause_s = min(_FIRST_PAUSE_S, retry_max_s)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="grab", daemon=True)
        self.losses = 0

    def start(self) -> None:
        """Begin to grab."""
        self._thread.start()

    def stop(self, timeout_s: float = 1.0) -> None:
        """Stop grabbing; what is in the queue stays there."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._source.open()
                self._health.source_opened()
                self._grab()
            except SourceEnded as ended:
                _log.info("source ended: %s", ended.message)
                self._health.source_lost(ended)
                self._health.halted()
                return
            except EdgeError as error:
                self._lost(error)
            except Exception as error:  # noqa: BLE001 - a driver's own exception must not end the thread
                _log.exception("source raised")
                self._lost(DeviceError(f"the camera's driver failed: {error}", remedy="see the station's log"))
            finally:
                self._source.close()

    def _grab(self) -> None:
        while not self._stopping.is_set():
            frame = self._source.read(_READ_TIMEOUT_S)
            if frame is not None:
                self._pause_s = min(_FIRST_PAUSE_S, self._retry_max_s)
                self._queue.put(frame)

    def _lost(self, error: EdgeError) -> None:
        self.losses += 1
        self._health.source_lost(error)
        _log.warning("source lost losses=%d retry_in_s=%.2f: %s", self.losses, self._pause_s, error.message)
        self._stopping.wait(self._pause_s)
        self._pause_s = min(self._pause_s * 2, self._retry_max_s)
