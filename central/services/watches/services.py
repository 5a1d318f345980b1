# SPDX-License-Identifier: Apache-2.0
"""Calls people when a service of central fails again and again, and lets that rest once it works.

A tick that raises is logged and the next one comes as planned (`services/worker.py`); nobody reads logs at night, and a
service that does nothing looks like one with nothing to do. Reads the worker's counts; mends nothing.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Final

from central.services.alarms.rows import Signal, close, open_alarms, raise_alarm
from central.services.worker import TickCounts
from central.store.database import Database
from contracts.vocabulary import AlarmKind

# One that fails now and then is not broken: the next tick does what this one left.
FAILURES_IN_A_ROW: Final = 5
_FAILING_FOR: Final = timedelta(seconds=30)
_SERVICE: Final = "service"


def failing(counts: Mapping[str, TickCounts], now: datetime) -> dict[str, TickCounts]:
    """Services that have failed for so often and so long that a person must look, by name."""
    return {
        name: each
        for name, each in sorted(counts.items())
        if each.failed_in_a_row >= FAILURES_IN_A_ROW
        and each.failing_since is not None
        and now - each.failing_since >= _FAILING_FOR
    }


class ServiceWatch:
    """See the module. `counts`: what became of every service's ticks."""

    name: Final = "service-watch"
    period_s: Final = 10.0

    def __init__(self, database: Database, counts: Callable[[], Mapping[str, TickCounts]]) -> None:
        self._database = database
        self._counts = counts

    def tick(self, now: datetime) -> None:
        """Raise for those that fail, close for those that work."""
        counts = dict(self._counts())
        broken = failing(counts, now)
        with self._database.read() as session:
            is_any_open = bool(open_alarms(session, AlarmKind.SERVICE_FAILS))
        if not broken and not is_any_open:
            return
        with self._database.begin() as session:
            for name, each in broken.items():
                raise_alarm(session, _signal(name, each), now)
            for alarm in open_alarms(session, AlarmKind.SERVICE_FAILS):
                last = counts.get(alarm.evidence.get(_SERVICE, ""))
                # One that has not ticked since a restart has shown nothing yet.
                if last is None or (last.ticks and not last.failed_in_a_row):
                    close(alarm, "the service works again", now)
                    session.add(alarm)


def _signal(name: str, counts: TickCounts) -> Signal:
    since = counts.failing_since
    at = f"{since:%Y-%m-%d %H:%M:%S} UTC" if since is not None else "a while"
    return Signal(
        kind=AlarmKind.SERVICE_FAILS,
        is_simulated=False,
        message=(
            f"Central's service {name} fails since {at}, {counts.failed_in_a_row} times in a row: {counts.last_error}."
        ),
        remedy=(
            "What it does is not done meanwhile, or only in part. See central's log around that time; it names the "
            "part that fails. A restart of central helps only if the log says so. Report it with the log."
        ),
        evidence={
            "chart": f"service {name}",
            _SERVICE: name,
            "failed_in_a_row": counts.failed_in_a_row,
            "last_error": counts.last_error,
            "since": since.isoformat() if since is not None else None,
        },
    )
