# SPDX-License-Identifier: Apache-2.0
"""Ticks the routes of alarms: finds what is new, and lets threads of its own send what is due.

A mail server that hangs must hold up neither the watch nor ingest, so a tick only reads and writes rows; each route has
at most one thread at a time, and all of them together four. A thread that is cut off leaves an attempt behind, no more.
Ticked by the worker; decides nothing itself.
"""

import logging
import threading
from datetime import datetime, timedelta
from typing import Final, Protocol

from central.clock import Clock
from central.domain.alarm_routes import AlarmRoute
from central.errors import RouteError
from central.services.alarms import outbox
from central.services.alarms.messages import Outgoing
from central.services.alarms.routing import collect, has_news
from central.services.alarms.senders import Sent
from central.settings import AlarmSettings
from central.store.database import Database

_LOG = logging.getLogger(__name__)

_MOST_THREADS: Final = 4
# One thread hands over so many and lets another route have its place.
_MOST_MESSAGES: Final = 20
# What is left then is taken in by the next tick.
_MOST_TRANSACTIONS: Final = 20
_FORGET_EVERY: Final = timedelta(hours=1)


class Sender(Protocol):
    """What takes a message to a route: `alarm_senders.AlarmSender`."""

    @property
    def settings(self) -> AlarmSettings:
        """Bounds and addresses."""
        ...

    def send(self, route: AlarmRoute, message: Outgoing, now: datetime) -> Sent:
        """Send once, or raise `RouteError`."""
        ...


class AlarmDelivering:
    """See the module."""

    name: Final = "alarm-routes"

    def __init__(self, database: Database, sender: Sender, clock: Clock) -> None:
        self._database = database
        self._sender = sender
        self._settings = sender.settings
        self._clock = clock
        self._lock = threading.Lock()
        self._sending: set[str] = set()
        self._forgot_at: datetime | None = None

    @property
    def period_s(self) -> float:
        """Seconds between two looks."""
        return self._settings.period_s

    @property
    def sending(self) -> frozenset[str]:
        """Routes over which a thread is sending now."""
        with self._lock:
            return frozenset(self._sending)

    def tick(self, now: datetime) -> None:
        """Take in what is new; start sending what is due."""
        self.take_in(now)
        with self._database.read() as session:
            due = outbox.due_routes(session, now)
        for name in due:
            if self._begin(name):
                threading.Thread(target=self._run, args=(name,), name=f"alarm-route-{name}", daemon=True).start()

    def take_in(self, now: datetime) -> None:
        """Put new events into the outboxes, and forget what is old."""
        # In short transactions, so that ingest has its turn between two of them.
        for _ in range(_MOST_TRANSACTIONS):
            with self._database.read() as session:
                if not has_news(session, now):
                    break
            with self._database.begin() as session:
                is_more = collect(session, self._settings.backlog_rows, now)
            if not is_more:
                break
        if self._forgot_at is None or now - self._forgot_at >= _FORGET_EVERY:
            with self._database.begin() as session:
                outbox.forget(session, self._settings.kept_days, now)
            self._forgot_at = now

    def deliver(self, name: str) -> int:
        """Send what is due over a route, one message after another until one fails; how many arrived."""
        for count in range(_MOST_MESSAGES):
            with self._database.begin() as session:
                taken = outbox.take(session, name, self._settings, self._clock.now())
            if taken is None or not self._send(taken):
                return count
        return _MOST_MESSAGES

    def _send(self, taken: outbox.Taken) -> bool:
        try:
            sent = self._sender.send(taken.route, taken.message, self._clock.now())
        except Exception as error:  # noqa: BLE001 - told below
            # A fault of ours must not leave a route silent for ever: it waits and shows like any other.
            if not isinstance(error, RouteError):
                _LOG.exception("sending an alarm broke route=%s", taken.route.name)
            text = str(error) if isinstance(error, RouteError) else f"{type(error).__name__}: {error}"
            with self._database.begin() as session:
                outbox.failed(session, taken, text[:500], self._settings.give_up_hours, self._clock.now())
            return False
        with self._database.begin() as session:
            outbox.arrived(session, taken, self._clock.now(), sent.text if sent.is_partly else None)
        return True

    def _begin(self, name: str) -> bool:
        with self._lock:
            if name in self._sending or len(self._sending) >= _MOST_THREADS:
                return False
            self._sending.add(name)
            return True

    def _run(self, name: str) -> None:
        try:
            self.deliver(name)
        except Exception:  # noqa: BLE001 - the end of a thread
            # The database went away, at a stop for example: the rows say how far it came.
            _LOG.exception("delivering alarms broke route=%s", name)
        finally:
            with self._lock:
                self._sending.discard(name)
