# SPDX-License-Identifier: Apache-2.0
"""A package that was in shadow before begins anew: its old parts count for nothing in another rollout."""

from pathlib import Path

import pytest

from central.services.rollouts.state import state_of
from contracts.vocabulary import Judgement, RolloutState, Verdict
from tests.central.services.bench import Bench
from tests.central.services.test_rollout_shadow import PLAN, Line

OK, NG = Verdict.OK, Verdict.NG


@pytest.fixture(name="plant")
def _plant(bench: Bench, tmp_path: Path) -> Line:
    return Line(bench, tmp_path)


def again(plant: Line) -> None:
    bench = plant.bench
    bench.clock.advance(20 * 86_400)
    bench.heartbeat(plant.first)
    bench.heartbeat(plant.second)
    bench.rollouts.start(plant.challenger, [], None, "again", bench.clock.now(), plan=PLAN)
    bench.tick(3)


def test_parts_of_an_earlier_rollout_let_nobody_pass(plant: Line) -> None:
    plant.judge([(OK, OK)] * 900)
    plant.tick(3)
    assert "canary passed its gates in shadow" in plant.bench.rollout().machine
    plant.bench.rollouts.abort(plant.bench.rollout().id or 0, "anna", plant.bench.clock.now())
    plant.tick()
    again(plant)
    assert "canary passed" not in plant.bench.rollout().machine
    assert "undecided after 0 parts" in state_of(plant.bench.rollout()).waves[0].stations[0].detail
    plant.judge([(OK, OK)] * 900)
    plant.tick(3)
    assert "canary passed its gates in shadow" in plant.bench.rollout().machine


def test_labels_of_an_earlier_rollout_end_none(plant: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    # Audits are written by hand here; one that chance draws as well would be the same row twice.
    monkeypatch.setattr(plant.bench.auditing, "tick", lambda _now: None)
    plant.bench.audit(plant.judge([(NG, OK)] * 40), Judgement.DEFECTIVE)
    plant.bench.tick(2)
    assert plant.bench.rollout().state is RolloutState.ERROR
    again(plant)
    assert plant.bench.rollout().state is RolloutState.RUNNING
    plant.bench.audit(plant.judge([(NG, OK)] * 40), Judgement.DEFECTIVE)
    plant.bench.tick(2)
    assert plant.bench.rollout().state is RolloutState.ERROR
