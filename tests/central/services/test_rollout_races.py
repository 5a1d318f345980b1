# SPDX-License-Identifier: Apache-2.0
"""Two that begin a rollout of one product in the same moment: one is begun, on SQLite and on PostgreSQL."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlmodel import Session, select

from central.errors import ConflictError
from central.services.rollouts import beginning, planning
from central.services.rollouts.beginning import Asked, begin_as_asked
from central.settings import RolloutSettings
from central.store.database import Database
from central.store.learning_tables import Package, Promotion, RolloutRow
from contracts.vocabulary import DetectorKind, PromotionOutcome

NOW = datetime(2026, 1, 5, 8, tzinfo=UTC)
PACKAGES = ("a" * 64, "b" * 64)


def _promote(session: Session, package_id: str) -> None:
    session.add(
        Package(
            package_id=package_id,
            product="ring",
            detector=DetectorKind.MEMORY_BANK,
            created_at=NOW,
            registered_at=NOW,
            size_bytes=1,
            manifest="{}",
            is_simulated=False,
        )
    )
    session.flush()
    promoted = PromotionOutcome.PROMOTED
    session.add(Promotion(package_id=package_id, outcome=promoted, decided_at=NOW, checks=[]))


def test_of_two_packages_begun_at_once_one_is_under_way(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with database.begin() as session:
        for package_id in PACKAGES:
            _promote(session, package_id)
    # Each has looked whether a rollout is under way, and waits a moment for the other to have looked too.
    both = threading.Barrier(2)

    plan_for = planning.asked_plan

    def slow_plan(*given: Any, **named: Any) -> Any:
        with suppress(threading.BrokenBarrierError):
            both.wait(1.0)
        return plan_for(*given, **named)

    monkeypatch.setattr(beginning, "asked_plan", slow_plan)

    def begin(package_id: str) -> str | None:
        try:
            with database.begin() as session:
                begin_as_asked(session, package_id, Asked("by hand"), RolloutSettings(), NOW)
        except ConflictError as refusal:
            return str(refusal)
        return None

    with ThreadPoolExecutor(2) as pool:
        said = list(pool.map(begin, PACKAGES))
    assert sum(each is None for each in said) == 1
    assert any(each is not None and "a product has one at a time" in each for each in said)
    with database.read() as session:
        assert len(session.exec(select(RolloutRow)).all()) == 1
