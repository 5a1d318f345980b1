# SPDX-License-Identifier: Apache-2.0
"""Years of rows: what goes with its time, what stays however old, and that it goes in small bites."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert
from sqlmodel import select

from central.history_settings import HistorySettings
from central.quality.switching import Inspection as Severity
from central.services.history import HistoryService
from central.services.watches.chart_blocks import Stream, blocks_of
from central.store.audit_tables import AuditShift
from central.store.database import Database
from central.store.learning_tables import ChartBlock
from central.store.repositories import stations
from central.store.tables import Audit, Inspection, RollupLatency, RollupMinute
from contracts.vocabulary import AuditState, Disposition, SignalState, Verdict, VerdictCause

BEGAN = datetime(2021, 1, 1, 6, 0, tzinfo=UTC)
STATION = "plant/line-1/st-1"
_YEARS = 5 * 365
_SHIFTS = 3 * _YEARS
# Blocks of a package that judged 2,600 of them in its two years, one in about 6.7 hours.
_BLOCKS = 2_600
NOW = BEGAN + timedelta(days=_YEARS)


def _shift(station_id: int, number: int, product: str, **changes: Any) -> dict[str, Any]:
    begins = BEGAN + timedelta(hours=8 * number)
    row = {
        "station_id": station_id, "product": product, "is_simulated": False, "shift": f"{begins:%Y-%m-%d %H:%M}",
        "begins_at": begins, "ends_at": begins + timedelta(hours=8), "opened_at": begins, "chance": 0.5,
        "inspection": Severity.NORMAL, "reason": "", "changed_at": begins, "recent": [], "score": 0,
        "accepted_in_a_row": 0, "rejected_while_tightened": 0, "is_steady": True, "expected": 0, "spent": 0.0,
        "accepted": 0, "drawn": 0, "counted_at": begins + timedelta(hours=9),
    }  # fmt: skip
    return row | changes


def _block(station_id: int, number: int, package_id: str, hours: float) -> dict[str, Any]:
    return {
        "station_id": station_id, "product": "ring", "package_id": package_id, "is_simulated": False, "number": number,
        "last_inspection_id": 50 * (number + 1), "at": BEGAN + timedelta(hours=hours * number), "parts": 50,
        "diverted": 1, "brightness": 100.0, "log_score": -1.0,
    }  # fmt: skip


def _minutes(station_id: int, **more: Any) -> list[dict[str, Any]]:
    key = {"station_id": station_id, "product": "ring", "package_id": "a" * 64, "is_simulated": False}
    return [{"minute": BEGAN + timedelta(days=day), "parts": 60, **key, **more} for day in range(_YEARS)]


@pytest.fixture(name="aged")
def _aged(database: Database) -> Database:
    """Five years: shifts of a product, one of a product that was made once, two packages' charts, sums by minute."""
    with database.begin() as session:
        station_id = stations.ensure(session, [STATION], BEGAN)[STATION]
        run = session.connection().execute
        shifts = [_shift(station_id, number, "ring") for number in range(_SHIFTS)]
        shifts[3]["counted_at"] = None
        run(insert(AuditShift), [*shifts, _shift(station_id, 0, "bolt")])
        run(insert(ChartBlock), [_block(station_id, number, "a" * 64, 6.7) for number in range(_BLOCKS)])
        run(insert(ChartBlock), [_block(station_id, number, "b" * 64, 1.0) for number in range(700)])
        run(insert(RollupMinute), _minutes(station_id))
        run(insert(RollupLatency), _minutes(station_id, bucket=3))
        part = Inspection(
            station_id=station_id, epoch=1, sequence=1, product="ring", captured_at=BEGAN, committed_at=BEGAN,
            verdict=Verdict.OK, cause=VerdictCause.SCORE, score=0.1, is_simulated=False,
            disposition=Disposition.PASSED, signal=SignalState.SENT,
        )  # fmt: skip
        session.add(part)
        session.flush()
        waiting = session.exec(select(AuditShift.id).where(AuditShift.product == "ring").order_by("id")).all()[5]
        session.add(
            Audit(
                inspection_id=part.id or 0, product="ring", drawn_at=BEGAN, inclusion_probability=0.5,
                state=AuditState.OPEN, is_simulated=False, shift_id=waiting,
            )
        )  # fmt: skip
    return database


def _tick(database: Database, **settings: float) -> HistoryService:
    service = HistoryService(database, HistorySettings(**settings), pause=lambda _s: None)
    service.tick(NOW)
    return service


def _shifts(database: Database, product: str) -> list[datetime]:
    with database.read() as session:
        wanted = select(AuditShift.begins_at).where(AuditShift.product == product).order_by("begins_at")
        return list(session.exec(wanted).all())


def test_old_shifts_go_but_not_those_in_use(aged: Database) -> None:
    service = _tick(aged)
    left = _shifts(aged, "ring")
    assert left[0] == BEGAN + timedelta(hours=24), "not counted"
    assert left[1] == BEGAN + timedelta(hours=40), "a part of it waits for a person"
    assert left[2] >= NOW - timedelta(days=1_095, hours=8)
    assert left[-1] == BEGAN + timedelta(hours=8 * (_SHIFTS - 1))
    assert len(left) == 2 + 3 * 1_095 + 1
    assert _shifts(aged, "bolt") == [BEGAN], "the newest of its product says what holds"
    assert service.counts["audit_shift"] == _SHIFTS - len(left)


def test_charts_keep_their_reference_and_their_newest_blocks(aged: Database) -> None:
    def charts() -> list[list[int]]:
        with aged.read() as session:
            station_id = session.exec(select(ChartBlock.station_id)).first()
            streams = [Stream(station_id or 0, STATION, "ring", one * 64, is_simulated=False) for one in "ab"]
            return [[block.number for block in blocks_of(session, each, 200, 400)] for each in streams]

    before = charts()
    service = _tick(aged)
    assert charts() == before
    with aged.read() as session:
        left = sorted(session.exec(select(ChartBlock.number).where(ChartBlock.package_id == "a" * 64)).all())
    assert left == [*range(500), *range(_BLOCKS - 1_000, _BLOCKS)]
    assert service.counts["chart_block"] == _BLOCKS - 1_500


def test_latencies_go_and_counts_stay_unless_asked(aged: Database, count_rows: Callable[[Database, str], int]) -> None:
    _tick(aged)
    assert count_rows(aged, "rollup_latency") == 400
    assert count_rows(aged, "rollup_minute") == _YEARS
    _tick(aged, minutes_kept_days=30)
    assert count_rows(aged, "rollup_minute") == 30


def test_zero_days_keep_everything(aged: Database, count_rows: Callable[[Database, str], int]) -> None:
    tables = ("audit_shift", "chart_block", "rollup_latency", "rollup_minute")
    before = [count_rows(aged, table) for table in tables]
    service = _tick(aged, shifts_kept_days=0, blocks_kept_days=0, latency_kept_days=0)
    assert [count_rows(aged, table) for table in tables] == before
    assert service.counts == {}


def test_a_backlog_goes_in_bites_over_several_ticks(
    aged: Database, count_rows: Callable[[Database, str], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("central.services.history._BITE_ROWS", 100)
    monkeypatch.setattr("central.services.history._MOST_BITES", 3)
    pauses: list[float] = []
    service = HistoryService(aged, HistorySettings(), pause=pauses.append)
    service.tick(NOW)
    assert count_rows(aged, "audit_shift") == _SHIFTS + 1 - 300
    assert len(pauses) == 6, "between the three bites of each of three tables"
    for _ in range(20):
        service.tick(NOW)
    assert len(_shifts(aged, "ring")) == 2 + 3 * 1_095 + 1
