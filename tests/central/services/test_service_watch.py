# SPDX-License-Identifier: Apache-2.0
"""A part of a tick that fails stops no other part, is told in its rollout, and calls people when it goes on."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlmodel import select

from central.services.isolating import TickError
from central.services.rollouts.state import state_of
from central.services.watches.services import FAILURES_IN_A_ROW, ServiceWatch, failing
from central.services.worker import TickCounts, Worker
from central.store.learning_tables import Alarm, RolloutRow
from contracts.vocabulary import AlarmKind, AlarmState, RolloutState
from tests.central.conftest import StillClock
from tests.central.services.bench import PRODUCT, Bench
from tests.central.services.lines import line


class Breakable:
    """A service that fails when it is told to."""

    name = "breakable"
    period_s = 0.0

    def __init__(self) -> None:
        self.is_broken = False

    def tick(self, now: datetime) -> None:
        self.at = now
        if self.is_broken:
            raise RuntimeError("broken tick")


def alarms_of(bench: Bench) -> list[Alarm]:
    with bench.database.read() as session:
        return list(session.exec(select(Alarm).where(Alarm.kind == AlarmKind.SERVICE_FAILS)).all())


def test_service_that_fails_for_long_calls_people_until_it_works(bench: Bench) -> None:
    clock, service = StillClock(), Breakable()
    worker = Worker([service], clock)
    watch = ServiceWatch(bench.database, lambda: worker.counts)

    def turn() -> list[Alarm]:
        worker.run_due()
        clock.advance(10.0)
        watch.tick(clock.now())
        return alarms_of(bench)

    assert turn() == []
    service.is_broken = True
    for _ in range(FAILURES_IN_A_ROW - 1):
        assert turn() == []
        assert failing(worker.counts, clock.now()) == {}
    (alarm,) = turn()
    assert "service breakable fails since" in alarm.message
    assert alarm.message.endswith("5 times in a row: RuntimeError: broken tick.")
    assert list(failing(worker.counts, clock.now())) == ["breakable"]
    (alarm,) = turn()
    assert (alarm.state, alarm.repeats) == (AlarmState.RAISED, 1)
    service.is_broken = False
    (alarm,) = turn()
    assert (alarm.state, alarm.closed_by) == (AlarmState.CLOSED, "the service works again")


def test_failures_within_a_moment_call_nobody(bench: Bench) -> None:
    now = bench.clock.now()
    counts = {"quick": TickCounts(9, 9, 9, now - timedelta(seconds=29), "no database"), "sound": TickCounts(9)}
    assert failing(counts, now) == {}
    assert list(failing(counts, now + timedelta(seconds=1))) == ["quick"]


def test_alarm_of_before_a_restart_stays_until_the_service_has_shown_that_it_works(bench: Bench) -> None:
    now = bench.clock.now()
    bad = {"a": TickCounts(9, 9, 9, now - timedelta(minutes=1), "no database")}
    ServiceWatch(bench.database, lambda: bad).tick(now)
    ServiceWatch(bench.database, lambda: {"a": TickCounts()}).tick(now)
    assert alarms_of(bench)[0].state is AlarmState.RAISED
    ServiceWatch(bench.database, lambda: {"a": TickCounts(1)}).tick(now)
    assert alarms_of(bench)[0].state is AlarmState.CLOSED


def test_rollout_that_cannot_be_read_does_not_stop_another(bench: Bench, tmp_path: Path) -> None:
    (first,), champion = line(bench, tmp_path, "st-1")
    with bench.database.begin() as session:
        session.add(
            RolloutRow(
                package_id=champion,
                product="bolt",
                state=RolloutState.RUNNING,
                reason="damaged",
                created_at=bench.clock.now(),
                bake_parts=1,
                machine="{",
                is_simulated=True,
            )
        )
    package = bench.register(2, tmp_path, champion=champion)
    for _ in range(3):
        with pytest.raises(TickError, match=r"^rollout \d+: .*; history of rollout \d+: "):
            bench.rollouts.tick(bench.clock.now())
        bench.answer()
    assert first.running[PRODUCT] == package


def test_rollout_that_cannot_be_looked_at_says_so_once_in_its_history(bench: Bench, tmp_path: Path) -> None:
    (first,), champion = line(bench, tmp_path, "st-1")
    bench.register(2, tmp_path, champion=champion)
    bench.tick(1)
    with bench.database.begin() as session:
        row = session.get_one(RolloutRow, bench.rollout().id)
        row.before = {str(first.address): {}}
        session.add(row)
    for _ in range(3):
        with pytest.raises(TickError, match=r"^rollout \d+: KeyError: 'package_id'$"):
            bench.rollouts.tick(bench.clock.now())
    said = [each for each in state_of(bench.rollout()).history if "could not look" in each]
    assert len(said) == 1
    assert said[0].endswith("central could not look at it: KeyError: 'package_id'")
