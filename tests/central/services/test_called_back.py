# SPDX-License-Identifier: Apache-2.0
"""Who was away: a freeze reaches it too, a slow download is no error, and none is left in shadow for ever."""

from pathlib import Path

import pytest

from central.domain.rollout_plan import RolloutPlan, ShadowPlan, TargetFilter, WavePlan, WaveScope
from central.services.rollouts.state import state_of
from central.settings import RolloutSettings
from central.store.repositories import stations as rows
from central.store.rollout_tables import FreezeRow
from contracts.reports import PackageProgress, PackageStatus
from contracts.vocabulary import PackageState, RolloutState, Verdict
from tests.central.services.bench import PRODUCT, Bench, FakeStation
from tests.central.services.lines import line
from tests.central.services.test_rollout_plans import freeze, set_policy
from tests.central.services.test_rollout_shadow import Line

OK = Verdict.OK


def leave(bench: Bench, station: FakeStation) -> None:
    """Nothing is heard of it for longer than central waits."""
    del bench.stations[str(station.address)]
    bench.tick(15, seconds=10)


def come_back(bench: Bench, station: FakeStation) -> None:
    """It reads what the broker kept for it: the newest order alone."""
    bench.stations[str(station.address)] = station
    bench.heartbeat(station)
    bench.rollouts.publish_all_again()
    station.installs = True
    bench.tick(3)


def lift(bench: Bench, number: int) -> None:
    with bench.database.begin() as session:
        session.get_one(FreezeRow, number).lifted_at = bench.clock.now()


@pytest.mark.parametrize("is_away", [True, False])
def test_order_that_was_not_taken_when_a_freeze_begins_is_called_back_and_given_after_it(
    bench: Bench, tmp_path: Path, is_away: bool
) -> None:
    (first, _), champion = line(bench, tmp_path, "st-1", "st-2")
    first.installs = False
    candidate = bench.register(2, tmp_path, champion=champion)
    bench.tick(1)
    assert first.assignments[-1].packages[0].package_id == candidate
    if is_away:
        leave(bench, first)
    number = freeze(bench, 24)
    bench.tick(2)
    come_back(bench, first)
    bench.tick(3)
    assert first.running == {PRODUCT: champion}
    assert first.assignments[-1].packages[0].package_id == champion
    assert any("canary called back from" in text and "frozen until" in text for text in said(bench))
    lift(bench, number)
    bench.tick(3)
    assert first.running == {PRODUCT: candidate}
    assert bench.rollout().state is RolloutState.RUNNING


def test_freeze_leaves_alone_who_has_taken_the_order_and_who_waits_for_a_window_alone(
    bench: Bench, tmp_path: Path
) -> None:
    (first, _), champion = line(bench, tmp_path, "st-1", "st-2")
    candidate = bench.register(2, tmp_path, champion=champion)
    bench.tick(2)
    given = len(first.assignments)
    leave(bench, first)
    freeze(bench, 24)
    bench.tick(2)
    come_back(bench, first)
    assert first.running == {PRODUCT: candidate}
    assert len(first.assignments) == given


def test_slow_download_that_moves_sends_nobody_back(bench: Bench, tmp_path: Path) -> None:
    (first, _), champion = line(bench, tmp_path, "st-1", "st-2")
    first.installs = False
    candidate = bench.register(2, tmp_path, champion=champion)
    bench.tick(1)
    for done in range(1, 60):
        moving(bench, first, candidate, done * 1_000)
        bench.tick(1, seconds=10)
    assert bench.rollout().state is RolloutState.RUNNING
    for _ in range(20):
        bench.tick(1, seconds=10)
    assert bench.rollout().state is RolloutState.ERROR


@pytest.mark.parametrize(("is_withdrawn", "is_meant"), [(False, True), (True, True), (False, False)])
def test_station_that_a_rollout_to_some_finished_without_is_not_left_in_shadow(
    bench: Bench, tmp_path: Path, is_withdrawn: bool, is_meant: bool
) -> None:
    (first, second), champion = line(bench, tmp_path, "st-1", "st-2")
    bench.add_station("st-3")
    bench.tick(2)
    bench.build(rollout=RolloutSettings(is_automatic=False, bake_parts=20))
    plant = object.__new__(Line)
    plant.bench, plant.first, plant.champion = bench, first, champion
    plant.challenger = bench.register(2, tmp_path, champion=champion)
    wave = WavePlan(WaveScope.COUNT, 2, max_away_share=0.5, shadow=ShadowPlan(margin=0.05), control=None)
    named = [str(first.address), str(second.address)]
    if not is_meant:
        # They were named one by one: the product's policy is for others.
        set_policy(bench, RolloutPlan(target=TargetFilter(stations=("plant/line-1/st-3",))))
    bench.rollouts.start(plant.challenger, named, None, "a trial", bench.clock.now(), plan=RolloutPlan(waves=(wave,)))
    bench.tick(2)
    leave(bench, second)
    plant.judge([(OK, OK)] * 900)
    bench.tick(3)
    bench.report(first, [OK] * 20)
    bench.tick(4)
    assert bench.rollout().state is RolloutState.FINISHED
    assert plant.orders(second)[-1] == (champion, plant.challenger)
    if is_withdrawn:
        bench.repository.withdraw(plant.challenger, bench.clock.now())
    come_back(bench, second)
    expected = champion if is_withdrawn else plant.challenger
    assert plant.orders(second)[-1] == (expected, None)
    given = len(plant.orders(second))
    bench.tick(5)
    assert len(plant.orders(second)) == given


def moving(bench: Bench, station: FakeStation, package_id: str, done: int) -> None:
    """The station's word that so many bytes of the package have come."""
    now = bench.clock.now()
    row = PackageProgress(
        product=PRODUCT,
        package_id=package_id,
        state=PackageState.DOWNLOADING,
        bytes_done=done,
        bytes_total=10**6,
        at=now,
    )
    number = station.assignments[-1].number
    status = PackageStatus(station=station.address, assignment_number=number, at=now, packages=[row])
    with bench.database.begin() as session:
        rows.keep_package_status(session, station.address, status.model_dump_json(), now)


def said(bench: Bench) -> tuple[str, ...]:
    return state_of(bench.rollout()).history
