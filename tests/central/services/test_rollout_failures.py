# SPDX-License-Identifier: Apache-2.0
"""A rollout that goes back by itself calls people; one that a person ends does not."""

from pathlib import Path

from central.domain.alarm_severity import severity_of
from central.services.alarms.rows import Signal, raise_alarm
from contracts.vocabulary import (
    AlarmKind,
    AlarmSeverity,
    AlarmState,
    PackageState,
    RefusalReason,
    RolloutState,
    Verdict,
)
from tests.central.services.bench import PRODUCT, Bench
from tests.central.services.lines import line


def failures(bench: Bench) -> list[tuple[str, AlarmState]]:
    return [(alarm.message, alarm.state) for alarm in bench.alarms() if alarm.kind is AlarmKind.ROLLOUT_FAILED]


def test_rollout_that_a_station_sends_back_is_an_alarm_with_why_where_and_what_to_look_at(
    bench: Bench, tmp_path: Path
) -> None:
    (first, _), champion = line(bench, tmp_path, "st-1", "st-2")
    bench.register(2, tmp_path, champion=champion)
    bench.tick(2)
    bench.report(first, [Verdict.OK, *[Verdict.NG] * 30])
    bench.tick(5)
    rollout = bench.rollout()
    assert rollout.state is RolloutState.ERROR
    (alarm,) = [alarm for alarm in bench.alarms() if alarm.kind is AlarmKind.ROLLOUT_FAILED]
    assert (alarm.product, alarm.is_simulated, alarm.repeats) == (PRODUCT, rollout.is_simulated, 0)
    assert alarm.message.startswith(f"Rollout {rollout.id} of {PRODUCT} went back by itself: ")
    assert "diverted" in alarm.message
    assert f"The package of before was ordered back at {first.address}." in alarm.remedy
    assert "quarantine list" in alarm.remedy
    assert alarm.evidence["stations"] == [str(first.address)]
    assert severity_of(alarm.kind) is AlarmSeverity.WARNING


def test_rollout_that_a_person_ends_is_no_alarm(bench: Bench, tmp_path: Path) -> None:
    _, champion = line(bench, tmp_path, "st-1", "st-2")
    bench.register(2, tmp_path, champion=champion)
    bench.tick(2)
    bench.rollouts.abort(bench.rollout().id or 0, "anna", bench.clock.now())
    bench.tick(3)
    assert bench.rollout().state is RolloutState.STOPPED
    assert failures(bench) == []


def test_alarm_rests_once_a_later_rollout_of_the_product_is_through(bench: Bench, tmp_path: Path) -> None:
    (first,), champion = line(bench, tmp_path, "st-1")
    bench.register(2, tmp_path, champion=champion)
    first.installs = False
    bench.tick(2)
    bench.say(first, PackageState.REFUSED, RefusalReason.SELF_TEST)
    bench.tick(2)
    assert [state for _, state in failures(bench)] == [AlarmState.RAISED]
    with bench.database.begin() as session:
        elsewhere = Signal(kind=AlarmKind.ROLLOUT_FAILED, product="another", message="x", remedy="y", is_simulated=True)
        raise_alarm(session, elsewhere, bench.clock.now())
    first.installs = True
    bench.register(3, tmp_path, champion=champion)
    bench.tick(2)
    bench.report(first, [Verdict.OK] * 20)
    bench.tick(3)
    assert bench.rollout().state is RolloutState.FINISHED
    assert [state for _, state in failures(bench)] == [AlarmState.CLOSED, AlarmState.RAISED]
