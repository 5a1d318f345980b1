# SPDX-License-Identifier: Apache-2.0
"""The grab thread: keeps a frame source open and moves its frames into the queue.

Judges nothing and never waits for the judge. A source that fails is a station fault; it is reopened with a
growing pause, which starts small again only when a frame has really come. Started and stopped by the loop.
"""

import logging
import threading
from typing import Final

from edge_agent.camera.source import Adjustable, FrameSource, SeesPartsWithoutCamera
from edge_agent.errors import DeviceError, EdgeError, SourceEnded
from edge_agent.frame_queue import FrameQueue
from edge_agent.monitor.health import HealthMonitor
from edge_agent.monitor.liveness import GRAB
from edge_agent.recipes.book import RecipeBook
from edge_agent.recipes.page import Page
from edge_agent.recipes.recipe import Recipe

_log = logging.getLogger(__name__)

_READ_TIMEOUT_S: Final = 0.2
_FIRST_PAUSE_S: Final = 0.1
# A source returns within its time; a driver that has not for so long never will. Opening may take its connection time.
_HEARD_WITHIN_S: Final = 60.0
_EXPOSURE: Final = "exposure-not-set"


class Grabber:
    """See the module.

    Args:
        source: the camera.
        queue: where frames go.
        health: hears of the camera coming and going.
        retry_max_s: longest pause between two attempts to open.
        book: binds each frame to the recipe that held when it was captured; None: frames stay as they are.
    """

    def __init__(
        self,
        source: FrameSource,
        queue: FrameQueue,
        health: HealthMonitor,
        *,
        retry_max_s: float = 5.0,
        book: RecipeBook | None = None,
    ) -> None:
        self._source = source
        self._queue = queue
        self._health = health
        self._retry_max_s = retry_max_s
        self._book = book
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
        self._grab_for_ever()
        # On purpose: stopped, or a source at its end.
        self._health.liveness.ended(GRAB)

    def _grab_for_ever(self) -> None:
        while not self._stopping.is_set():
            self._health.liveness.beat(GRAB, _HEARD_WITHIN_S)
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
        page: Page | None = None
        while not self._stopping.is_set():
            self._health.liveness.beat(GRAB, _HEARD_WITHIN_S)
            if self._book is not None and (wanted := self._book.page) is not page:
                # The camera first: a part must not be seen by the old exposure and judged by the new recipe.
                self._set_up(wanted.current)
                page = wanted
                self._book.set_up(page)
            frame = self._source.read(_READ_TIMEOUT_S)
            if frame is not None:
                self._pause_s = min(_FIRST_PAUSE_S, self._retry_max_s)
                self._queue.put(frame if self._book is None else self._book.bind(frame, page))

    def _set_up(self, recipe: Recipe) -> None:
        if recipe.exposure_us is None and recipe.gain_db is None:
            self._health.clear_fault(_EXPOSURE)
        elif isinstance(self._source, Adjustable):
            self._source.adjust(exposure_us=recipe.exposure_us, gain_db=recipe.gain_db)
            self._health.clear_fault(_EXPOSURE)
        else:
            self._health.set_fault(
                _EXPOSURE,
                "the recipe asks for exposure or gain, which this kind of source cannot set",
                "set them at the camera, and take them out of the recipe",
            )

    def _lost(self, error: EdgeError) -> None:
        self.losses += 1
        self._health.source_lost(error)
        _log.warning("source lost losses=%d retry_in_s=%.2f: %s", self.losses, self._pause_s, error.message)
        self._health.liveness.beat(GRAB, self._pause_s + _HEARD_WITHIN_S)
        self._pause(self._pause_s)
        self._pause_s = min(self._pause_s * 2, self._retry_max_s)

    def _pause(self, pause_s: float) -> None:
        """Wait before the next attempt; parts that are announced meanwhile pass unseen and are reported."""
        source = self._source
        if not isinstance(source, SeesPartsWithoutCamera):
            self._stopping.wait(pause_s)
            return
        while pause_s > 0 and not self._stopping.is_set():
            for frame in source.read_away(min(pause_s, _READ_TIMEOUT_S)):
                self._queue.put(frame if self._book is None else self._book.bind(frame))
            pause_s -= _READ_TIMEOUT_S
