# SPDX-License-Identifier: Apache-2.0
"""The plant's own book of what every part really was, keyed by station and trigger number.

Written by the cameras before a frame leaves them; read by the simulated inspector and the report. Knows
nothing of verdicts until the report joins them. No other package may read it: the system under test must
not see the truth.
"""

import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import astuple, dataclass, fields
from datetime import datetime
from pathlib import Path

_SCHEMA = """
CREATE TABLE IF NOT EXISTS truth (
  station TEXT NOT NULL, trigger_number INTEGER NOT NULL, part_number INTEGER NOT NULL, product TEXT NOT NULL,
  part_id TEXT NOT NULL, is_defective INTEGER, defect_class TEXT, severity REAL, mask_px INTEGER,
  phase TEXT NOT NULL, side TEXT NOT NULL, captured_at TEXT NOT NULL,
  PRIMARY KEY (station, trigger_number)) WITHOUT ROWID
"""


@dataclass(frozen=True)
class PartTruth:
    """One part at one camera. `is_defective` None: nobody knows (replayed pictures without labels)."""

    station: str
    trigger_number: int
    part_number: int
    product: str
    part_id: str
    is_defective: bool | None
    defect_class: str | None
    severity: float | None
    mask_px: int | None
    phase: str
    side: str
    captured_at: datetime


class TruthBook:
    """The book on disk. Safe for several threads; each row is committed before `record` returns."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, check_same_thread=False)
        # NORMAL: survives a killed process, which is what the plant plays; not a power cut.
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.execute(_SCHEMA)
        self._db.commit()

    def record(self, row: PartTruth) -> None:
        """Write one part down.

        Raises:
            sqlite3.IntegrityError: this station has used the trigger number before; a fault of the caller.
        """
        values = (*astuple(row)[:-1], row.captured_at.isoformat())
        with self._lock, self._db:
            self._db.execute(f"INSERT INTO truth VALUES ({','.join('?' * len(values))})", values)  # noqa: S608 - only question marks

    def truth(self, station: str, trigger_number: int) -> PartTruth | None:
        """Truth of one part, None if that trigger never happened."""
        found = self._read("WHERE station = ? AND trigger_number = ?", (station, trigger_number))
        return found[0] if found else None

    def rows(self, station: str | None = None) -> Iterator[PartTruth]:
        """All parts, by station and trigger number."""
        if station is None:
            yield from self._read("ORDER BY station, trigger_number", ())
        else:
            yield from self._read("WHERE station = ? ORDER BY trigger_number", (station,))

    def last_trigger(self, station: str) -> int:
        """Highest trigger number of a station; 0 before the first."""
        with self._lock:
            row = self._db.execute("SELECT max(trigger_number) FROM truth WHERE station = ?", (station,)).fetchone()
        return int(row[0] or 0)

    def count(self) -> int:
        """Number of parts written down."""
        with self._lock:
            return int(self._db.execute("SELECT count(*) FROM truth").fetchone()[0])

    def close(self) -> None:
        """Close the file. Later calls fail."""
        with self._lock:
            self._db.close()

    def _read(self, where: str, values: tuple[object, ...]) -> list[PartTruth]:
        columns = ", ".join(field.name for field in fields(PartTruth))
        with self._lock:
            found = self._db.execute(f"SELECT {columns} FROM truth {where}", values).fetchall()  # noqa: S608 - our own constants
        return [_row(values) for values in found]


def _row(values: tuple[object, ...]) -> PartTruth:
    named = dict(zip((field.name for field in fields(PartTruth)), values, strict=True))
    defective = named["is_defective"]
    named["is_defective"] = None if defective is None else bool(defective)
    named["captured_at"] = datetime.fromisoformat(str(named["captured_at"]))
    return PartTruth(**named)  # type: ignore[arg-type]  # columns are those of the class, typed by our own writer
