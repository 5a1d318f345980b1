# SPDX-License-Identifier: Apache-2.0
"""The loop as a whole: from reference parts to a mended line."""

from contracts.vocabulary import (
    AlarmKind,
    AlarmState,
    Judgement,
    PromotionOutcome,
    RolloutState,
    TrainingState,
    Verdict,
)
from tests.central.services.bench import PRODUCT, Bench


def test_the_loop_closes_from_escapes_to_a_new_champion(any_bench: Bench) -> None:
    bench = any_bench
    stations = bench.commission("st-1", "st-2")
    first = bench.champion()
    assert first is not None
    assert [station.running for station in stations] == [{PRODUCT: first}] * 2

    good = [number for station in stations for number in bench.report(station, [Verdict.OK] * 30)]
    bench.audit(good, Judgement.GOOD)
    bench.tick(2)
    assert bench.alarms() == []

    escapes = [number for station in stations for number in bench.report(station, [Verdict.OK] * 4)]
    bench.audit(escapes[:4], Judgement.DEFECTIVE)
    bench.tick()
    (alarm,) = bench.alarms()
    assert (alarm.kind, alarm.state, alarm.product) == (AlarmKind.ESCAPES, AlarmState.RAISED, PRODUCT)
    assert "2 defective ones are missing" in alarm.evidence["learning"]
    assert len(bench.trainings()) == 1

    bench.audit(escapes[4:], Judgement.DEFECTIVE)
    bench.tick_until(lambda: bench.training_states() == [TrainingState.FINISHED] * 2)
    bench.tick(3)
    assert bench.promotions()[-1].outcome is PromotionOutcome.PROMOTED
    assert bench.rollout().state is RolloutState.RUNNING
    second = bench.rollout().package_id
    assert [station.running[PRODUCT] for station in stations] == [second, first]

    bench.report(stations[0], [Verdict.OK] * 19 + [Verdict.NG])
    bench.tick(3)
    assert stations[1].running[PRODUCT] == second
    assert bench.champion() == first
    bench.report(stations[1], [Verdict.OK] * 20)
    bench.tick(3)
    assert bench.rollout().state is RolloutState.FINISHED
    assert bench.champion() == second
    (alarm,) = bench.alarms()
    assert alarm.state is AlarmState.CLOSED

    # Old outcomes are not held against the new package, and nothing is trained twice.
    bench.report(stations[0], [Verdict.OK] * 20)
    bench.tick(5)
    assert [row.state for row in bench.alarms()] == [AlarmState.CLOSED]
    assert len(bench.trainings()) == 2
