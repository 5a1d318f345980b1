# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace
from types import MappingProxyType

import pytest

from contracts.reports import StageLatency
from contracts.vocabulary import SignalState, Stage, Verdict, VerdictCause
from edge_agent.monitor.health import PartSeen
from edge_agent.monitor.stages import NO_BUDGETS, StageTimes, stage_times, summarize_stages
from edge_agent.recipes.recipe import Recipe, Recipes
from tests.edge.station_fakes import Bench
from tests.edge.test_health import Rig

TOOK = StageLatency(
    capture_ms=20, prepare_ms=1, infer_ms=10, decide_ms=0.5, actuate_ms=30, verdict_ms=31.5, reject_ms=61.5
)


def test_stages_of_a_part_add_up_to_its_reject_signal() -> None:
    bench = Bench()
    bench.activate(0.1).takes_s = 0.012
    latency = bench.show(1, captured_monotonic=bench.clock.monotonic() - 0.02).latency
    assert latency is not None
    assert (latency.capture_ms, latency.infer_ms, latency.reject_ms) == pytest.approx((20, 12, 32))
    stages = (latency.capture_ms, latency.prepare_ms, latency.infer_ms, latency.decide_ms, latency.actuate_ms)
    assert sum(value for value in stages if value is not None) == pytest.approx(latency.reject_ms)


def test_stage_that_a_part_did_not_reach_has_no_time() -> None:
    bench = Bench(recipes=Recipes(MappingProxyType({"ring": Recipe(deadline_ms=50)})))
    bench.activate(0.1)
    latency = bench.show(1, captured_monotonic=bench.clock.monotonic() - 0.06).latency
    assert latency is not None
    assert latency.capture_ms == pytest.approx(60)
    assert (latency.infer_ms, latency.decide_ms) == (None, None)


def test_broken_budget_costs_no_part_and_is_counted() -> None:
    budgets = MappingProxyType({Stage.INFER: 5.0, Stage.PREPARE: 1000.0})
    bench = Bench(recipes=Recipes(MappingProxyType({"ring": Recipe(budgets_ms=budgets)})))
    bench.activate(0.1).takes_s = 0.01
    for number in range(1, 5):
        assert bench.show(number).verdict is Verdict.OK
    status = bench.health.status()
    told = {each.stage: each for each in status.stages}
    assert list(told) == list(Stage)
    assert (told[Stage.INFER].count, told[Stage.INFER].over_budget, told[Stage.INFER].p50_ms) == (4, 4, 10)
    assert told[Stage.PREPARE].over_budget == 0
    (fault,) = [fault for fault in status.faults if fault.code == "over-budget"]
    assert "INFER in 4 of 4" in fault.message
    assert "variant" in fault.remedy


@pytest.mark.parametrize(
    ("budgets", "late_by"),
    [
        ({}, Stage.CAPTURE),
        ({Stage.CAPTURE: 19.0, Stage.INFER: 2.0}, Stage.INFER),
        # What comes after the verdict cannot have made it late.
        ({Stage.ACTUATE: 1.0}, Stage.CAPTURE),
    ],
)
def test_late_part_is_put_down_to_one_stage(budgets: dict[Stage, float], late_by: Stage) -> None:
    assert stage_times(TOOK, budgets, is_late=True).late_by is late_by
    assert stage_times(TOOK, budgets, is_late=False).late_by is None


def test_time_equal_to_the_budget_keeps_it() -> None:
    assert stage_times(TOOK, {Stage.CAPTURE: 20.0}, is_late=False).over_budget == frozenset()
    assert stage_times(TOOK, {Stage.CAPTURE: 19.9}, is_late=False).over_budget == {Stage.CAPTURE}


def test_summary_leaves_out_stages_that_no_part_reached() -> None:
    parts = [stage_times(replace_none(TOOK), NO_BUDGETS, is_late=True), StageTimes({Stage.CAPTURE: 40.0})]
    (capture,) = summarize_stages(parts)
    assert (capture.stage, capture.count, capture.max_ms, capture.late) == (Stage.CAPTURE, 2, 40.0, 1)


def replace_none(latency: StageLatency) -> StageLatency:
    """The part reached the first stage alone."""
    return latency.model_copy(update=dict.fromkeys(("prepare_ms", "infer_ms", "decide_ms", "actuate_ms")))


def test_late_parts_name_the_stage_and_its_remedy() -> None:
    rig = Rig()
    times = stage_times(TOOK, {Stage.CAPTURE: 5.0}, is_late=True)
    part = PartSeen(rig.clock.monotonic(), Verdict.NO_DECISION, VerdictCause.LATE, SignalState.SENT, 31.5, 61.5, times)
    rig.health.record(part)
    rig.health.record(replace(part, cause=VerdictCause.SCORE, verdict=Verdict.OK, stages=None))
    (fault,) = [fault for fault in rig.health.status().faults if fault.code == "verdicts-late"]
    assert fault.message == "1 of 2 recent verdicts were late, 1 of them by stage CAPTURE"
    assert fault.remedy.startswith("check exposure")


def test_few_broken_budgets_are_no_fault() -> None:
    rig = Rig()
    for broken in (True, *[False] * 199, True):
        times = StageTimes({Stage.INFER: 1.0}, frozenset({Stage.INFER} if broken else ()))
        part = PartSeen(rig.clock.monotonic(), Verdict.OK, VerdictCause.SCORE, SignalState.SENT, 1.0, 1.0, times)
        rig.health.record(part)
    assert "over-budget" not in rig.codes()
    rig.health.record(part)
    assert "over-budget" in rig.codes()
