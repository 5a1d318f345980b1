# SPDX-License-Identifier: Apache-2.0
"""Costs of escapes and overkills in the gates of a wave in shadow, and where its champion's p99 comes from."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlmodel import select

from central.domain.rollout_gates import WaveOutcome
from central.domain.rollout_plan import RolloutPlan, ShadowPlan, WavePlan, WaveScope
from central.services.rollouts.shadow_gates import ShadowGates
from central.settings import RolloutSettings
from central.store.repositories import rollout_policies
from central.store.repositories.shadow import ShadowPair
from central.store.rollout_tables import RolloutGate
from contracts.vocabulary import Judgement, RolloutState, Verdict
from tests.central.services.bench import Bench
from tests.central.services.lines import line
from tests.central.services.test_rollout_shadow import Line

OK, NG = Verdict.OK, Verdict.NG
GOOD, DEFECTIVE = Judgement.GOOD, Judgement.DEFECTIVE
COSTS = ShadowPlan(margin=0.05, cost_of_escape=20, cost_of_overkill=1)
RUNS, LABELS = 2_000, 60
WHEN = datetime(2026, 3, 1, tzinfo=UTC)


def pair(number: int, challenger: Verdict, judgement: Judgement) -> ShadowPair:
    """A discordant part, labelled."""
    champion = NG if challenger is OK else OK
    return ShadowPair(number, number, "st-1", "a" * 64, WHEN, champion, challenger, 5.0, 5.0, judgement, WHEN)


# What a discordant part can be: the challenger saves or causes an escape, saves or causes an overkill.
KINDS = ((NG, DEFECTIVE), (OK, DEFECTIVE), (OK, GOOD), (NG, GOOD))


def decided(
    shares: tuple[float, ...], plan: ShadowPlan, seed: int, *, runs: int = RUNS, labels: int = LABELS
) -> dict[str, float]:
    """Shares of runs in which the gate on who is right aborts and promotes, fed pair by pair as from the store."""
    rng = np.random.default_rng(seed)
    counted = {"ABORT": 0, "PROMOTE": 0, "CONTINUE": 0}
    for _ in range(runs):
        gates = ShadowGates(plan)
        for number, kind in enumerate(rng.choice(4, labels, p=shares).tolist(), start=1):
            seen = pair(number, *KINDS[kind])
            gates.take(seen)
            gates.settle([seen])
            decision = gates.answer().evidence["gates"]["cost where they differ"]["decision"] if number % 5 == 0 else ""
            if decision in ("ABORT", "PROMOTE"):
                break
        else:
            decision = "CONTINUE"
        counted[decision] += 1
    return {word: count / runs for word, count in counted.items()}


@pytest.mark.parametrize("shares", [(0.25, 0.25, 0.25, 0.25), (0.0, 0.05, 0.95, 0.0)], ids=["equal", "cheap for dear"])
def test_packages_that_cost_the_same_are_decided_falsely_in_at_most_5_percent_each(shares: tuple[float, ...]) -> None:
    """The second one saves 19 overkills for each escape that it causes, at 1 to 19: the same bill."""
    plan = ShadowPlan(cost_of_escape=19 if shares[0] == 0 else 20, cost_of_overkill=1)
    seen = decided(shares, plan, seed=21)
    assert seen["ABORT"] <= 0.05
    assert seen["PROMOTE"] <= 0.05


def test_a_package_that_buys_few_overkills_with_escapes_goes_and_would_be_promoted_without_costs() -> None:
    shares = (0.05, 0.25, 0.65, 0.05)
    assert decided(shares, COSTS, seed=22, runs=200, labels=240)["ABORT"] >= 0.95
    rng, promoted = np.random.default_rng(23), 0
    for _ in range(200):
        gates = ShadowGates(ShadowPlan(margin=0.05))
        for number, kind in enumerate(rng.choice(4, LABELS, p=shares).tolist(), start=1):
            gates.take(seen := pair(number, *KINDS[kind]))
            gates.settle([seen])
        promoted += gates.answer().evidence["gates"]["who is right"]["decision"] == "PROMOTE"
    assert promoted / 200 >= 0.5


def test_a_part_on_which_the_challenger_failed_costs_an_overkill() -> None:
    gates = ShadowGates(COSTS)
    failed = ShadowPair(1, 1, "st-1", "a" * 64, WHEN, OK, Verdict.NO_DECISION, 5.0, None)
    gates.take(failed)
    told = gates.answer().evidence["gates"]["cost over all parts"]
    assert [count for saved, count in told["parts_by_saving"] if saved == -1.0] == [1]
    assert told["parts"] == 1


def test_gates_with_costs_go_on_from_what_was_stored() -> None:
    whole, parts = ShadowGates(COSTS), ShadowGates(COSTS)
    for number in range(1, 9):
        each = pair(number, *KINDS[number % 4])
        for gates in (whole, parts):
            gates.take(each)
            gates.settle([each] if number != 3 else [])
        parts = ShadowGates(COSTS, parts.to_json())
    assert parts.to_json() == whole.to_json()
    assert whole.answer().outcome is WaveOutcome.NOT_ENOUGH_EVIDENCE


@pytest.mark.parametrize(
    ("costs", "words"),
    [
        ({"cost_of_escape": 10.0}, "expected cost_of_escape and cost_of_overkill, or neither"),
        ({"cost_of_escape": 0.0, "cost_of_overkill": 1.0}, "cost_of_escape: expected a finite number above 0"),
        ({"cost_of_escape": 1.0, "cost_of_overkill": float("inf")}, "cost_of_overkill: expected a finite number"),
        ({"cost_of_escape": 5000.0, "cost_of_overkill": 1.0}, "at most 1000 times the other"),
    ],
)
def test_costs_that_cannot_be_are_refused(costs: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ShadowPlan(**costs)


class CostlyLine(Line):
    """A rollout whose plan says what errors cost."""

    def __init__(self, bench: Bench, folder: Path) -> None:
        self.bench = bench
        (self.first, self.second), self.champion = line(bench, folder, "st-1", "st-2")
        bench.build(rollout=RolloutSettings(is_automatic=False, bake_parts=20))
        self.challenger = bench.register(2, folder, champion=self.champion)
        wave = WavePlan(WaveScope.COUNT, 1, shadow=COSTS)
        plan = RolloutPlan(waves=(wave, WavePlan(WaveScope.ALL)))
        bench.rollouts.start(self.challenger, [], None, "a trial", bench.clock.now(), plan=plan)
        self.tick()

    def fed(self) -> dict[str, Any]:
        with self.bench.database.read() as session:
            (row,) = session.exec(select(RolloutGate)).all()
        content: dict[str, Any] = json.loads(row.state)
        return content


def test_a_rollout_is_ended_by_the_cost_of_its_escapes_and_the_evidence_says_so(bench: Bench, tmp_path: Path) -> None:
    plant = CostlyLine(bench, tmp_path)
    # The challenger passes defective parts that the champion stops, and as many good ones that it stopped wrongly.
    disputed = plant.judge([(NG, OK)] * 40)
    plant.judge([(OK, OK)] * 100)
    plant.tick()
    bench.audit(disputed[::2], GOOD)
    plant.tick()
    assert plant.state() is RolloutState.RUNNING
    bench.audit(disputed[1::2], DEFECTIVE)
    plant.tick()
    assert plant.state() is RolloutState.ERROR
    assert "cost where they differ: costs " in bench.rollout().machine
    with bench.database.read() as session:
        last = rollout_policies.events(session, bench.rollout().id or 0)[-1]
    told = last.evidence["gates"]["0"]["gates"]["cost where they differ"]
    assert (told["escape_cost"], told["overkill_cost"], told["decision"]) == (20.0, 1.0, "ABORT")
    assert dict(told["parts_by_saving"])[1.0] == 20


def test_times_of_the_champion_in_shadow_give_its_p99_once_they_are_enough_and_are_not_compared(
    bench: Bench, tmp_path: Path
) -> None:
    plant = CostlyLine(bench, tmp_path)
    plant.judge([(OK, OK)] * 120, champion_ms=4.0)
    plant.judge([(OK, OK)] * 10, champion_ms=None)
    plant.judge([(OK, OK)] * 77, champion_ms=7.0)
    plant.tick()
    assert (len(plant.fed()["past_ms"]), plant.fed()["latency"]) == (197, None)
    bench.build(rollout=RolloutSettings(is_automatic=False, bake_parts=20))
    plant.judge([(OK, OK)] * 3, champion_ms=9.0)
    plant.judge([(OK, OK)] * 15)
    plant.tick()
    fed = plant.fed()
    # 198 of 200 are at most 9: the third longest is the p99, counted so that 2 of 200 are above it at most.
    assert (fed["past_ms"], fed["latency"]["champion_p99_ms"], fed["latency"]["parts"]) == ([], 9.0, 15)
