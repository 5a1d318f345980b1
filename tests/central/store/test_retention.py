# SPDX-License-Identifier: Apache-2.0
import hashlib
import os
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlmodel import select

from central.services.retention import RetentionService
from central.settings import EvidenceSettings, IngestSettings
from central.store.blobs import Blobs
from central.store.database import Database
from central.store.repositories import evidence, reports
from central.store.repositories.audits import keep_label
from central.store.tables import Audit, Evidence, Inspection, LabelledPicture
from contracts.ids import InspectionId
from contracts.reports import EvidenceOffered
from contracts.vocabulary import AuditState, EvidenceKind, Judgement, LabelSource, Verdict
from tests.central.conftest import START, STATION, make_report

EPOCH = 5
VERDICTS = {1: Verdict.OK, 2: Verdict.NG, 3: Verdict.OK, 4: Verdict.OK}


def _picture(number: int) -> bytes:
    return f"picture {number}".encode()


def _sha256(number: int) -> str:
    return hashlib.sha256(_picture(number)).hexdigest()


@pytest.fixture(name="stocked")
def _stocked(database: Database, blobs: Blobs) -> Database:
    """Four inspections with pictures: accepted, rejected, accepted and audited, accepted and labelled."""
    with database.begin() as session:
        made = [make_report(number, verdict) for number, verdict in VERDICTS.items()]
        reports.store_batch(session, [reports.StationReports(STATION, EPOCH, made)], [], START)
        for number in VERDICTS:
            offered = EvidenceOffered(
                inspection=InspectionId(station=STATION, epoch=EPOCH, sequence=number),
                kind=EvidenceKind.CROP,
                sha256=blobs.put(_picture(number)),
                size_bytes=len(_picture(number)),
                media_type="image/png",
                is_simulated=True,
            )
            evidence.offer(session, offered, START, is_stored=True)
        audited = session.exec(select(Inspection.id).where(Inspection.sequence == 3)).one()
        assert audited is not None
        session.add(
            Audit(
                inspection_id=audited,
                drawn_at=START,
                inclusion_probability=0.5,
                state=AuditState.JUDGED,
                is_simulated=True,
            )
        )
        keep_label(
            session,
            LabelledPicture(
                product="ring",
                sha256=_sha256(4),
                judgement=Judgement.GOOD,
                source=LabelSource.REFERENCE,
                added_at=START,
                is_simulated=True,
            ),
        )
    return database


def _kept(database: Database, blobs: Blobs) -> list[int]:
    with database.read() as session:
        rows = sorted(session.exec(select(Evidence.sequence)).all())
    assert rows == [number for number in VERDICTS if blobs.has(_sha256(number))]
    return rows


@pytest.mark.parametrize(("days", "kept"), [(10, [1, 2, 3, 4]), (31, [2, 3, 4]), (400, [3, 4])])
def test_pictures_go_by_age_but_never_those_a_judgement_rests_on(
    stocked: Database, blobs: Blobs, days: int, kept: list[int]
) -> None:
    service = RetentionService(stocked, blobs, EvidenceSettings(), IngestSettings())
    service.tick(START + timedelta(days=days))
    assert _kept(stocked, blobs) == kept


def test_picture_shared_with_a_kept_inspection_keeps_its_file(stocked: Database, blobs: Blobs) -> None:
    with stocked.begin() as session:
        offered = EvidenceOffered(
            inspection=InspectionId(station=STATION, epoch=EPOCH, sequence=2),
            kind=EvidenceKind.HEATMAP,
            sha256=_sha256(1),
            size_bytes=9,
            media_type="image/png",
            is_simulated=True,
        )
        evidence.offer(session, offered, START, is_stored=True)
    RetentionService(stocked, blobs, EvidenceSettings(), IngestSettings()).tick(START + timedelta(days=31))
    assert blobs.has(_sha256(1))


def test_zero_days_keep_pictures_for_ever(stocked: Database, blobs: Blobs) -> None:
    forever = EvidenceSettings(accepted_kept_days=0, rejected_kept_days=0)
    RetentionService(stocked, blobs, forever, IngestSettings()).tick(START + timedelta(days=4000))
    assert _kept(stocked, blobs) == [1, 2, 3, 4]


def test_old_inspections_go_only_when_asked_and_judged_ones_never(
    stocked: Database, blobs: Blobs, count_rows: Callable[[Database, str], int]
) -> None:
    late = START + timedelta(days=100)
    RetentionService(stocked, blobs, EvidenceSettings(), IngestSettings()).tick(late)
    assert count_rows(stocked, "inspection") == 4
    short = EvidenceSettings(inspections_kept_days=50)
    RetentionService(stocked, blobs, short, IngestSettings()).tick(late)
    with stocked.read() as session:
        assert session.exec(select(Inspection.sequence)).all() == [3]
    # What was counted stays counted.
    with stocked.read() as session:
        (parts,) = session.connection().exec_driver_sql("SELECT sum(parts) FROM rollup_minute").one()
    assert parts == 4


@pytest.mark.parametrize(
    ("kept", "days", "left"),
    [
        (EvidenceSettings(inspections_kept_days=20), 31, [1, 2, 3, 4]),
        (EvidenceSettings(inspections_kept_days=20), 366, [3, 4]),
        (EvidenceSettings(inspections_kept_days=20, accepted_kept_days=0), 366, [1, 2, 3, 4]),
    ],
)
def test_pictures_whose_inspection_is_gone_go_by_the_longer_time(
    stocked: Database, blobs: Blobs, kept: EvidenceSettings, days: int, left: list[int]
) -> None:
    RetentionService(stocked, blobs, kept, IngestSettings()).tick(START + timedelta(days=21))
    RetentionService(stocked, blobs, kept, IngestSettings()).tick(START + timedelta(days=days))
    assert _kept(stocked, blobs) == left


def _many(database: Database, number: int) -> None:
    with database.begin() as session:
        made = [make_report(sequence) for sequence in range(1, number + 1)]
        reports.store_batch(session, [reports.StationReports(STATION, EPOCH, made)], [], START)


def test_one_tick_lets_go_of_more_than_one_bite_and_pauses_in_between(
    database: Database, blobs: Blobs, count_rows: Callable[[Database, str], int]
) -> None:
    _many(database, 1_200)
    pauses: list[float] = []
    kept = EvidenceSettings(inspections_kept_days=1)
    service = RetentionService(database, blobs, kept, IngestSettings(), pause=pauses.append)
    service.tick(START + timedelta(days=2))
    assert count_rows(database, "inspection") == 0
    assert len(pauses) == 2
    assert (service.counts.inspections, service.counts.unfinished_ticks) == (1_200, 0)


def test_a_tick_ends_when_its_time_is_spent_and_says_so(
    sqlite_database: Database, blobs: Blobs, count_rows: Callable[[Database, str], int]
) -> None:
    _many(sqlite_database, 1_200)
    seconds = iter(range(0, 1_000, 60))
    kept = EvidenceSettings(inspections_kept_days=1)
    service = RetentionService(
        sqlite_database, blobs, kept, IngestSettings(), monotonic=lambda: next(seconds), pause=lambda _s: None
    )
    service.tick(START + timedelta(days=2))
    assert count_rows(sqlite_database, "inspection") == 700
    assert service.counts.unfinished_ticks == 1


def test_an_audit_drawn_while_retention_looks_keeps_picture_and_inspection(
    stocked: Database, blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = EvidenceSettings(inspections_kept_days=1)
    service = RetentionService(stocked, blobs, kept, IngestSettings())
    bite = service._drop_pictures

    def audit_then_bite(found: Sequence[int], now: datetime) -> None:
        with stocked.begin() as session:
            accepted = session.exec(select(Inspection.id).where(Inspection.sequence == 1)).one()
            assert accepted is not None
            session.add(
                Audit(
                    inspection_id=accepted,
                    drawn_at=START,
                    inclusion_probability=0.5,
                    state=AuditState.OPEN,
                    is_simulated=True,
                )
            )
        bite(found, now)

    monkeypatch.setattr(service, "_drop_pictures", audit_then_bite)
    service.tick(START + timedelta(days=31))
    assert 1 in _kept(stocked, blobs)
    with stocked.read() as session:
        assert sorted(session.exec(select(Inspection.sequence)).all()) == [1, 3]


def test_quarantine_is_bounded_and_keeps_the_newest(
    database: Database, blobs: Blobs, count_rows: Callable[[Database, str], int]
) -> None:
    with database.begin() as session:
        poison = [reports.Poison("t", str(number).encode(), "unreadable") for number in range(10)]
        reports.store_batch(session, [], poison, START)
    RetentionService(database, blobs, EvidenceSettings(), IngestSettings(max_quarantine_rows=3)).tick(START)
    assert count_rows(database, "quarantine") == 3
    with database.read() as session:
        rows = session.connection().exec_driver_sql("SELECT payload FROM quarantine ORDER BY id").scalars()
        assert [bytes(row) for row in rows] == [b"7", b"8", b"9"]


def test_a_flooded_quarantine_goes_in_bites_with_pauses_in_between_and_whole(
    sqlite_database: Database, blobs: Blobs, count_rows: Callable[[Database, str], int]
) -> None:
    with sqlite_database.begin() as session:
        poison = [reports.Poison("t", str(number).encode(), "unreadable") for number in range(4_503)]
        reports.store_batch(session, [], poison, START)
    pauses: list[float] = []
    bounds = IngestSettings(max_quarantine_rows=3)
    service = RetentionService(sqlite_database, blobs, EvidenceSettings(), bounds, pause=pauses.append)
    service.tick(START)
    assert count_rows(sqlite_database, "quarantine") == 3
    assert len(pauses) == 2
    assert service.counts.quarantine_rows == 4_500


def test_unfinished_uploads_go_after_their_time(sqlite_database: Database, blobs: Blobs, tmp_path: Path) -> None:
    blobs.append(_sha256(1), 0, b"pict", 9)
    blobs.append(_sha256(2), 0, b"pict", 9)
    (old,) = (tmp_path / "uploads").glob(f"{_sha256(1)}*")
    os.utime(old, (START.timestamp() - 25 * 3600,) * 2)
    (young,) = (tmp_path / "uploads").glob(f"{_sha256(2)}*")
    os.utime(young, (START.timestamp() - 3600,) * 2)
    RetentionService(sqlite_database, blobs, EvidenceSettings(), IngestSettings()).tick(START)
    assert (blobs.upload_offset(_sha256(1)), blobs.upload_offset(_sha256(2))) == (0, 4)
