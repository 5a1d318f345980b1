# SPDX-License-Identifier: Apache-2.0
"""The durable outbox: every inspection report, until central's receipt says that it is committed there.

Hands rows to one writer thread that commits them in groups; knows no network and sends nothing (the reporter
does). The loop puts, the reporter reads and applies receipts, the heartbeat counts.

What happens at the bounds: a full or broken disk raises a fault and rows wait in memory. When memory's bound is
reached too, `put` blocks: the station then judges no further part, the fail-safe gate diverts what passes, and
the gap in trigger numbers is reported later. A row is never dropped while the process lives. What waits in memory
goes with it: at a kill, and at a stop on a disk that still refuses; the parts are then a gap of the next start.
`is_behind` tells the loop that the oldest of them has waited too long: from then on no part may pass on a verdict
that such an end would lose.
"""

import logging
import math
import sqlite3
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from contracts import codec
from contracts.commands import ReportsCommitted, SequenceRange
from contracts.reports import InspectionReported, StationFault
from edge_agent.clock import Clock
from edge_agent.errors import DeviceError
from edge_agent.reporting.faults import FaultBook
from edge_agent.reporting.outbox_file import ROOM_WANTED_BYTES, NewReport, OutboxFile, StoredReport

_log = logging.getLogger(__name__)

# Reports that are in no commit yet, at most. With the part in hand: what a kill can leave signalled and unrecorded.
MAX_WAITING_REPORTS: Final = 20_000

# How long a report may wait for the disk before the outbox says that it is behind.
BEHIND_AFTER_S: Final = 2.0

_GROUP_ROWS: Final = 1000
# Between two commits: parts of a fast line share one, with its message and its receipt. What a kill can cost more of is
# a part or two, which the next start finds.
_GATHER_S: Final = 0.01
_KNOWN_REPORTS: Final = 1000
_MAX_WAITING_RECEIPTS: Final = 1000
_FEW: Final = 10
_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 5.0
_CLOSE_TIMEOUT_S: Final = 10.0


@dataclass
class OutboxCounters:
    """What happened since the start. Written by the outbox, read by anyone."""

    committed: int = 0
    commits: int = 0
    removed: int = 0
    write_failures: int = 0
    blocked_puts: int = 0
    duplicates: int = 0
    receipts_refused: int = 0
    unreadable: int = 0
    lost_at_close: int = 0


class Outbox:
    """See the module. One process at a time has the file.

    Args:
        path: the SQLite file; made with its folder when absent.
        clock: for the epoch.
        max_rows: durable rows at most; beyond it rows wait in memory.
        max_bytes: size of the file at most; beyond it SQLite says that the disk is full.
        max_waiting: rows in memory at most; beyond it `put` blocks.
        behind_after_s: `is_behind` once the oldest row in memory is older.

    Raises:
        DeviceError: another process has the file, or the folder cannot be used.
    """

    def __init__(
        self,
        path: Path,
        clock: Clock,
        *,
        max_rows: int = 2_000_000,
        max_bytes: int = 8 * 1024**3,
        max_waiting: int = MAX_WAITING_REPORTS,
        behind_after_s: float = BEHIND_AFTER_S,
    ) -> None:
        self.counters = OutboxCounters()
        self._clock = clock
        self._behind_after_s = behind_after_s
        # When the oldest row in memory was put; written under `_state`, read by the loop without it.
        self._waiting_since_s: float | None = None
        self._faults = FaultBook(clock)
        self._max_rows = max_rows
        self._max_waiting = max_waiting
        self._file = OutboxFile(path, int(clock.now().timestamp() * 1000), max_bytes=max_bytes)
        if self._file.damage:
            remedy = "check the disk; what was saved is sent as usual; remove the damaged file after looking at it"
            self._faults.add("outbox-damaged", self._file.damage, remedy)
        self._last_trigger = self._file.last_trigger_number()
        self._sequence = 0
        self._state = threading.Condition()
        self._rows: deque[NewReport] = deque()
        self._receipts: deque[tuple[int, list[SequenceRange]]] = deque()
        self._set_aside: list[int] = []
        # The newest reports as this process wrote them, by sequence.
        self._own: OrderedDict[int, bytes] = OrderedDict()
        self._put_total = 0
        self._receipts_total = 0
        self._receipts_done = 0
        self._is_closing = False
        self._on_commit: list[Callable[[], None]] = []
        self._on_refusal: list[Callable[[int], None]] = []
        self._thread = threading.Thread(target=self._write_for_ever, name="outbox-writer", daemon=True)
        self._thread.start()

    @property
    def epoch(self) -> int:
        """The epoch of this process start; greater than every earlier one."""
        return self._file.epoch

    @property
    def row_count(self) -> int:
        """Reports without a receipt, durable ones and waiting ones."""
        with self._state:
            return self._file.rows + len(self._rows)

    @property
    def last_row_id(self) -> int:
        """Row id of the newest durable report."""
        return self._file.last_row_id

    @property
    def is_behind(self) -> bool:
        """Whether the oldest report in memory has waited too long for the disk. One read; takes no lock."""
        since_s = self._waiting_since_s
        return since_s is not None and self._clock.monotonic() - since_s > self._behind_after_s

    def faults(self) -> list[StationFault]:
        """What a person must look at now."""
        since_s = self._waiting_since_s
        if since_s is None or not self.is_behind:
            self._faults.clear("outbox-behind")
        else:
            waited_s = self._clock.monotonic() - since_s
            message = f"a report has waited {waited_s:.1f} s for the disk; every part is held until reports are durable"
            if self._faults.add(
                "outbox-behind", message, "free disk space, restore the link to central, check the disk"
            ):
                _log.error("outbox is behind waited_s=%.1f waiting=%d", waited_s, len(self._rows))
        return self._faults.current()

    def next_sequence(self) -> int:
        """A fresh sequence number of this epoch, counted from 1."""
        with self._state:
            self._sequence += 1
            return self._sequence

    def last_trigger_number(self) -> int | None:
        """Trigger number of the newest report that had one, over all epochs; None on a fresh disk."""
        with self._state:
            return self._last_trigger

    def on_commit(self, callback: Callable[[], None]) -> None:
        """Call back after rows became durable, on the writer's thread; must be quick."""
        with self._state:
            self._on_commit.append(callback)

    def on_refusal(self, callback: Callable[[int], None]) -> None:
        """Call back with the bytes that are wanted when the disk refused a write, on the writer's thread; quick."""
        with self._state:
            self._on_refusal.append(callback)

    def put(self, report: InspectionReported) -> None:
        """Hand a report over. Does not wait for the disk, except when memory's bound is reached (see the module).

        Raises:
            ValueError: a sequence that `next_sequence` did not give.
            DeviceError: the outbox is closed; the report was not taken.
        """
        if not 1 <= report.sequence <= self._sequence:
            msg = f"sequence: expected one that next_sequence() gave (1 … {self._sequence}), got {report.sequence}"
            raise ValueError(msg)
        body = codec.encode(report)
        row = NewReport(self.epoch, report.sequence, report.trigger_number, body, self._clock.monotonic())
        with self._state:
            if len(self._rows) >= self._max_waiting and not self._is_closing:
                self.counters.blocked_puts += 1
                message = f"{len(self._rows)} reports wait in memory; the station is held until they are on the disk"
                self._faults.add("outbox-blocked", message, "free disk space or restore the link to central")
                _log.error("outbox blocks the station waiting=%d", len(self._rows))
                self._state.wait_for(lambda: len(self._rows) < self._max_waiting or self._is_closing)
            if self._is_closing:
                msg = f"outbox is closed; report {report.sequence} was not taken"
                raise DeviceError(msg, code="outbox-closed")
            if not self._rows:
                self._waiting_since_s = row.put_at_s
            self._rows.append(row)
            self._own[report.sequence] = body
            if len(self._own) > _KNOWN_REPORTS:
                self._own.popitem(last=False)
            self._put_total += 1
            if report.trigger_number is not None:
                self._last_trigger = report.trigger_number
            self._state.notify_all()

    def committed_after(self, row_id: int, limit: int, *, up_to: int | None = None) -> list[StoredReport]:
        """Durable reports with a greater row id (and not above `up_to`), oldest first, all epochs."""
        return self._file.read(row_id, up_to, limit)

    def committed_rows(self, row_ids: list[int]) -> list[StoredReport]:
        """Those of these durable reports that are still there, oldest first."""
        return self._file.read_rows(row_ids)

    def is_as_written(self, row: StoredReport) -> bool:
        """Whether a durable report is to the last byte one of the newest that this process put: it needs no check."""
        return row.epoch == self.epoch and self._own.get(row.sequence) == row.body

    def apply_receipt(self, receipt: ReportsCommitted) -> bool:
        """Remove what central has committed. Takes no time; the writer does it.

        Returns False when too many receipts wait already: the rows stay and will be sent again.
        """
        ranges = [*receipt.ranges, *receipt.quarantined]
        with self._state:
            if len(self._receipts) >= _MAX_WAITING_RECEIPTS or self._is_closing:
                self.counters.receipts_refused += 1
                return False
            self._receipts.append((receipt.epoch, ranges))
            self._receipts_total += 1
            self._state.notify_all()
            return True

    def set_aside(self, row_ids: list[int]) -> None:
        """Rows that cannot be read as reports: keep them in the file, but out of the queue, with a fault."""
        with self._state:
            self._set_aside.extend(row_ids)
            self._state.notify_all()

    def flush(self, timeout_s: float | None = None) -> bool:
        """Wait until all that was handed over so far is durable or removed. False: not in time."""
        with self._state:
            rows, receipts = self._put_total, self._receipts_total
            return self._state.wait_for(
                lambda: (
                    self._put_total - len(self._rows) >= rows
                    and self._receipts_done >= receipts
                    and not self._set_aside
                ),
                timeout_s,
            )

    def close(self, timeout_s: float = _CLOSE_TIMEOUT_S) -> None:
        """Write what waits, then release the file. May be called twice."""
        with self._state:
            was_closing, self._is_closing = self._is_closing, True
            self._state.notify_all()
        if was_closing:
            return
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            # Stuck in the kernel on a dead disk: closing under it would be worse than leaving it.
            _log.error("outbox writer does not end waiting=%d", len(self._rows))
            return
        self._file.close()

    def _write_for_ever(self) -> None:
        pause_s, written_s = 0.0, -math.inf
        while True:
            with self._state:
                if pause_s:
                    # A receipt ends the pause: what it removes makes room.
                    known = self._receipts_total
                    self._state.wait_for(lambda: self._is_closing or self._receipts_total > known, pause_s)  # noqa: B023 - waits here
                self._state.wait_for(lambda: self._is_closing or self._has_work())
                if (early_s := written_s + _GATHER_S - time.monotonic()) > 0:
                    self._state.wait_for(lambda: self._is_closing, early_s)
                is_last_round = self._is_closing and (bool(pause_s) or not self._has_work())
                rows = list(islice(self._rows, max(0, min(_GROUP_ROWS, self._max_rows - self._file.rows))))
                # After a failure few at a time: a small transaction may fit where a large one does not.
                receipts = list(islice(self._receipts, _FEW if pause_s else None))
                aside = list(self._set_aside)
            if is_last_round:
                self._count_lost()
                return
            is_done = self._write(rows, receipts, aside)
            written_s = time.monotonic()
            pause_s = 0.0 if is_done else min(max(_FIRST_PAUSE_S, pause_s * 2), _LONGEST_PAUSE_S)

    def _has_work(self) -> bool:
        is_full = self._file.rows >= self._max_rows
        if (
            is_full
            and self._rows
            and self._faults.add(
                "outbox-full", f"{self._file.rows} reports wait for central's receipt", "restore the link to central"
            )
        ):
            _log.error("outbox is full rows=%d max_rows=%d", self._file.rows, self._max_rows)
        return bool(self._receipts or self._set_aside or (self._rows and not is_full))

    def _write(self, rows: list[NewReport], receipts: list[tuple[int, list[SequenceRange]]], aside: list[int]) -> bool:
        """One round. Returns False when the disk refused; nothing is forgotten then."""
        try:
            # Receipts first: they free the pages that the new rows need on a full disk.
            if receipts:
                self.counters.removed += self._file.delete((epoch, span) for epoch, spans in receipts for span in spans)
                self._settle(receipts=len(receipts))
            if aside:
                self._file.set_aside(aside)
                self._settle(aside=len(aside))
            if rows and not self._file.may_insert(rows):
                self._note_full_disk("no room left but for acting on receipts")
                return False
            if rows:
                new = self._file.insert(rows)
                self.counters.commits += 1
                self.counters.committed += new
                self.counters.duplicates += len(rows) - new
                self._settle(rows=len(rows))
        except sqlite3.Error as error:
            self.counters.write_failures += 1
            self._file.disk_refused()
            self._note_full_disk(str(error))
            return False
        self._faults.clear("outbox-disk")
        if rows:
            for callback in self._on_commit:
                callback()
        return True

    def _note_full_disk(self, why: str) -> None:
        message = f"the disk does not take reports: {why}; {len(self._rows)} wait in memory"
        if self._faults.add("outbox-disk", message, "free disk space; if it stays, restart the station"):
            _log.error("outbox cannot write reason=%s waiting=%d", why, len(self._rows))
        for callback in self._on_refusal:
            callback(ROOM_WANTED_BYTES)

    def _settle(self, *, rows: int = 0, receipts: int = 0, aside: int = 0) -> None:
        with self._state:
            for _ in range(rows):
                self._rows.popleft()
            self._waiting_since_s = self._rows[0].put_at_s if self._rows else None
            for _ in range(receipts):
                self._receipts.popleft()
            self._receipts_done += receipts
            if aside:
                self.counters.unreadable += aside
                del self._set_aside[:aside]
                self._faults.add(
                    "outbox-unreadable",
                    f"{self.counters.unreadable} stored report(s) could not be read and were set aside",
                    "look at table 'unreadable' of the outbox file",
                )
            if len(self._rows) < self._max_waiting:
                self._faults.clear("outbox-blocked")
            if self._file.rows < self._max_rows:
                self._faults.clear("outbox-full")
            self._state.notify_all()

    def _count_lost(self) -> None:
        with self._state:
            self.counters.lost_at_close = len(self._rows)
            if self._rows:
                _log.error("outbox closes with reports that the disk never took lost=%d", len(self._rows))
