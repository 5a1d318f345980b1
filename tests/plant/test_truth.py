# SPDX-License-Identifier: Apache-2.0
"""The book of truth: nothing is written twice, nothing is forgotten, errors are counted by the glossary."""

import sqlite3
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from plant.line.truth import PartTruth, TruthBook

STATION = "demo/line-1/st-1"


def part(number: int, kind: str | None = None, *, is_known: bool = True, station: str = STATION) -> PartTruth:
    return PartTruth(
        station=station,
        trigger_number=number,
        part_number=number,
        product="ring",
        part_id=f"ring-{number}",
        is_defective=(kind is not None) if is_known else None,
        defect_class=kind,
        severity=0.5 if kind else None,
        mask_px=12 if kind else 0,
        phase="line",
        side="A",
        captured_at=datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC),
    )


def test_what_is_recorded_is_read_back_also_after_reopening(tmp_path: Path) -> None:
    book = TruthBook(tmp_path / "truth.db")
    book.record(part(1))
    book.record(part(2, "scratch"))
    book.record(part(3, is_known=False))
    book.close()
    book = TruthBook(tmp_path / "truth.db")
    assert list(book.rows()) == [part(1), part(2, "scratch"), part(3, is_known=False)]
    assert book.truth(STATION, 2) == part(2, "scratch")
    assert book.truth(STATION, 9) is None
    assert (book.count(), book.last_trigger(STATION), book.last_trigger("demo/line-1/st-2")) == (3, 3, 0)
    book.close()


def test_a_trigger_number_is_never_used_twice(tmp_path: Path) -> None:
    book = TruthBook(tmp_path / "truth.db")
    book.record(part(1))
    with pytest.raises(sqlite3.IntegrityError):
        book.record(part(1, "scratch"))
    assert book.count() == 1
    book.close()


def test_several_cameras_write_at_once(tmp_path: Path) -> None:
    book = TruthBook(tmp_path / "truth.db")

    def write(station: str) -> None:
        for number in range(1, 51):
            book.record(part(number, station=station))

    threads = [threading.Thread(target=write, args=(f"demo/line-1/st-{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert book.count() == 200
    assert len(list(book.rows("demo/line-1/st-3"))) == 50
    book.close()
