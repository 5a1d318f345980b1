# SPDX-License-Identifier: Apache-2.0
"""The outbox's SQLite file: schema, transactions, and what to do when the file is damaged.

No threads, no queue, no retry: `outbox.Outbox` has those and is the only caller. WAL with synchronous FULL, so a
commit is on the disk before it is reported. A damaged file is moved aside whole, never repaired in place.
"""

import contextlib
import fcntl
import logging
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Final, NamedTuple

from pydantic import ValidationError

from contracts.commands import SequenceRange
from contracts.reports import InspectionReported
from edge_agent.errors import DeviceError
from edge_agent.reporting.reserve import DiskReserve

_log = logging.getLogger(__name__)

# AUTOINCREMENT: a row id is never used twice, so a cursor over ids never skips a row.
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS report (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    epoch INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    body BLOB NOT NULL,
    UNIQUE (epoch, sequence)
);
CREATE TABLE IF NOT EXISTS unreadable (epoch INTEGER, sequence INTEGER, body BLOB);
CREATE TABLE IF NOT EXISTS fact (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
"""
_PAGE_BYTES: Final = 4096
# Twice what SQLite's log grows to before it is folded back (1000 pages).
_RESERVE_BYTES: Final = 8 * 1024 * 1024
# Free space with which a full disk takes rows again: the reserve, and a log of the usual size beside it.
ROOM_WANTED_BYTES: Final = _RESERVE_BYTES + _RESERVE_BYTES // 4
_EPOCH: Final = "epoch"
_LAST_TRIGGER: Final = "last_trigger_number"
_KEPT_DAMAGED_FILES: Final = 3
_SIDE: Final = ("-wal", "-shm")
# Primary result codes that say something of the disk or of another process, not of the file's content.
_NOT_DAMAGE: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_READONLY,
    }
)


class StoredReport(NamedTuple):
    """A durable row: `row_id` rises in the order of commit; `body` is the JSON of an `InspectionReported`."""

    row_id: int
    epoch: int
    sequence: int
    body: bytes


class NewReport(NamedTuple):
    """A row on its way to the disk."""

    epoch: int
    sequence: int
    trigger_number: int | None
    body: bytes
    # Monotonic time at which it was handed over; the file does not keep it.
    put_at_s: float = 0.0


class OutboxFile:
    """One open outbox file. Writes come from one thread; reads may come from others.

    `damage` says in words what was found wrong at opening and what was saved, or is empty.

    Raises:
        DeviceError: another process has the file, or the folder cannot be used.
    """

    def __init__(self, path: Path, unix_ms: int, *, max_bytes: int) -> None:
        self._path = path
        self._reading = threading.Lock()
        self.damage = ""
        self.rows = 0
        self.last_row_id = 0
        self._reserve = DiskReserve(path.with_name(path.name + ".reserve"), _RESERVE_BYTES)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock_file = _lock(path)
        except OSError as error:
            msg = f"outbox {path}: cannot be opened ({error.strerror})"
            raise DeviceError(msg, remedy="check the folder, its disk and its rights", code="outbox-open") from error
        try:
            # A station must start on a full disk too.
            self._reserve.give_up()
            self._open(unix_ms, max_bytes)
            self._reserve.take()
        except (sqlite3.Error, OSError) as error:
            self._lock_file.close()
            msg = f"outbox {path}: cannot be opened ({error})"
            raise DeviceError(msg, remedy="check the folder, its disk and its rights", code="outbox-open") from error

    def _open(self, unix_ms: int, max_bytes: int) -> None:
        saved: list[StoredReport] = []
        trigger: int | None = None
        old_epoch = 0
        try:
            self._writer = _connect(self._path, max_bytes)
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF in _NOT_DAMAGE:
                raise
            moved = _move_aside(self._path, unix_ms)
            saved, trigger, old_epoch, gone = _salvage(moved)
            self.damage = f"{error}; {len(saved)} report(s) saved, {gone} gone, damaged file kept as {moved.name}"
            _log.error("outbox damaged path=%s found=%s saved=%d gone=%d", self._path, error, len(saved), gone)
            self._writer = _connect(self._path, max_bytes)
        self._reader = sqlite3.connect(self._path, check_same_thread=False, timeout=5.0)
        self.epoch = self._next_epoch(unix_ms, old_epoch)
        if saved:
            self.insert([NewReport(row.epoch, row.sequence, trigger, row.body) for row in saved])
        self.rows = int(self._writer.execute("SELECT COUNT(*) FROM report").fetchone()[0])
        self.last_row_id = int(self._writer.execute("SELECT COALESCE(MAX(id), 0) FROM report").fetchone()[0])

    def _next_epoch(self, unix_ms: int, old_epoch: int) -> int:
        # Also beside the database: a damaged database and a clock set back must not bring an epoch twice.
        beside = self._path.with_name(self._path.name + ".epoch")
        try:
            noted = int(beside.read_text())
        except (OSError, ValueError):
            noted = 0
        epoch = max(unix_ms, self._fact(_EPOCH, 0) + 1, noted + 1, old_epoch + 1)
        with self._transaction():
            self._set_fact(_EPOCH, epoch)
        new = beside.with_name(beside.name + ".new")
        with new.open("w") as file:
            file.write(str(epoch))
            file.flush()
            os.fsync(file.fileno())
        new.replace(beside)
        return epoch

    def insert(self, reports: Sequence[NewReport]) -> int:
        """Write reports in one transaction, durable on return. Rows that are there already are left alone.

        Returns how many were new.

        Raises:
            sqlite3.Error: nothing was written (disk full, I/O error).
        """
        with self._transaction():
            before = self._writer.total_changes
            self._writer.executemany(
                "INSERT OR IGNORE INTO report (epoch, sequence, body) VALUES (?, ?, ?)",
                [(report.epoch, report.sequence, report.body) for report in reports],
            )
            new = self._writer.total_changes - before
            triggers = [report.trigger_number for report in reports if report.trigger_number is not None]
            if triggers:
                self._set_fact(_LAST_TRIGGER, triggers[-1])
            newest = int(self._writer.execute("SELECT COALESCE(MAX(id), 0) FROM report").fetchone()[0])
        self.rows += new
        self.last_row_id = newest or self.last_row_id
        return new

    def delete(self, ranges: Iterable[tuple[int, SequenceRange]]) -> int:
        """Remove (epoch, range) pairs in one transaction. Returns how many rows went.

        Raises:
            sqlite3.Error: nothing was removed.
        """
        with self._transaction():
            gone = 0
            for epoch, span in ranges:
                gone += self._writer.execute(
                    "DELETE FROM report WHERE epoch = ? AND sequence BETWEEN ? AND ?", (epoch, span.first, span.last)
                ).rowcount
        self.rows -= gone
        return gone

    def may_insert(self, reports: Sequence[NewReport]) -> bool:
        """False on a full disk while there are no free pages: the little room left is for acting on receipts."""
        if self._reserve.take():
            return True
        free = int(self._writer.execute("PRAGMA freelist_count").fetchone()[0]) * _PAGE_BYTES
        return free > 2 * sum(len(report.body) for report in reports)

    def disk_refused(self) -> None:
        """A write failed: make room for the next receipts."""
        self._reserve.give_up()
        with contextlib.suppress(sqlite3.Error):
            self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def set_aside(self, row_ids: Sequence[int]) -> None:
        """Move rows that cannot be read as reports out of the way, for a person to look at."""
        with self._transaction():
            for row_id in row_ids:
                self._writer.execute(
                    "INSERT INTO unreadable SELECT epoch, sequence, body FROM report WHERE id = ?", (row_id,)
                )
                self.rows -= self._writer.execute("DELETE FROM report WHERE id = ?", (row_id,)).rowcount

    def read(self, after: int, up_to: int | None, limit: int) -> list[StoredReport]:
        """Durable rows with `after` < id ≤ `up_to`, oldest first. Any thread."""
        query = "SELECT id, epoch, sequence, body FROM report WHERE id > ? AND id <= ? ORDER BY id LIMIT ?"
        with self._reading:
            return [StoredReport(*row) for row in self._reader.execute(query, (after, up_to or 2**62, limit))]

    def read_rows(self, row_ids: Sequence[int]) -> list[StoredReport]:
        """Those of these rows that are still there, oldest first; at most some thousand. Any thread."""
        marks = ",".join("?" * len(row_ids))
        query = f"SELECT id, epoch, sequence, body FROM report WHERE id IN ({marks}) ORDER BY id"  # noqa: S608 - marks
        with self._reading:
            return [StoredReport(*row) for row in self._reader.execute(query, row_ids)]

    def last_trigger_number(self) -> int | None:
        """Trigger number of the last durable report that had one."""
        value = self._fact(_LAST_TRIGGER, -1)
        return None if value < 0 else value

    def close(self) -> None:
        """Fold the WAL back and release the file."""
        with self._reading:
            self._reader.close()
        with contextlib.suppress(sqlite3.Error):
            self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._writer.close()
        self._lock_file.close()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._writer.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._writer.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self._writer.execute("ROLLBACK")
            raise

    def _fact(self, name: str, default: int) -> int:
        row = self._writer.execute("SELECT value FROM fact WHERE name = ?", (name,)).fetchone()
        return default if row is None else int(row[0])

    def _set_fact(self, name: str, value: int) -> None:
        self._writer.execute(
            "INSERT INTO fact VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value", (name, value)
        )


def _connect(path: Path, max_bytes: int) -> sqlite3.Connection:
    """Open and check.

    Raises:
        sqlite3.DatabaseError: damaged, or not a database.
    """
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
    try:
        connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA journal_size_limit = 16777216")
        found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise sqlite3.DatabaseError(str(found))  # noqa: TRY301 - same road as SQLite's own finding
        connection.executescript(_SCHEMA)
        connection.execute(f"PRAGMA max_page_count = {max(16, max_bytes // _PAGE_BYTES)}")
    except BaseException:
        connection.close()
        raise
    return connection


def _lock(path: Path) -> IO[bytes]:
    file = path.with_name(path.name + ".lock").open("wb")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        msg = f"outbox {path}: another process has it open"
        remedy = "stop the other station process, or give this one its own data_dir"
        raise DeviceError(msg, remedy=remedy, code="outbox-open") from error
    return file


def _move_aside(path: Path, unix_ms: int) -> Path:
    moved = path.with_name(f"{path.name}.damaged-{unix_ms}")
    for suffix in ("", *_SIDE):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.replace(moved.with_name(moved.name + suffix))
    kept = sorted(found for found in path.parent.glob(f"{path.name}.damaged-*") if found.suffix[-4:] not in _SIDE)
    for old in kept[:-_KEPT_DAMAGED_FILES]:
        for suffix in ("", *_SIDE):
            old.with_name(old.name + suffix).unlink(missing_ok=True)
    return moved


def _salvage(path: Path) -> tuple[list[StoredReport], int | None, int, int]:
    """What can still be read: reports (oldest first), the last trigger number, the last epoch; and how many are gone.

    Gone are the row ids that are missing behind the oldest saved one; a few of them may have had their receipt.
    """
    saved: dict[int, StoredReport] = {}
    facts: dict[str, int] = {}
    newest = 0
    with contextlib.suppress(sqlite3.DatabaseError), contextlib.closing(sqlite3.connect(path)) as old:
        # From both ends: damage in the middle hides neither the oldest nor the newest rows.
        for order in ("ASC", "DESC"):
            with contextlib.suppress(sqlite3.DatabaseError):
                for row in old.execute(f"SELECT id, epoch, sequence, body FROM report ORDER BY id {order}"):  # noqa: S608
                    if row[0] in saved:
                        break
                    if _is_report(row):
                        saved[row[0]] = StoredReport(*row)
        with contextlib.suppress(sqlite3.DatabaseError, TypeError, ValueError):
            facts = {str(name): int(value) for name, value in old.execute("SELECT name, value FROM fact")}
        with contextlib.suppress(sqlite3.DatabaseError, TypeError, ValueError):
            newest = int(old.execute("SELECT seq FROM sqlite_sequence WHERE name = 'report'").fetchone()[0])
    gone = max(newest, *saved) - min(saved) + 1 - len(saved) if saved else 0
    return [saved[row_id] for row_id in sorted(saved)], facts.get(_LAST_TRIGGER), facts.get(_EPOCH, 0), gone


def _is_report(row: tuple[object, ...]) -> bool:
    _row_id, epoch, sequence, body = row
    if not (isinstance(epoch, int) and isinstance(sequence, int) and isinstance(body, bytes)):
        return False
    try:
        return InspectionReported.model_validate_json(body).sequence == sequence
    except ValidationError:
        return False
