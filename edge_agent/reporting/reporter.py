# SPDX-License-Identifier: Apache-2.0
"""Sends what is durable in the outbox until central's receipts have emptied it.

At least once: rows leave the outbox only by a receipt, and whatever has none is sent again after silence and
after every reconnect; central ignores repeats. Does not make reports and does not touch the disk but for
reading. Built by the composition root beside the outbox and the bus; runs on a thread of its own.

Live reports overtake the backlog: rows that became durable since the last look go first, each look; backlog goes
in large messages between, oldest first, and may fill only a part of the window of rows in flight.
"""

import logging
import math
import threading
from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from pydantic import ValidationError

from contracts import codec
from contracts.commands import ReportsCommitted, SequenceRange
from contracts.ids import StationAddress
from contracts.reports import MAX_REPORTS_PER_MESSAGE, InspectionReported
from contracts.topics import Channel, topic
from edge_agent.clock import Clock, SystemClock
from edge_agent.reporting.bus import MessageBus
from edge_agent.reporting.outbox import Outbox
from edge_agent.reporting.outbox_file import StoredReport

_log = logging.getLogger(__name__)

_LONGEST_SILENCE_S: Final = 30.0
_TICK_S: Final = 0.5
# Of the window of rows in flight, kept free of backlog.
_LIVE_SHARE: Final = 0.25
# How fast a slow receipt is forgotten, by receipt.
_LATENCY_MEMORY: Final = 0.8
_MAX_SEGMENTS: Final = 64

_Key = tuple[int, int]


@dataclass
class ReporterCounters:
    """What happened since the start. Written by the reporter, read by anyone."""

    live_rows: int = 0
    backlog_rows: int = 0
    resent_rows: int = 0
    messages: int = 0
    refused_messages: int = 0
    receipts: int = 0
    bad_receipts: int = 0
    receipted_rows: int = 0
    quarantined_rows: int = 0


@dataclass
class _InFlight:
    row_id: int
    sent_at: float


class Reporter:
    """See the module.

    Args:
        resend_after_s: silence after which rows in flight are sent again; doubles while no receipt comes, and
            falls back with the first receipt.
        max_in_flight: rows sent and without a receipt at most.
        longest_silence_s: where the doubling ends.
    """

    def __init__(
        self,
        outbox: Outbox,
        bus: MessageBus,
        station: StationAddress,
        resend_after_s: float = 5.0,
        *,
        clock: Clock | None = None,
        max_in_flight: int = 2000,
        longest_silence_s: float = _LONGEST_SILENCE_S,
        batch_rows: int = MAX_REPORTS_PER_MESSAGE,
    ) -> None:
        self.counters = ReporterCounters()
        self._outbox = outbox
        self._bus = bus
        self._station = station
        self._topic = topic(station, Channel.REPORT)
        self._clock = clock or SystemClock()
        self._resend_after_s = resend_after_s
        self._max_in_flight = max_in_flight
        self._batch_rows = min(batch_rows, MAX_REPORTS_PER_MESSAGE, max_in_flight)
        self._state = threading.Condition()
        self._is_woken = False
        self._is_stopping = False
        self._must_start_over = True
        self._silence_s = resend_after_s
        self._longest_silence_s = max(longest_silence_s, resend_after_s)
        self._receipt_s = 0.0
        self._in_flight: OrderedDict[_Key, _InFlight] = OrderedDict()
        # Row ids (after, up to] that are older than the live ones and not sent on this connection yet.
        self._backlog: deque[tuple[int, int]] = deque()
        self._live_after = 0
        self._idle_since = self._clock.monotonic()
        self._thread = threading.Thread(target=self._run, name="reporter", daemon=True)

    def start(self) -> None:
        """Subscribe to the receipts and begin to send."""
        self._outbox.on_commit(self._wake)
        self._bus.subscribe(topic(self._station, Channel.RECEIPT), self._on_receipt)
        self._bus.on_connect(self._on_connect)
        self._thread.start()

    def stop(self) -> None:
        """Stop sending. What is unsent stays in the outbox. May be called twice."""
        with self._state:
            self._is_stopping = True
            self._state.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def in_flight(self) -> int:
        """Rows sent and without a receipt."""
        with self._state:
            return len(self._in_flight)

    def _on_connect(self) -> None:
        with self._state:
            self._must_start_over = True
            self._is_woken = True
            self._state.notify_all()

    def _wake(self) -> None:
        with self._state:
            self._is_woken = True
            self._state.notify_all()

    def _on_receipt(self, _topic: str, payload: bytes) -> None:
        try:
            receipt = codec.decode(ReportsCommitted, payload)
        except codec.CodecError as error:
            self.counters.bad_receipts += 1
            _log.warning("receipt refused station=%s reason=%s", self._station, error)
            return
        if receipt.station != self._station:
            self.counters.bad_receipts += 1
            _log.warning("receipt for another station refused station=%s got=%s", self._station, receipt.station)
            return
        if not self._outbox.apply_receipt(receipt):
            return
        quarantined = sum(span.last - span.first + 1 for span in receipt.quarantined)
        if quarantined:
            _log.error("central quarantined reports of this station count=%d epoch=%d", quarantined, receipt.epoch)
        with self._state:
            self.counters.receipts += 1
            self.counters.quarantined_rows += quarantined
            before = len(self._in_flight)
            sent_at = [self._forget(receipt.epoch, span) for span in (*receipt.ranges, *receipt.quarantined)]
            self.counters.receipted_rows += before - len(self._in_flight)
            # Central is alive: back to the normal pace, or slower when it is slow, so that a crowd of stations
            # after an outage does not bury it under repeats.
            waited_s = self._clock.monotonic() - min(sent_at, default=math.inf)
            self._receipt_s = max(waited_s, _LATENCY_MEMORY * self._receipt_s)
            self._silence_s = min(max(self._resend_after_s, 2 * self._receipt_s), self._longest_silence_s)
            self._is_woken = True
            self._state.notify_all()

    def _forget(self, epoch: int, span: SequenceRange) -> float:
        """These rows are durable at central. Returns when the first of them was sent, infinity for none."""
        if span.last - span.first < len(self._in_flight):
            keys = [(epoch, sequence) for sequence in range(span.first, span.last + 1)]
        else:
            keys = [key for key in self._in_flight if key[0] == epoch and span.first <= key[1] <= span.last]
        gone = [self._in_flight.pop(key, None) for key in keys]
        return min((flight.sent_at for flight in gone if flight is not None), default=math.inf)

    def _run(self) -> None:
        while True:
            with self._state:
                if not self._is_woken and not self._is_stopping:
                    self._state.wait(_TICK_S)
                self._is_woken = False
                if self._is_stopping:
                    return
            if not self._bus.is_connected:
                continue
            try:
                self._send_what_is_due()
            except Exception:  # noqa: BLE001 - a reporter that ends silently would fill the disk
                _log.exception("reporter round failed station=%s", self._station)
                with self._state:
                    self._state.wait(_TICK_S)

    def _send_what_is_due(self) -> None:
        self._start_over_if_needed()
        while not self._is_stopping and not self._must_start_over:
            if not self._send_live():
                return
            sent = self._send_backlog()
            if sent is None:
                return
            if sent == 0:
                break
        self._resend()
        self._look_for_strays()

    def _start_over_if_needed(self) -> None:
        with self._state:
            if not self._must_start_over:
                return
            self._must_start_over = False
            # Whatever was in flight may be lost with the old connection.
            self._in_flight.clear()
            self._silence_s = self._resend_after_s
        self._live_after = self._outbox.last_row_id
        self._backlog.clear()
        if self._live_after:
            self._backlog.append((0, self._live_after))

    def _send_live(self) -> bool:
        """Rows that became durable since the last look. Returns False when the bus takes no more."""
        newest = self._outbox.last_row_id
        while self._live_after < newest:
            room = self._room(self._max_in_flight)
            if room <= 0:
                # Central is behind. Keep the place; new rows become backlog, so that later ones overtake them.
                self._push_segment(self._live_after, newest)
                self._live_after = newest
                return True
            rows = self._outbox.committed_after(self._live_after, min(room, self._batch_rows), up_to=newest)
            if not rows:
                self._live_after = newest
                return True
            if not self._send(rows):
                return False
            self.counters.live_rows += len(rows)
            self._live_after = rows[-1].row_id
        return True

    def _send_backlog(self) -> int | None:
        """One batch of the oldest segment. Returns rows sent; None when the bus takes no more."""
        if not self._backlog:
            return 0
        after, up_to = self._backlog[0]
        room = self._room(max(1, int(self._max_in_flight * (1 - _LIVE_SHARE))))
        # Small crumbs as receipts trickle in would waste messages.
        if room < min(self._batch_rows, self._max_in_flight // 4 or 1):
            return 0
        rows = self._outbox.committed_after(after, min(room, self._batch_rows), up_to=up_to)
        if rows and not self._send(rows):
            return None
        self.counters.backlog_rows += len(rows)
        if not rows or rows[-1].row_id >= up_to:
            self._backlog.popleft()
        else:
            self._backlog[0] = (rows[-1].row_id, up_to)
        return max(1, len(rows))

    def _resend(self) -> None:
        now = self._clock.monotonic()
        with self._state:
            due = [flight.row_id for flight in self._in_flight.values() if now - flight.sent_at >= self._silence_s]
            if not due:
                return
            # Doubles until a receipt comes: a central that is down must not be met by an ever fuller broker.
            self._silence_s = min(self._silence_s * 2, self._longest_silence_s)
        gone: set[int] = set()
        for start in range(0, len(due), self._batch_rows):
            if self._is_stopping:
                return
            chunk = due[start : start + self._batch_rows]
            rows = self._outbox.committed_rows(chunk)
            if rows and not self._send(rows):
                return
            self.counters.resent_rows += len(rows)
            gone.update(set(chunk) - {row.row_id for row in rows})
        if gone:
            # Removed or set aside meanwhile: nothing more to wait for.
            with self._state:
                for key in [key for key, flight in self._in_flight.items() if flight.row_id in gone]:
                    del self._in_flight[key]

    def _look_for_strays(self) -> None:
        """Durable rows that nobody waits for (a receipt that could not be applied): begin again with all."""
        now = self._clock.monotonic()
        with self._state:
            if self._in_flight or self._backlog or not self._outbox.row_count:
                self._idle_since = now
            elif now - self._idle_since >= self._resend_after_s:
                self._idle_since = now
                self._must_start_over = True

    def _room(self, bound: int) -> int:
        with self._state:
            return bound - len(self._in_flight)

    def _push_segment(self, after: int, up_to: int) -> None:
        if self._backlog and self._backlog[-1][1] >= after:
            self._backlog[-1] = (self._backlog[-1][0], up_to)
        elif len(self._backlog) >= _MAX_SEGMENTS:
            # Bounded: joining two segments sends the rows between again, which central ignores.
            self._backlog[-1] = (self._backlog[-1][0], up_to)
        else:
            self._backlog.append((after, up_to))

    def _send(self, rows: list[StoredReport]) -> bool:
        """Publish rows, one epoch a message, and note them as in flight. False: the bus refused."""
        for epoch, same in groupby(rows, key=lambda row: row.epoch):
            reports = self._readable(same)
            if not reports:
                continue
            message = codec.encode_reports(self._station, epoch, [row.body for row in reports])
            now = self._clock.monotonic()
            # Noted before it is sent: the receipt may be faster than the next line.
            with self._state:
                for row in reports:
                    self._in_flight[(epoch, row.sequence)] = _InFlight(row.row_id, now)
            if not self._bus.publish(self._topic, message, qos=1):
                self.counters.refused_messages += 1
                with self._state:
                    for row in reports:
                        self._in_flight.pop((epoch, row.sequence), None)
                return False
            self.counters.messages += 1
        return True

    def _readable(self, rows: Iterable[StoredReport]) -> list[StoredReport]:
        """Those that are reports, as `codec.encode` writes them."""
        readable: list[StoredReport] = []
        unreadable: list[int] = []
        for row in rows:
            if self._outbox.is_as_written(row):
                readable.append(row)
                continue
            # From before a restart, or long ago: the disk or an older version may have made it something else.
            try:
                report = InspectionReported.model_validate_json(row.body)
            except ValidationError as error:
                unreadable.append(row.row_id)
                _log.error("stored report set aside epoch=%d sequence=%d: %s", row.epoch, row.sequence, error)
            else:
                readable.append(row._replace(body=codec.encode(report)))
        if unreadable:
            self._outbox.set_aside(unreadable)
        return readable
