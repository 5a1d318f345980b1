# SPDX-License-Identifier: Apache-2.0
"""Changeover by the line's controller: a thread that reads what is made, has the book follow it, and confirms it.

From the request whose answer was new, captured parts belong to the new product. The confirmation is for a line that
waits: it stands while every part captured from then on is judged as that product, and is taken back (0, or an empty
text) as soon as that does not hold. While the controller is away the last product stays. Decides nothing on recipes;
the book does. Started and stopped by the composition root.
"""

import logging
import threading
from datetime import datetime
from typing import Final

from contracts.reports import StationFault
from edge_agent.changeover_settings import ChangeoverSettings
from edge_agent.clock import Clock
from edge_agent.controller.link import ControllerLink
from edge_agent.controller.settings import MODBUS
from edge_agent.errors import DeviceError, EdgeError
from edge_agent.recipes.book import RecipeBook

_log = logging.getLogger(__name__)

_FIRST_PAUSE_S: Final = 0.1
# A controller that was started anew has forgotten what was confirmed.
_CONFIRM_AGAIN_S: Final = 1.0
_TEXT_LIMIT: Final = 500
_MAX_SHOWN: Final = 64


class ControllerChangeover:
    """See the module.

    Args:
        link: to the controller; used by this thread alone.
        settings: what to read, and what it stands for.
        book: follows it.
        clock: the station's clock.
    """

    def __init__(self, link: ControllerLink, settings: ChangeoverSettings, book: RecipeBook, clock: Clock) -> None:
        self._link = link
        self._settings = settings
        self._book = book
        self._clock = clock
        self._pause_s = min(_FIRST_PAUSE_S, settings.controller.retry_max_s)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="changeover", daemon=True)
        self._away: tuple[EdgeError, datetime] | None = None
        self._unconfirmed: tuple[EdgeError, datetime] | None = None
        self._confirmed: str | None = None
        self._confirm_at_s = 0.0
        self.losses = 0

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def stop(self, timeout_s: float = 1.0) -> None:
        """Take the confirmation back, hang up."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def faults(self) -> list[StationFault]:
        """The controller cannot be asked, or does not take the confirmation."""
        found = []
        if (away := self._away) is not None:
            made = self._book.active().product
            stays = f"the last product stays, {made}" if made is not None else "no part is judged"
            found.append(_fault("changeover-away", f"changeover: {stays}: {away[0].message}", *away))
        if (unconfirmed := self._unconfirmed) is not None:
            message = f"changeover: not confirmed to the line's controller: {unconfirmed[0].message}"
            found.append(_fault("changeover-unconfirmed", message, *unconfirmed))
        return found

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._link.open()
                self._confirm_at_s = 0.0
                while not self._stopping.is_set():
                    self._step()
                    self._stopping.wait(self._settings.poll_s)
            except EdgeError as error:
                self._lost(error)
            except Exception as error:  # noqa: BLE001 - a library's own exception must not end the thread
                _log.exception("changeover raised")
                self._lost(DeviceError(f"the changeover failed: {error}", remedy="see the station's log"))
        self._end()

    def _step(self) -> None:
        """Ask once, have it followed, confirm."""
        settings = self._settings
        # Before the answer: a part captured while it travelled may be of the new product already.
        asked_s = self._clock.monotonic()
        if settings.controller.kind == MODBUS:
            said = str(self._link.read_number(settings.address))
        else:
            said = self._link.read_text(settings.address)
        if self._away is not None:
            _log.info("changeover: controller is back")
        self._away = None
        self._pause_s = min(_FIRST_PAUSE_S, settings.controller.retry_max_s)
        product = settings.product_of(said)
        why = ""
        if product is None:
            shown = said[:_MAX_SHOWN] or "nothing"
            why = f"the line's controller says {shown} at {settings.address}, which is no product: {settings.known()}"
        is_made = self._book.follow(product, asked_s, why=why[:_TEXT_LIMIT])
        self._confirm(said if is_made and self._book.is_set_up else None)

    def _confirm(self, said: str | None) -> None:
        address, now_s = self._settings.confirm_address, self._clock.monotonic()
        if address is None or (said == self._confirmed and now_s < self._confirm_at_s):
            return
        self._confirm_at_s = now_s + _CONFIRM_AGAIN_S
        self._confirmed = said
        try:
            self._link.write_value(address, said)
        except DeviceError as error:
            # It answers, so it can still be asked.
            since = self._unconfirmed[1] if self._unconfirmed is not None else self._clock.now()
            self._unconfirmed = (error, since)
        else:
            self._unconfirmed = None

    def _lost(self, error: EdgeError) -> None:
        self.losses += 1
        self._away = (error, self._away[1] if self._away is not None else self._clock.now())
        self._link.close()
        self._book.go_on()
        _log.warning("changeover lost losses=%d retry_in_s=%.2f: %s", self.losses, self._pause_s, error.message)
        self._stopping.wait(self._pause_s)
        self._pause_s = min(self._pause_s * 2, self._settings.controller.retry_max_s)

    def _end(self) -> None:
        """A line that waits must not wait for a station that is gone."""
        address = self._settings.confirm_address
        if address is not None and self._away is None:
            try:
                self._link.write_value(address, None)
            except EdgeError as error:
                _log.warning("confirmation not taken back: %s", error.message)
        self._link.close()


def _fault(code: str, message: str, error: EdgeError, since: datetime) -> StationFault:
    return StationFault(code=code, message=message[:_TEXT_LIMIT], remedy=error.remedy[:_TEXT_LIMIT], since=since)
