# SPDX-License-Identifier: Apache-2.0
"""A station that runs the package of a trial is compared with that, not with the champion that it never ran."""

import json
from pathlib import Path

import pytest

from central.domain.rollout_plan import RolloutPlan, ShadowPlan, WavePlan, WaveScope
from central.services.rollouts.state import state_of
from central.store.repositories import rollout_policies
from contracts.vocabulary import Judgement, RolloutState, Verdict
from tests.central.services.bench import PRODUCT, Bench
from tests.central.services.test_rollout_shadow import Line

OK, NG = Verdict.OK, Verdict.NG
PLAN = RolloutPlan(waves=(WavePlan(WaveScope.COUNT, 1, shadow=ShadowPlan(margin=0.05)), WavePlan(WaveScope.ALL)))


@pytest.fixture
def plant(bench: Bench, tmp_path: Path) -> Line:
    """st-1 runs the package of a trial that st-2 never saw; a third package is in shadow there."""
    plant = Line(bench, tmp_path)
    now = bench.clock.now
    bench.rollouts.abort(bench.rollout().id or 0, "anna", now())
    plant.tick()
    trial = bench.register(5, tmp_path, champion=plant.champion)
    bench.rollouts.start(trial, [str(plant.first.address)], None, "a trial", now())
    bench.tick(2)
    bench.report(plant.first, [OK] * 20)
    bench.tick(4)
    assert (bench.rollout().state, bench.champion()) == (RolloutState.FINISHED, plant.champion)
    assert plant.first.running[PRODUCT] == trial
    plant.challenger = bench.register(6, tmp_path, champion=plant.champion)
    bench.rollouts.start(plant.challenger, [], None, "next", now(), plan=PLAN)
    bench.tick(2)
    assert bench.rollout().previous_package_id == plant.champion
    return plant


def test_parts_count_beside_what_the_station_really_runs(plant: Line) -> None:
    bench, trial = plant.bench, plant.first.running[PRODUCT]
    bench.audit(plant.judge([(NG, OK)] * 40), Judgement.DEFECTIVE)
    bench.tick(2)
    rollout = bench.rollout()
    assert rollout.state is RolloutState.ERROR
    assert plant.first.running[PRODUCT] == trial
    with bench.database.read() as session:
        events = rollout_policies.events(session, rollout.id or 0)
    assert f'"beside": {{"{trial}": ["{plant.first.address}"]}}' in json.dumps([each.evidence for each in events])


def test_better_package_passes_beside_it(plant: Line) -> None:
    plant.bench.audit(plant.judge([(NG, OK)] * 40), Judgement.GOOD)
    plant.judge([(OK, OK)] * 1000)
    plant.tick(3)
    assert "canary passed its gates in shadow" in plant.bench.rollout().machine


def test_parts_that_another_package_judged_count_for_nothing_and_that_is_said(plant: Line) -> None:
    plant.first.running[PRODUCT] = plant.champion
    plant.bench.audit(plant.judge([(NG, OK)] * 40), Judgement.DEFECTIVE)
    plant.tick(2)
    rollout = state_of(plant.bench.rollout())
    assert rollout.state is RolloutState.RUNNING
    assert f"40 parts were judged beside {plant.champion[:12]}, which is not" in rollout.waves[0].stations[0].detail
