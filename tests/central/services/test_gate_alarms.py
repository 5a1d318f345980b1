# SPDX-License-Identifier: Apache-2.0
"""The alarm of a gate that asks a person: one a product; closed by a word, a newer package, another champion."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from central.services.gates.alarms import settle
from central.services.gates.evidence import Said, overrule
from central.store.database import Database
from central.store.learning_tables import Alarm, Champion
from contracts.vocabulary import AlarmKind, AlarmState, PromotionOutcome, Role
from tests.central.conftest import RememberingPublisher, StillClock
from tests.central.services.bench import PRODUCT
from tests.central.services.gate_bench import GateBench


@pytest.fixture(name="bench")
def _bench(
    sqlite_database: Database, publisher: RememberingPublisher, clock: StillClock, tmp_path: Path
) -> Iterator[GateBench]:
    bench = GateBench(sqlite_database, publisher, clock, tmp_path)
    bench.set_gate()
    yield bench
    bench.end()


def asked(bench: GateBench) -> list[Alarm]:
    return [alarm for alarm in bench.alarms() if alarm.kind is AlarmKind.GATE_ASKS]


def test_a_gate_that_lacks_evidence_calls_a_person_once_and_stops_when_one_has_spoken(bench: GateBench) -> None:
    champion = bench.commission_by_gate()
    assert asked(bench) == []
    bench.set_gate()
    challenger = bench.challenge()
    bench.tick(3)
    (alarm,) = asked(bench)
    assert (alarm.state, alarm.product, alarm.is_simulated, alarm.repeats) == (AlarmState.RAISED, PRODUCT, True, 0)
    assert challenger[:12] in alarm.message
    states = bench.states(challenger)
    missing = [name for name, state in states.items() if state == "NOT_ENOUGH_EVIDENCE"]
    assert alarm.evidence["missing"] == missing
    assert f"{len(missing)} of {len(states)} conditions" in alarm.message
    # A newer package is decided on: it is asked about that one, and about it alone.
    newer = bench.challenge()
    first, second = asked(bench)
    assert (first.state, first.closed_by) == (AlarmState.CLOSED, f"package {newer[:12]} decided")
    assert (second.state, newer[:12] in second.message) == (AlarmState.RAISED, True)
    with bench.database.begin() as session:
        overrule(session, newer, Said("anna", Role.ENGINEER, "looked at them"), bench.clock.now())
        # Of another kind of parts, or another product: none of its business.
        settle(session, PRODUCT, is_simulated=False, by="nobody", now=bench.clock.now())
        settle(session, "bolt", is_simulated=True, by="nobody", now=bench.clock.now())
        assert session.get_one(Alarm, second.id).state is AlarmState.RAISED
        settle(session, PRODUCT, is_simulated=True, by="overruled by anna", now=bench.clock.now())
    assert [alarm.state for alarm in asked(bench)] == [AlarmState.CLOSED] * 2
    assert champion != newer


def test_it_closes_when_another_package_became_champion_after_which_nobody_can_overrule(bench: GateBench) -> None:
    bench.commission_by_gate()
    bench.set_gate()
    challenger = bench.challenge()
    bench.tick(2)
    assert [alarm.state for alarm in asked(bench)] == [AlarmState.RAISED]
    with bench.database.begin() as session:
        champion = session.get_one(Champion, (PRODUCT, True))
        champion.package_id = challenger
        session.add(champion)
    bench.promoting.tick(bench.clock.now())
    (alarm,) = asked(bench)
    assert (alarm.state, alarm.closed_by) == (AlarmState.CLOSED, "another package became champion")


@pytest.mark.parametrize("when_missing", ["FAIL", "SHOW"])
def test_nobody_is_called_where_the_terms_ask_nobody(bench: GateBench, when_missing: str) -> None:
    bench.commission_by_gate()
    bench.set_gate(when_missing=when_missing)
    challenger = bench.challenge()
    bench.tick(2)
    said = {row.package_id: row.outcome for row in bench.promotions()}[challenger]
    held, out = PromotionOutcome.NOT_ENOUGH_EVIDENCE, PromotionOutcome.PROMOTED
    assert said is {"FAIL": held, "SHOW": out}[when_missing]
    assert asked(bench) == []
