# SPDX-License-Identifier: Apache-2.0
"""What central's tests share: a still clock, migrated databases, a publisher that remembers, made-up reports.

Brokers and whole processes are in `tests/central/ingest`.
"""

import random
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from central.store.blobs import Blobs
from central.store.database import Database
from central.store.schema import migrate
from contracts.ids import StationAddress
from contracts.reports import ImageMeasures, InspectionReported, StageLatency
from contracts.vocabulary import Disposition, SignalState, Variant, Verdict, VerdictCause
from tests.central.postgres import Cluster, server_binaries

START = datetime(2026, 3, 1, 6, 0, 30, tzinfo=UTC)
STATION = StationAddress(site="plant", line="line-1", station="st-1")
PACKAGE = "a" * 64

_DISPOSITIONS = {Verdict.OK: Disposition.PASSED, Verdict.NG: Disposition.REJECTED}


class StillClock:
    """Says the time it was told."""

    def __init__(self, at: datetime = START) -> None:
        self.at = at

    def now(self) -> datetime:
        return self.at

    def advance(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


class RememberingPublisher:
    """Takes everything, or nothing when `is_full`."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, bytes]] = []
        self.is_full = False

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> bool:  # noqa: ARG002 - the seam's signature
        if self.is_full:
            return False
        self.sent.append((topic, payload))
        return True


def make_report(sequence: int, verdict: Verdict = Verdict.OK, **changes: object) -> InspectionReported:
    """A report of a simulated ring, valid in itself."""
    is_judged = verdict is not Verdict.NO_DECISION
    report = InspectionReported(
        sequence=sequence,
        trigger_number=sequence - 1,
        part_id=f"part-{sequence}",
        product="ring",
        captured_at=START,
        verdict=verdict,
        cause=VerdictCause.SCORE if is_judged else VerdictCause.LATE,
        score=0.25 if is_judged else None,
        ok_limit=0.5,
        ng_limit=0.75,
        package_id=PACKAGE if is_judged else None,
        variant=Variant.INT8_U8S8 if is_judged else None,
        provider="CPUExecutionProvider",
        disposition=_DISPOSITIONS.get(verdict, Disposition.HELD),
        signal=SignalState.SENT,
        latency=StageLatency(
            capture_ms=1.5, prepare_ms=1.0, infer_ms=5.0, decide_ms=0.5, actuate_ms=0.5, verdict_ms=8.0, reject_ms=8.5
        ),
        image=ImageMeasures(brightness=120.0, contrast=30.0, blur=400.0, colour=2.0),
        is_simulated=True,
    )
    return report.model_copy(update=changes)


def one_file(database: Database) -> None:
    """Close a SQLite database so that its file alone can be copied: nothing may be left in the log."""
    with database.engine.connect() as connection:
        connection.exec_driver_sql("ROLLBACK")
        connection.exec_driver_sql("PRAGMA journal_mode = DELETE")
    database.close()


@pytest.fixture(name="clock")
def _clock() -> StillClock:
    return StillClock()


@pytest.fixture(name="publisher")
def _publisher() -> RememberingPublisher:
    return RememberingPublisher()


@pytest.fixture(name="rng")
def _rng() -> random.Random:
    return random.Random(7)


@pytest.fixture(name="migrated_sqlite", scope="session")
def _migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated file to copy: migrating takes longer than most tests."""
    path = tmp_path_factory.mktemp("template") / "central.db"
    database = Database(f"sqlite:///{path}")
    migrate(database)
    one_file(database)
    return path


@pytest.fixture(name="cluster", scope="session")
def _cluster() -> Iterator[Cluster]:
    binaries = server_binaries()
    if binaries is None:
        pytest.skip("PostgreSQL's server binaries are not installed (initdb, postgres)")
    with Cluster(binaries) as cluster:
        yield cluster


@pytest.fixture(name="sqlite_database")
def _sqlite_database(migrated_sqlite: Path, tmp_path: Path) -> Iterator[Database]:
    path = tmp_path / "central.db"
    shutil.copyfile(migrated_sqlite, path)
    database = Database(f"sqlite:///{path}")
    yield database
    database.close()


@pytest.fixture(name="database", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def _database(request: pytest.FixtureRequest) -> Iterator[Database]:
    """An empty migrated database, of both kinds."""
    if request.param == "sqlite":
        yield request.getfixturevalue("sqlite_database")
        return
    cluster: Cluster = request.getfixturevalue("cluster")
    url = cluster.new_database()
    database = Database(url)
    yield database
    database.close()
    cluster.drop(url)


@pytest.fixture(name="blobs")
def _blobs(tmp_path: Path) -> Blobs:
    return Blobs((tmp_path / "blobs").as_uri(), tmp_path / "uploads")


@pytest.fixture(name="count_rows")
def _count_rows() -> Callable[[Database, str], int]:
    def count(database: Database, table: str) -> int:
        with database.read() as session:
            return int(session.connection().exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one())  # noqa: S608 - our own names

    return count
