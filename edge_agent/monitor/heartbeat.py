# SPDX-License-Identifier: Apache-2.0
"""Sends the station's status: retained, at a steady beat, after every connect and when asked.

Works out nothing itself. A beat that the bus does not take is skipped: the next one is newer. Started and
stopped by the composition root.
"""

import logging
import threading
from collections.abc import Callable

from contracts.codec import encode
from contracts.reports import StationReported
from edge_agent.reporting.bus import MessageBus

_log = logging.getLogger(__name__)


class Heartbeat:
    """A thread that publishes the status.

    Args:
        bus: the station's message bus.
        topic: the status topic.
        status: makes the status.
        period_s: time between two beats.
    """

    def __init__(self, bus: MessageBus, topic: str, status: Callable[[], StationReported], period_s: float) -> None:
        self._bus = bus
        self._topic = topic
        self._status = status
        self._period_s = period_s
        self._wanted = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self.skipped = 0

    def start(self) -> None:
        """Begin to beat."""
        self._bus.on_connect(self.beat_soon)
        self._thread.start()

    def beat_soon(self) -> None:
        """Send a status now; does not wait (may be called on the bus's thread)."""
        self._wanted.set()

    def stop(self, last: StationReported) -> None:
        """Stop beating and leave `last` as the retained status."""
        self._stopping.set()
        self._wanted.set()
        if self._thread.is_alive():
            self._thread.join(timeout=1.0)
        self._bus.publish(self._topic, encode(last), qos=1, retain=True)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wanted.wait(self._period_s)
            self._wanted.clear()
            if self._stopping.is_set():
                return
            self._beat()

    def _beat(self) -> None:
        try:
            status = self._status()
        except Exception:  # noqa: BLE001 - a status that cannot be made must not end the thread that would say so
            _log.exception("status could not be made")
            return
        if not self._bus.publish(self._topic, encode(status), qos=1, retain=True):
            self.skipped += 1
            _log.debug("heartbeat skipped skipped=%d", self.skipped)
