# SPDX-License-Identifier: Apache-2.0
"""Rollouts that show themselves in shadow first, on real rows: a wave is given a package when its gates say so."""

import json
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from sqlmodel import col, select

from central.domain.rollout_plan import RolloutPlan, ShadowPlan, WavePlan, WaveScope
from central.domain.rollout_waits import WaitKind, waits_of
from central.services.rollouts.assigning import challengers_of
from central.services.rollouts.shadow_gates import PAST_TIMES
from central.services.rollouts.state import state_of
from central.settings import RolloutSettings
from central.store.learning_tables import Assignment, Champion, Package
from central.store.repositories import rollout_policies, shadow
from central.store.rollout_tables import FreezeRow, RolloutGate
from central.store.tables import Inspection, Station
from contracts.vocabulary import AlarmKind, Judgement, PackageState, RefusalReason, RolloutState, Verdict
from tests.central.services.bench import EPOCH, PRODUCT, Bench, FakeStation
from tests.central.services.lines import line

OK, NG, NONE = Verdict.OK, Verdict.NG, Verdict.NO_DECISION
GOOD, DEFECTIVE = Judgement.GOOD, Judgement.DEFECTIVE
# Wide, so that some hundred parts are enough; the real one is a tenth of it.
PLAN = RolloutPlan(waves=(WavePlan(WaveScope.COUNT, 1, shadow=ShadowPlan(margin=0.05)), WavePlan(WaveScope.ALL)))


class Line:
    """Two stations with a champion, and a challenger that is in shadow at the first of them."""

    def __init__(self, bench: Bench, folder: Path) -> None:
        self.bench = bench
        (self.first, self.second), self.champion = line(bench, folder, "st-1", "st-2")
        bench.build(rollout=RolloutSettings(is_automatic=False, bake_parts=20))
        self.challenger = bench.register(2, folder, champion=self.champion)
        bench.rollouts.start(self.challenger, [], None, "a trial", bench.clock.now(), plan=PLAN)
        self.tick()

    def tick(self, rounds: int = 2) -> None:
        """A bench station installs what it is assigned, but knows nothing of challengers."""
        self.bench.tick(rounds)

    def judge(
        self, verdicts: Sequence[tuple[Verdict, Verdict]], challenger_ms: float = 5.0, champion_ms: float | None = 5.0
    ) -> list[int]:
        """Parts of the first station that both packages judged; gives the inspections' ids."""
        ids = self.bench.report(self.first, [champion for champion, _ in verdicts])
        with self.bench.database.begin() as session:
            rows = session.exec(
                select(Inspection).where(col(Inspection.id).in_(ids)).order_by(col(Inspection.id))
            ).all()
            shadow.keep(
                session,
                [
                    {
                        "station_id": row.station_id,
                        "epoch": EPOCH,
                        "sequence": row.sequence,
                        "package_id": self.challenger,
                        "verdict": said,
                        "score": 0.1,
                        "infer_ms": challenger_ms,
                        "champion_infer_ms": champion_ms,
                        "committed_at": self.bench.clock.now(),
                    }
                    for row, (_, said) in zip(rows, verdicts, strict=True)
                ],
            )
        return ids

    def orders(self, station: FakeStation) -> list[tuple[str, str | None]]:
        """Package and challenger of each of its assignments."""
        with self.bench.database.read() as session:
            rows = session.exec(
                select(Assignment)
                .join(Station, col(Station.id) == Assignment.station_id)
                .where(Station.address == str(station.address))
                .order_by(col(Assignment.number))
            ).all()
        challengers = [challengers_of(row).get(PRODUCT) for row in rows]
        return [
            (row.packages[PRODUCT], each.package_id if each is not None else None)
            for row, each in zip(rows, challengers, strict=True)
        ]

    def state(self) -> RolloutState:
        return self.bench.rollout().state

    def detail(self) -> str:
        machine = json.loads(self.bench.rollout().machine)
        return str(machine["waves"][0]["stations"][0]["detail"])


@pytest.fixture(name="plant")
def _plant(bench: Bench, tmp_path: Path) -> Line:
    return Line(bench, tmp_path)


def test_a_wave_judges_in_shadow_until_its_gates_have_passed_and_then_bakes(plant: Line) -> None:
    assert plant.orders(plant.first)[-1] == (plant.champion, plant.challenger)
    assert plant.first.running[PRODUCT] == plant.champion
    plant.judge([(OK, OK)] * PAST_TIMES)
    plant.tick()
    assert plant.detail().startswith("not enough evidence in shadow: latency: undecided after 0 parts")
    plant.judge([(OK, OK)] * 300)
    plant.tick()
    assert plant.detail().startswith("not enough evidence in shadow: latency: undecided after 300 parts")
    plant.judge([(OK, OK)] * 400)
    plant.tick()
    assert plant.orders(plant.first)[-1] == (plant.challenger, None)
    assert len(plant.orders(plant.second)) == 1
    plant.bench.report(plant.first, [OK] * 20)
    plant.tick()
    # The second wave has no shadow in its plan.
    assert plant.orders(plant.second)[-1] == (plant.challenger, None)
    plant.bench.report(plant.second, [OK] * 20)
    plant.tick(3)
    assert (plant.state(), plant.bench.champion()) == (RolloutState.FINISHED, plant.challenger)


def test_a_worse_challenger_never_decides_about_a_part_and_goes(plant: Line) -> None:
    disputed = plant.judge([(NG, OK)] * 12)
    plant.judge([(OK, OK)] * 400)
    plant.tick()
    assert plant.state() is RolloutState.RUNNING
    plant.bench.audit(disputed, DEFECTIVE)
    plant.tick()
    assert plant.state() is RolloutState.ERROR
    assert "who is right: right in 0 of" in plant.bench.rollout().machine
    assert plant.orders(plant.first)[-1] == (plant.champion, None)
    assert plant.bench.champion() == plant.champion
    with plant.bench.database.read() as session:
        last = rollout_policies.events(session, plant.bench.rollout().id or 0)[-1]
    assert last.evidence["gates"]["0"]["gates"]["who is right"]["decision"] == "ABORT"
    assert last.evidence["stations"][str(plant.first.address)]["before"] == "SHADOW"
    (alarm,) = [each for each in plant.bench.alarms() if each.kind is AlarmKind.ROLLOUT_FAILED]
    assert alarm.evidence["stations"] == [str(plant.first.address)]
    # It decided about no part: nothing went back, and nothing is to be looked for.
    assert alarm.remedy.startswith(f"At {plant.first.address} it was in shadow: there it let no part pass.")
    assert "quarantine" not in alarm.remedy


def test_discordant_parts_without_a_label_hold_it_however_many_agree(plant: Line) -> None:
    disputed = plant.judge([(OK, NG)] * 30)
    plant.judge([(OK, OK)] * 900)
    plant.tick()
    assert plant.state() is RolloutState.RUNNING
    assert "30 more wait for a label" in plant.detail()
    # Now people say that the champion let defects through: what looked doubtful was the better one.
    plant.bench.audit(disputed, DEFECTIVE)
    plant.tick()
    assert plant.orders(plant.first)[-1] == (plant.challenger, None)


def test_no_part_and_no_label_is_counted_twice_through_restarts(plant: Line) -> None:
    disputed = plant.judge([(OK, NG)] * 2)
    for count in (70, 80):
        plant.judge([(OK, OK)] * count)
        plant.bench.build(rollout=RolloutSettings(is_automatic=False, bake_parts=20))
        plant.tick()
    plant.bench.audit(disputed[:1], DEFECTIVE)
    plant.tick(3)
    with plant.bench.database.read() as session:
        (row,) = session.exec(select(RolloutGate)).all()
    state = json.loads(row.state)
    assert state["margin"]["counts"] == [0, 150, 1]
    assert (state["margin"]["waiting"], len(state["waiting"])) == (1, 1)
    assert (state["discordance"]["right"], len(state["past_ms"])) == (1, 152)


def test_a_part_on_which_the_challenger_failed_speaks_against_it(plant: Line) -> None:
    plant.judge([(OK, OK)] * 100 + [(OK, NONE)] * 60)
    plant.tick()
    assert plant.state() is RolloutState.ERROR
    assert "margin: alone right in 0, alone wrong in" in plant.bench.rollout().machine


def test_a_challenger_that_is_too_slow_in_the_tail_goes(plant: Line) -> None:
    plant.judge([(OK, OK)] * 500, challenger_ms=9.0)
    plant.tick()
    assert plant.state() is RolloutState.ERROR
    assert "latency: " in plant.bench.rollout().machine
    assert "parts above the champion's p99, the champion itself 0" in plant.bench.rollout().machine


def test_time_on_the_line_says_nothing_of_the_challengers(plant: Line) -> None:
    # Inspections took 5 ms on the line; a niced challenger at another moment takes longer, and so does the champion.
    plant.judge([(OK, OK)] * 900, challenger_ms=40.0, champion_ms=40.0)
    plant.tick()
    assert plant.orders(plant.first)[-1] == (plant.challenger, None)


def test_parts_that_were_not_timed_beside_each_other_never_open_the_gate(plant: Line) -> None:
    plant.judge([(OK, OK)] * 2_000, champion_ms=None)
    plant.tick()
    assert "latency: too few parts were timed under both packages" in plant.detail()
    assert plant.orders(plant.first)[-1] == (plant.champion, plant.challenger)


def test_parts_of_other_stations_say_nothing_of_the_wave(plant: Line) -> None:
    first, plant.first = plant.first, plant.second
    plant.judge([(OK, OK)] * 1_100)
    plant.first = first
    plant.tick()
    assert plant.orders(plant.first)[-1] == (plant.champion, plant.challenger)


def test_a_refusal_in_shadow_ends_the_rollout(plant: Line) -> None:
    plant.bench.say_challenger(plant.first, plant.challenger, PackageState.REFUSED, RefusalReason.ERRED)
    plant.bench.rollouts.tick(plant.bench.clock.now())
    assert plant.state() is RolloutState.ERROR
    assert plant.orders(plant.first)[-1] == (plant.champion, None)


def test_a_station_that_was_away_in_shadow_is_in_shadow_again_and_given_it_once_shown(plant: Line) -> None:
    plant.bench.stations.pop(str(plant.first.address))
    plant.bench.tick(4, seconds=60)
    assert '"AWAY"' in plant.bench.rollout().machine
    plant.bench.stations[str(plant.first.address)] = plant.first
    plant.bench.heartbeat(plant.first)
    plant.tick()
    assert "in shadow" in plant.detail()
    plant.judge([(OK, OK)] * 900)
    plant.tick()
    assert plant.orders(plant.first)[-1] == (plant.challenger, None)


def test_a_products_first_package_has_nobody_to_stand_beside(bench: Bench, tmp_path: Path) -> None:
    station = bench.add_station("st-1")
    bench.build(rollout=RolloutSettings(is_automatic=False, bake_parts=20))
    package = bench.register(1, tmp_path, champion=None)
    bench.rollouts.start(package, [], None, "the first", bench.clock.now(), plan=PLAN)
    bench.tick(4)
    assert (station.running[PRODUCT], bench.rollout().state) == (package, RolloutState.FINISHED)


def test_falling_back_ends_the_rollout(plant: Line) -> None:
    plant.judge([(OK, OK)] * 900)
    plant.tick()
    assert plant.first.running[PRODUCT] == plant.challenger
    plant.bench.say(plant.first, PackageState.FELL_BACK, RefusalReason.ERRED)
    plant.bench.rollouts.tick(plant.bench.clock.now())
    assert plant.state() is RolloutState.ERROR
    assert "fell back" in plant.bench.rollout().machine


def of_another_product(plant: Line, folder: Path) -> str:
    package = plant.bench.register(3, folder, champion=None)
    with plant.bench.database.begin() as session:
        session.get_one(Package, package).product = "cap"
    return package


def test_rollout_of_another_product_ends_no_shadow_and_neither_does_its_end(plant: Line, tmp_path: Path) -> None:
    bench, in_shadow = plant.bench, (plant.champion, plant.challenger)
    number = bench.rollouts.start(
        of_another_product(plant, tmp_path), [str(plant.first.address)], None, "cap too", bench.clock.now()
    ).rollout_id
    bench.rollouts.tick(bench.clock.now())
    assert (plant.orders(plant.first)[-1], len(plant.orders(plant.first))) == (in_shadow, 3)
    bench.rollouts.abort(number, "anna", bench.clock.now())
    assert (plant.orders(plant.first)[-1], len(plant.orders(plant.first))) == (in_shadow, 4)


def test_station_that_catches_up_with_another_product_stays_in_shadow(plant: Line, tmp_path: Path) -> None:
    bench, cap = plant.bench, of_another_product(plant, tmp_path)
    with bench.database.begin() as session:
        session.add(Champion(product="cap", is_simulated=True, package_id=cap, since=bench.clock.now()))
    plant.tick()
    assert plant.first.running == {PRODUCT: plant.champion, "cap": cap}
    assert plant.orders(plant.first)[-1] == (plant.champion, plant.challenger)


@pytest.mark.parametrize("is_lifted", [True, False])
def test_a_freeze_holds_a_station_whose_gates_have_passed_and_the_gates_stay_asked(
    plant: Line, is_lifted: bool
) -> None:
    now = plant.bench.clock.now()
    with plant.bench.database.begin() as session:
        freeze = FreezeRow(begins=now, ends=now + timedelta(days=2), reason="audit", made_at=now, made_by="anna")
        session.add(freeze)
    for parts in (PAST_TIMES, 300, 400):
        plant.judge([(OK, OK)] * parts)
        plant.tick()
    assert plant.orders(plant.first)[-1] == (plant.champion, plant.challenger)
    assert plant.detail().startswith("its gates have passed; frozen until ")
    (wait,) = waits_of(state_of(plant.bench.rollout()))
    assert (wait.kind, wait.stations) == (WaitKind.WINDOW, (str(plant.first.address),))
    if is_lifted:
        with plant.bench.database.begin() as session:
            session.exec(select(FreezeRow)).one().lifted_at = plant.bench.clock.now()
        plant.tick()
        assert plant.orders(plant.first)[-1] == (plant.challenger, None)
        return
    disputed = plant.judge([(NG, OK)] * 30)
    plant.tick()
    plant.bench.audit(disputed, DEFECTIVE)
    plant.tick()
    assert plant.state() is RolloutState.ERROR
    assert plant.orders(plant.first)[-1] == (plant.champion, None)
