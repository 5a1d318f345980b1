# SPDX-License-Identifier: Apache-2.0
"""What rollouts and assignments make of a station that fell back, and of challengers."""

from datetime import timedelta
from pathlib import Path

import pytest
from sqlmodel import select

from central.api.views import sync_word
from central.services.rollouts.assigning import Assigner
from central.store.tables import Station
from contracts.commands import ChallengerAssignment
from contracts.reports import PackageProgress, PackageStatus
from contracts.vocabulary import PackageState, RefusalReason, RolloutState
from tests.central.conftest import START, STATION
from tests.central.services.bench import PRODUCT, Bench
from tests.central.services.lines import line

CHAMPION, CHALLENGER = "a" * 64, "b" * 64


def test_a_station_that_falls_back_ends_the_rollout_and_says_why(bench: Bench, tmp_path: Path) -> None:
    (first, second), champion = line(bench, tmp_path, "st-1", "st-2")
    bench.register(2, tmp_path, champion=champion)
    bench.tick(2)
    bench.say(first, PackageState.FELL_BACK, RefusalReason.ERRED)
    bench.tick(2)
    assert bench.rollout().state is RolloutState.ERROR
    assert "it erred and the station fell back" in bench.rollout().machine
    assert second.running[PRODUCT] == champion


@pytest.mark.parametrize(
    ("states", "word"),
    [
        ([(CHAMPION, PackageState.FELL_BACK)], "ERROR"),
        ([(CHALLENGER, PackageState.SHADOW), (CHAMPION, PackageState.ACTIVE)], "IN_SYNC"),
        ([(CHALLENGER, PackageState.REFUSED), (CHAMPION, PackageState.ACTIVE)], "ERROR"),
    ],
)
def test_a_station_in_shadow_is_in_step_and_one_that_fell_back_is_not(
    states: list[tuple[str, PackageState]], word: str
) -> None:
    rows = [PackageProgress(product="ring", package_id=found, state=state, at=START) for found, state in states]
    status = PackageStatus(station=STATION, assignment_number=3, at=START, packages=rows)
    assert sync_word(3, {"ring": CHAMPION}, status) == word


def test_a_renewed_assignment_names_the_same_challenger(bench: Bench) -> None:
    station = bench.add_station("st-1")
    assigner = Assigner(bench.database, bench.publisher, bench.assignment_key, 30.0)
    order = ChallengerAssignment(package_id=CHALLENGER, parts=500)
    with bench.database.begin() as session:
        row = session.exec(select(Station)).one()
        packages, now = {PRODUCT: CHAMPION}, bench.clock.now()
        assigner.assign(session, row, packages, "shadow", now, challengers={PRODUCT: order})
    assigner.publish_waiting(bench.clock.now(), everything=False)
    bench.answer()
    bench.later(days=25)
    assigner.renew(bench.clock.now())
    assigner.publish_waiting(bench.clock.now(), everything=False)
    bench.answer()
    assert [item.number for item in station.assignments] == [1, 2]
    assert [item.packages[0].challenger for item in station.assignments] == [order, order]
    assert station.assignments[-1].expires_at > bench.clock.now() + timedelta(days=29)
