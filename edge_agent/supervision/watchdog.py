# SPDX-License-Identifier: Apache-2.0
"""Tells the supervisor that the station lives, as long as it really does.

A thread of its own proves nothing: it says WATCHDOG=1 only while the judge's and the grab thread are heard in their
time. Restarts nothing itself. A judge that waits for a full disk is not dead: what it holds in memory would die with
it, so the supervisor is told to wait; the fault says what to do. Built and started by `group`.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Final

from edge_agent.monitor.health import HealthMonitor
from edge_agent.supervision.notify import Notifier
from edge_agent.supervision.settings import SupervisorSettings

_log = logging.getLogger(__name__)

# sd_watchdog_enabled(3) recommends half the time; a third leaves room for one that is lost.
_BEATS_PER_PERIOD: Final = 3
_LONGEST_PAUSE_S: Final = 5.0
_WAITING_FOR_DISK: Final = frozenset({"outbox-blocked", "outbox-disk", "outbox-full"})


class Watchdog:
    """See the module.

    Args:
        settings: what the supervisor said.
        watched: the monitors of all stations of this process; one that hangs is enough for silence.
    """

    def __init__(self, settings: SupervisorSettings, watched: Callable[[], Sequence[HealthMonitor]]) -> None:
        self._notifier = Notifier(settings.socket)
        self._watched = watched
        self._pause_s = min(_LONGEST_PAUSE_S, settings.watchdog_s / _BEATS_PER_PERIOD or _LONGEST_PAUSE_S)
        self._is_wanted = bool(settings.socket)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)
        self.withheld = 0

    def start(self) -> None:
        """All rooms are up: say so, and go on saying it."""
        if self._is_wanted:
            self._notifier.tell("READY=1", "WATCHDOG=1")
            self._thread.start()

    def stopping(self) -> None:
        """The station stops on purpose."""
        self._stopping.set()
        self._notifier.tell("STOPPING=1", "STATUS=stopping")

    def beat(self) -> None:
        """Say once what is true now."""
        overdue: list[str] = []
        told: list[str] = []
        watched = self._watched()
        for health in watched:
            status = health.status()
            name = f"{status.station.station}: " if len(watched) > 1 else ""
            faults = {fault.code for fault in status.faults}
            if not faults & _WAITING_FOR_DISK:
                overdue += [f"{name}{thread}" for thread in health.liveness.overdue()]
            text = f"{name}{status.state}, {status.parts_total} parts, {status.parts_per_minute or 0:.0f} a minute"
            told.append(f"{text}, faults: {', '.join(sorted(faults))}" if faults else text)
        if overdue:
            self.withheld += 1
            _log.error("threads not heard threads=%s withheld=%d: nothing is said", overdue, self.withheld)
            self._notifier.tell(f"STATUS=stalled: {', '.join(overdue)}")
        else:
            self._notifier.tell("WATCHDOG=1", f"STATUS={'; '.join(told)}")

    def _run(self) -> None:
        while not self._stopping.wait(self._pause_s):
            try:
                self.beat()
            except Exception:  # noqa: BLE001 - silence would end the station for a fault of the one who watches it
                _log.exception("watchdog could not ask")
                self._notifier.tell("WATCHDOG=1")
