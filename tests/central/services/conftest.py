# SPDX-License-Identifier: Apache-2.0
"""The bench, and an end to every training process that a test left running."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from central.store.database import Database
from tests.central.conftest import RememberingPublisher, StillClock
from tests.central.services.bench import Bench
from tests.central.services.trainers import end_trainings


@pytest.fixture(name="bench")
def _bench(
    sqlite_database: Database, publisher: RememberingPublisher, clock: StillClock, tmp_path: Path
) -> Iterator[Bench]:
    yield from _with_end(Bench(sqlite_database, publisher, clock, tmp_path))


@pytest.fixture(name="any_bench")
def _any_bench(
    database: Database, publisher: RememberingPublisher, clock: StillClock, tmp_path: Path
) -> Iterator[Bench]:
    """On SQLite and on PostgreSQL."""
    yield from _with_end(Bench(database, publisher, clock, tmp_path))


def _with_end(bench: Bench) -> Iterator[Bench]:
    yield bench
    end_trainings(bench.trainings_dir)
    for child in bench.children:
        child.wait()
