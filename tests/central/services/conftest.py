# SPDX-License-Identifier: Apache-2.0
"""The bench, and an end to every training process that a test left running."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from central.services.trainer_run import TrainerRun
from central.store.database import Database
from tests.central.conftest import RememberingPublisher, StillClock
from tests.central.services.bench import Bench


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
    for folder in bench.trainings_dir.glob("*"):
        run = TrainerRun(folder)
        progress = run.progress()
        if run.is_alive() and progress is not None and progress.pid:
            os.killpg(progress.pid, signal.SIGKILL)
    for child in bench.children:
        child.wait()
