# SPDX-License-Identifier: Apache-2.0
"""The book of truth: nothing is written twice, nothing is forgotten, errors are counted by the glossary."""

import sqlite3
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from contracts.vocabulary import Verdict
from plant.truth import Count, JudgedPart, PartTruth, TruthBook, count_errors, join

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


def test_escapes_and_overkills_are_counted_over_defective_and_good_parts() -> None:
    truths = [part(1), part(2), part(3), part(4, "scratch"), part(5, "chatter"), part(6, "chatter"), part(7, "chatter")]
    truths += [part(8), part(9, is_known=False), part(10)]
    said = dict.fromkeys(range(1, 11), Verdict.OK) | {2: Verdict.NG, 3: Verdict.REVIEW, 4: Verdict.NG}
    said |= {6: Verdict.REVIEW, 7: Verdict.NO_DECISION, 9: Verdict.NG}
    verdicts = {(STATION, number): JudgedPart(verdict) for number, verdict in said.items() if number != 10}
    counts = count_errors(join(truths, verdicts), "chatter")
    assert counts.new_kind_escapes == Count(1, 3)
    assert counts.all_escapes == Count(1, 4)
    assert counts.overkill == Count(1, 4)
    assert (counts.reviews, counts.no_decisions, counts.unjudged) == (2, 1, 1)
    assert counts.escapes_by_kind == {"chatter": Count(1, 3), "scratch": Count(0, 1)}
