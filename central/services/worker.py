# SPDX-License-Identifier: Apache-2.0
"""Ticks the services, each at its own period, one after another in one thread.

A tick that raises is logged and counted, and the next one comes as planned: one service must not stop the others.
Does no work itself. Built and started by `central.app`.
"""

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol

from central.clock import Clock

log = logging.getLogger(__name__)

# Ticks are short by rule; this only bounds how late a stop is noticed between two of them.
_LONGEST_WAIT_S: Final = 0.5
_SLOW_TICK_S: Final = 5.0


class Service(Protocol):
    """Something with regular work. A tick is short, idempotent, and may be cut off by SIGKILL anywhere."""

    @property
    def name(self) -> str:
        """Word for logs and counters."""
        ...

    @property
    def period_s(self) -> float:
        """Seconds between two ticks."""
        ...

    def tick(self, now: datetime) -> None:
        """Do what is due."""
        ...


@dataclass
class TickCounts:
    """What became of a service's ticks since start."""

    ticks: int = 0
    failures: int = 0
    failed_in_a_row: int = 0
    failing_since: datetime | None = None
    last_error: str = ""
    last_s: float = 0.0


@dataclass
class _Due:
    service: Service
    at: float
    counts: TickCounts = field(default_factory=TickCounts)


class Worker:
    """One thread over all services."""

    def __init__(self, services: Sequence[Service], clock: Clock) -> None:
        self._due: Final = [_Due(service, 0.0) for service in services]
        self._clock: Final = clock
        self._stop: Final = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def counts(self) -> dict[str, TickCounts]:
        """By service name."""
        return {due.service.name: due.counts for due in self._due}

    def start(self) -> None:
        """Start ticking; the first tick of each service comes at once."""
        self._thread = threading.Thread(target=self._run, name="worker", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Stop after the running tick. A tick that overruns `timeout_s` is left behind: ticks survive SIGKILL."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def run_due(self) -> None:
        """One round: tick every service whose time has come."""
        for due in self._due:
            if self._stop.is_set():
                return
            if time.monotonic() >= due.at:
                self._tick(due)

    def _run(self) -> None:
        while not self._stop.is_set():
            self.run_due()
            wait_s = min((due.at for due in self._due), default=_LONGEST_WAIT_S) - time.monotonic()
            self._stop.wait(min(max(wait_s, 0.01), _LONGEST_WAIT_S))

    def _tick(self, due: _Due) -> None:
        began = time.monotonic()
        try:
            due.service.tick(self._clock.now())
        except Exception as error:
            due.counts.failures += 1
            due.counts.failed_in_a_row += 1
            due.counts.failing_since = due.counts.failing_since or self._clock.now()
            due.counts.last_error = f"{type(error).__name__}: {error}"
            log.exception("tick failed service=%s failures=%s", due.service.name, due.counts.failures)
        else:
            due.counts.failed_in_a_row, due.counts.failing_since = 0, None
        ended = time.monotonic()
        due.counts.ticks += 1
        due.counts.last_s = ended - began
        if due.counts.last_s > _SLOW_TICK_S:
            log.warning("tick was slow service=%s seconds=%.1f", due.service.name, due.counts.last_s)
        due.at = ended + due.service.period_s
