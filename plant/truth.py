# SPDX-License-Identifier: Apache-2.0
"""The plant's own book of what every part really was, keyed by station and trigger number.

Written by the cameras before a frame leaves them; read by the simulated inspector and the report. Knows
nothing of verdicts until the report joins them. No other package may read it: the system under test must
not see the truth.
"""

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import astuple, dataclass, fields
from datetime import datetime
from pathlib import Path

from contracts.vocabulary import Verdict

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


@dataclass(frozen=True)
class JudgedPart:
    """What the system said of a part, as far as the comparison needs it."""

    verdict: Verdict
    package_id: str | None = None


@dataclass(frozen=True)
class JoinedPart:
    """Truth beside verdict. `judged` None: no report of this part."""

    truth: PartTruth
    judged: JudgedPart | None


@dataclass(frozen=True)
class Count:
    """`count` of `of`; a rate is never formed here, because its interval belongs to it."""

    count: int
    of: int


@dataclass(frozen=True)
class ErrorCounts:
    """Errors against truth. An escape is a defective part judged OK, an overkill a good one judged NG."""

    new_kind_escapes: Count
    all_escapes: Count
    overkill: Count
    reviews: int
    no_decisions: int
    unjudged: int
    escapes_by_kind: dict[str, Count]


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


def join(truths: Iterable[PartTruth], verdicts: Mapping[tuple[str, int], JudgedPart]) -> list[JoinedPart]:
    """Put each part beside its verdict, found by (station, trigger number)."""
    return [JoinedPart(truth, verdicts.get((truth.station, truth.trigger_number))) for truth in truths]


def count_errors(joined: Iterable[JoinedPart], new_kind: str | None) -> ErrorCounts:
    """Count escapes and overkills among parts whose truth and verdict are known.

    REVIEW and NO_DECISION are neither escape nor overkill, but their parts stay in the denominators: the
    part was not passed, and a system that reviews everything must not look worse than it is.
    """
    by_kind: dict[str, list[int]] = {}
    good = overkill = reviews = no_decisions = unjudged = 0
    for part in joined:
        if part.judged is None:
            unjudged += 1
            continue
        verdict = part.judged.verdict
        reviews += verdict is Verdict.REVIEW
        no_decisions += verdict is Verdict.NO_DECISION
        if part.truth.is_defective is None:
            continue
        if part.truth.is_defective:
            tally = by_kind.setdefault(part.truth.defect_class or "unnamed", [0, 0])
            tally[0] += verdict is Verdict.OK
            tally[1] += 1
        else:
            good += 1
            overkill += verdict is Verdict.NG
    counts = {kind: Count(escaped, of) for kind, (escaped, of) in sorted(by_kind.items())}
    return ErrorCounts(
        new_kind_escapes=counts.get(new_kind or "", Count(0, 0)),
        all_escapes=Count(sum(c.count for c in counts.values()), sum(c.of for c in counts.values())),
        overkill=Count(overkill, good),
        reviews=reviews,
        no_decisions=no_decisions,
        unjudged=unjudged,
        escapes_by_kind=counts,
    )


def _row(values: tuple[object, ...]) -> PartTruth:
    named = dict(zip((field.name for field in fields(PartTruth)), values, strict=True))
    defective = named["is_defective"]
    named["is_defective"] = None if defective is None else bool(defective)
    named["captured_at"] = datetime.fromisoformat(str(named["captured_at"]))
    return PartTruth(**named)  # type: ignore[arg-type]  # columns are those of the class, typed by our own writer
