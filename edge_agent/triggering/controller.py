# SPDX-License-Identifier: Apache-2.0
"""Triggers from the line controller: a thread that keeps the link open and watches a flag or variable.

How it is watched is the watch's business: `PolledFlag` reads a coil or input again and again (Modbus knows no other
way), `triggering.opcua` is told of changes. A link that breaks is opened again with a growing pause; what happened
meanwhile is known only from the line's own numbers (`number_address`).
"""

import logging
import threading
from datetime import datetime
from typing import Final, Protocol

from contracts.reports import StationFault
from edge_agent.clock import Clock
from edge_agent.controller.link import ControllerLink
from edge_agent.errors import DeviceError, EdgeError
from edge_agent.triggering.source import Trigger, TriggerBuffer

_log = logging.getLogger(__name__)

_FIRST_PAUSE_S: Final = 0.1
_TEXT_LIMIT: Final = 500
_MAX_PART_ID: Final = 128


class Watch(Protocol):
    """How a controller's flag is watched. Both calls raise as `ControllerLink` does."""

    def begin(self) -> None:
        """The link has been opened: prove the addresses, take what holds now as known."""
        ...

    def step(self, stopping: threading.Event) -> None:
        """Watch for a moment, at most a second or so."""
        ...


class PartReader:
    """Number and name of the part whose trigger just came. Either address may be None."""

    def __init__(self, link: ControllerLink, number_address: str | None, part_id_address: str | None) -> None:
        self._link = link
        self._number_address = number_address
        self._part_id_address = part_id_address

    def prove(self) -> None:
        """Read both once; raises as `ControllerLink` does."""
        self._number()
        self._part_id()

    def announce(
        self, buffer: TriggerBuffer, at_s: float, at: datetime | None = None, *, number: int | None = None
    ) -> None:
        """Put the trigger into the buffer, named as far as it can be read. `number`: known already.

        Raises:
            EdgeError: the name could not be read. The part is announced all the same.
        """
        part_id = None
        try:
            number = self._number() if number is None else number
            part_id = self._part_id()
        finally:
            buffer.put(number=number, part_id=part_id, at=at, at_s=at_s)

    def _number(self) -> int | None:
        return None if self._number_address is None else self._link.read_number(self._number_address)

    def _part_id(self) -> str | None:
        return (self._link.read_text(self._part_id_address)[:_MAX_PART_ID] or None) if self._part_id_address else None


class PolledFlag:
    """A flag read every `poll_s`; its going on is a trigger. One shorter than that may be overlooked.

    Args:
        link: to the controller.
        address: the flag.
        part: reads number and name.
        buffer: where triggers go.
        clock: the station's clock.
        poll_s: time between two readings.
    """

    def __init__(
        self,
        link: ControllerLink,
        address: str,
        part: PartReader,
        buffer: TriggerBuffer,
        clock: Clock,
        *,
        poll_s: float,
    ) -> None:
        self._link = link
        self._address = address
        self._part = part
        self._buffer = buffer
        self._clock = clock
        self._poll_s = poll_s
        self._was_on = False
        self._next_s = 0.0

    def begin(self) -> None:
        """Take the flag as it is: one that is on already announced its part before."""
        self._part.prove()
        self._was_on = self._link.read_flag(self._address)
        self._next_s = self._clock.monotonic() + self._poll_s

    def step(self, stopping: threading.Event) -> None:
        """Wait for the next reading and take it."""
        stopping.wait(max(0.0, self._next_s - self._clock.monotonic()))
        now_s = self._clock.monotonic()
        self._next_s = max(self._next_s + self._poll_s, now_s)
        is_on = self._link.read_flag(self._address)
        was_on, self._was_on = self._was_on, is_on
        if is_on and not was_on:
            self._part.announce(self._buffer, now_s)


class ControllerTriggers:
    """See the module.

    Args:
        link: to the controller; used by this thread alone.
        watch: how its flag is watched.
        buffer: where triggers go.
        clock: the station's clock.
        retry_max_s: longest pause between two attempts to connect.
    """

    def __init__(
        self, link: ControllerLink, watch: Watch, buffer: TriggerBuffer, clock: Clock, *, retry_max_s: float = 5.0
    ) -> None:
        self.buffer = buffer
        self._link = link
        self._watch = watch
        self._clock = clock
        self._retry_max_s = retry_max_s
        self._pause_s = min(_FIRST_PAUSE_S, retry_max_s)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="trigger", daemon=True)
        self._away: tuple[str, str, datetime] | None = ("not connected yet", "", clock.now())
        self.losses = 0

    def open(self) -> None:
        """Begin to connect, once."""
        if self._thread.ident is None:
            self._thread.start()

    def read(self, timeout_s: float) -> Trigger | None:
        """The next trigger."""
        return self.buffer.take(timeout_s)

    def close(self) -> None:
        """End the thread and hang up."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(1.0)

    def faults(self) -> list[StationFault]:
        """The controller is away, or refuses an address."""
        away = self._away
        if away is None:
            return []
        message = f"triggers: parts pass unseen: {away[0]}"[:_TEXT_LIMIT]
        return [StationFault(code="trigger-away", message=message, remedy=away[1][:_TEXT_LIMIT], since=away[2])]

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._link.open()
                self._watch.begin()
                self._away = None
                self._pause_s = min(_FIRST_PAUSE_S, self._retry_max_s)
                _log.info("triggers connected")
                while not self._stopping.is_set():
                    self._watch.step(self._stopping)
            except EdgeError as error:
                self._lost(error)
            except Exception as error:  # noqa: BLE001 - a library's own exception must not end the thread
                _log.exception("trigger source raised")
                self._lost(DeviceError(f"the trigger source failed: {error}", remedy="see the station's log"))
        self._link.close()

    def _lost(self, error: EdgeError) -> None:
        self.losses += 1
        since = self._away[2] if self._away is not None else self._clock.now()
        self._away = (error.message, error.remedy, since)
        self._link.close()
        _log.warning("triggers lost losses=%d retry_in_s=%.2f: %s", self.losses, self._pause_s, error.message)
        self._stopping.wait(self._pause_s)
        self._pause_s = min(self._pause_s * 2, self._retry_max_s)
